"""Matomo: the visits of its Live API, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table
from journeylab.importers.events.unfolding import flat, records

__all__ = ["ADAPTER"]

_AT: Final = "timestamp"
_STEPS = """
Save the pages of `module=API&method=Live.getLastVisitsDetails&format=JSON&filter_limit=…&filter_offset=…`.

```
journeylab events import matomo visits/ --log events.parquet
```
"""


def _unfold(data: Any) -> Iterator[dict[str, Any]]:
    """The actions of visits, with whose visit it was."""
    for visit in records(data, "idVisit"):
        actions = visit.get("actionDetails")
        if not isinstance(actions, list):
            raise ValueError("has no actionDetails, as a visit has")
        for action in actions:
            if isinstance(action, Mapping):
                yield {"visit": visit.get("idVisit"), "user": visit.get("userId") or None, **flat(action)}


def _is(kind: str) -> dict[str, tuple[str, ...]]:
    return {"type": (kind,)}


ADAPTER = Adapter(
    name="matomo",
    title="Matomo",
    documented=("Live.getLastVisitsDetails (Matomo Reporting API and its source)",),
    clock=Clock("s", "UTC", "seconds since 1970, UTC (`timestamp` of an action)"),
    tables=(
        Table(
            name="actions",
            needs=("visit", "user", "type", "timestamp"),
            contact=("user",),
            key=("visit", "type", "timestamp", "pageId", "goalId", "orderId"),
            sorted_by="type",
            events=(
                Event("page_viewed", _AT, _is("action")),
                Event("site_event", _AT, _is("event")),
                Event("file_downloaded", _AT, _is("download")),
                Event("link_followed", _AT, _is("outlink")),
                Event("site_searched", _AT, _is("search")),
                Event("goal_reached", _AT, _is("goal")),
                Event("purchase", _AT, _is("ecommerceOrder")),
                Event("cart_left", _AT, _is("ecommerceAbandonedCart")),
            ),
            passed_over={
                "content": "what was shown is no event of a contact",
                "form": "what was typed is its own table there",
                "media": "what was played is its own table there",
            },
            properties={
                "url": "url",
                "pageTitle": "page_title",
                "title": "page_title",
                "siteSearchKeyword": "search",
                "eventCategory": "category",
                "eventAction": "action",
                "eventName": "label",
                "eventValue": "amount",
                "goalName": "goal",
                "revenue": "revenue",
                "orderId": "transaction",
                "itemDetails": "items",
            },
            numbers=frozenset({"amount", "revenue"}),
            left_out=dict.fromkeys(
                (
                    "pageIdAction",
                    "idpageview",
                    "icon",
                    "iconSVG",
                    "serverTimePretty",
                    "timeSpent",
                    "timeSpentPretty",
                    "pageviewPosition",
                    "interactionPosition",
                    "generationTime*",
                    "pageLoadTime*",
                    "pageLoad*",
                    "subtitle",
                    "bandwidth*",
                    "customVariables.*",
                    "dimension*",
                    "referrer*",
                    "goalPageId",
                    "revenueSubTotal",
                    "revenueTax",
                    "revenueShipping",
                    "revenueDiscount",
                    "items",
                    "siteSearchCategory",
                    "siteSearchCount",
                    "generationTimeMilliseconds",
                ),
                "numbers of the system's own, or said elsewhere",
            ),
            anonymous="nobody is signed in (no userId)",
        ),
    ),
    unfold=_unfold,
    steps=_STEPS,
    limits=("A contact is Matomo's `userId`. What is done by those who are not signed in is left out and counted.",),
)

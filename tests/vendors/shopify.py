"""Orders of a shop, as its published reference describes them.

It follows the pages "Make paginated requests to the REST Admin API", "REST Admin API rate limits" and "Order" of
Shopify's documentation. Of these: a token in a header; a page has at most 250 orders; the next one is where the header
`Link` leads, whose `page_info` goes with no other parameter than `limit` and `fields`; `updated_at_min` is the instant
from which on changes are given; 429 says in `Retry-After`, in seconds and parts of them, when to come again.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .system import Answer, Refusal, Request, System

TOKEN: Final = "shpat-of-tests"
_MOST: Final = 250
_PATH: Final = "/admin/api/2024-10/orders.json"


class Shopify(System):
    """A shop.

    Attributes:
        now: its clock; each write moves it by a second.
        orders: by id.
        room: how many calls it takes before it says 429; None is no limit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 3, 2, 9, tzinfo=UTC)
        self.orders: dict[int, dict[str, Any]] = {}
        self.room: int | None = None
        self.while_reading: list[Any] = []

    def put(self, order: int, **said: Any) -> None:
        """Makes an order, or changes one."""
        self.now += timedelta(seconds=1)
        kept = self.orders.setdefault(order, {"id": order, "created_at": self.now.isoformat()})
        kept |= said | {"updated_at": self.now.isoformat()}

    def busy(self) -> Answer:
        said = {"errors": "Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted."}
        return Answer(429, said, {"retry-after": "2.0"})

    def answer(self, request: Request) -> Answer:
        if request.headers.get("x-shopify-access-token") != TOKEN:
            raise Refusal(Answer(401, {"errors": "[API] Invalid API key or access token"}))
        if request.method != "GET" or request.path != _PATH:
            raise Refusal(Answer(404, {"errors": "Not Found"}))
        if self.room is not None:
            if not self.room:
                raise Refusal(self.busy())
            self.room -= 1
        query = dict(request.query)
        limit = int(query.pop("limit", "50"))
        if not 1 <= limit <= _MOST:
            raise Refusal(Answer(400, {"errors": {"limit": "must be between 1 and 250"}}))
        after, least = ("", 0), ""
        if (token := query.pop("page_info", None)) is not None:
            if {*query} - {"fields"}:
                raise Refusal(Answer(400, {"errors": {"page_info": "Invalid value."}}))
            least, at, number = urlsafe_b64decode(token).decode().split("|")
            after = (at, int(number))
        else:
            least = query.pop("updated_at_min", "")
            if {*query} - {"status", "fields"}:
                raise Refusal(Answer(400, {"errors": f"unknown: {sorted(query)}"}))
        if least:
            least = datetime.fromisoformat(least).astimezone(UTC).isoformat()
        found = sorted(
            (one for one in self.orders.values() if one["updated_at"] >= least),
            key=lambda one: (one["updated_at"], one["id"]),
        )
        rest = [one for one in found if (one["updated_at"], one["id"]) > after]
        page = [dict(one) for one in rest[:limit]]
        headers = {"date": f"{self.now:%a, %d %b %Y %H:%M:%S} GMT"}
        if len(rest) > limit:
            here = urlsafe_b64encode(f"{least}|{page[-1]['updated_at']}|{page[-1]['id']}".encode()).decode()
            headers["link"] = f'<{self.url}{_PATH}?limit={limit}&page_info={here}>; rel="next"'
        if self.while_reading:
            self.while_reading.pop(0)()
        return Answer(200, {"orders": page}, headers)

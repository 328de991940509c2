"""Owners of attributes on the web: who speaks is who signs or whose token it is; and what is shown of ages."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aging import HOUR, Aging, journey
from journeylab.errors import DataError
from journeylab.sender.acting import Acting
from journeylab.sender.live.intake import attributes_of
from journeylab.sender.permissions import PERMISSIONS
from journeylab.sender.store import Store
from journeylab.sender.tokens import create
from journeylab.sender.web.dashboard import Dashboard
from journeylab.sender.web.metrics import Measures
from liverun import StillClock
from pulling import wired
from stores import START
from vendors.shopify import Shopify
from webclient import Client, app_for

MAKER = Acting("ewa", frozenset(PERMISSIONS), frozenset({"ewa"}))
OWNED = {"plan": {"source": "crm", "max_age": "1d"}, "country": {"source": "webhook", "conflict": "fill"}}


def token(store: Store, name: str) -> str:
    with store.writing() as connection:
        may = ["bring_in_events", "bring_in_contacts"]
        return create(connection, MAKER, name, may, timedelta(days=30), store.now(connection))


def known(store: Store, contact: str = "ada") -> dict[str, Any]:
    with store.reading() as connection:
        return attributes_of(connection, [contact])[contact]


def test_who_signs_is_the_webhook_and_a_token_is_who_it_is_called(store: Store, tmp_path: Path) -> None:
    client = Client(app_for(store, tmp_path, attributes=OWNED))
    person = {"contact": "ada", "attributes": {"plan": "trial", "country": "PL"}}
    answer = client.signed("/contacts", person).json()
    assert answer == {"n_new": 1, "n_repeated": 0, "refused": [], "conflicts": {"plan": 1}}
    assert known(store) == {"country": "PL"}
    bearer = {"authorization": f"Bearer {token(store, 'crm')}"}
    person["attributes"]["country"] = "DE"  # type: ignore[index]
    assert client("POST", "/contacts", json=person, headers=bearer).json()["conflicts"] == {"country": 1}
    assert known(store) == {"country": "PL", "plan": "trial"}
    changed = {"contact": "ada", "event": "attribute_changed", "id": "1", "properties": {"name": "plan", "value": "x"}}
    assert client.signed("/events", changed, "msg_2").json()["conflicts"] == {"plan": 1}
    assert client("POST", "/events", json=changed | {"id": "2"}, headers=bearer).json()["n_new"] == 1
    assert known(store)["plan"] == "x"


def test_no_token_is_called_like_a_way_in(store: Store) -> None:
    with pytest.raises(DataError, match="webhook is a way in of its own"):
        token(store, "webhook")


def test_ages_and_pulls_are_shown(store: Store, tmp_path: Path) -> None:
    live = Store(store.engine, StillClock(START))
    nodes = {"hello": {"send": "m1", "next": "done"}, "done": {"exit": "finished"}}
    with Shopify() as crm, wired(crm):
        run = Aging(live, tmp_path, crm, journey(nodes), {"m1": ["plan"]})
        run.says("ada", "trial")
        run.signs_up("ada")
        run.step()
        assert run.states() == {"hello": ("accepted", None)}
        run.signs_up("ben")
        run.step()
        assert run.sends()["reason"].dropna().tolist() == ["stale:plan"]
        crm.fail("lost")
        run.step(HOUR)
    said = Measures(live, run.sender, lambda: 0.0).text().decode()
    assert 'journeylab_attribute_age_seconds{name="plan",source="crm"} 3600.' in said
    assert 'journeylab_pull_age_seconds{connector="crm",stream="people"} 3600.' in said
    assert 'journeylab_pull_failures{connector="crm",stream="people"} 1.0' in said
    page = Dashboard(live, run.sender).page("en")
    assert "crm people" in page
    assert "1 h ago" in page
    assert "it broke off (lost)" in page

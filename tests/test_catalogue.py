"""The catalogue: what a CMS says of products is in mail, what is gone is not recommended, and it is young enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from aging import HOUR, MINUTE, START, Aging, journey
from databases import DATABASES
from journeylab.errors import DataError
from journeylab.sender.live.catalogue import products_of, take_products
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.mail.recommend import of_catalogue
from journeylab.sender.mail.rendering import Context, Renderer
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import StillClock
from pulling import wired
from stores import opened_on
from test_rest import PRODUCTS
from vendors.contentful import Contentful
from vendors.shopify import Shopify

DAY = datetime(2026, 3, 2, tzinfo=UTC)
TWO = journey({"hello": {"send": "m1", "expires": "1d", "next": "done"}, "done": {"exit": "finished"}})


class Shelf:
    """Recommends what it was given, in that order."""

    def __init__(self, *products: Any) -> None:
        self.products, self.asked = products, list[int]()

    def recommend(self, contact: str, bought: Any, as_of: datetime, n: int) -> Sequence[Any]:
        self.asked.append(n)
        return self.products[:n]


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.sets(st.sampled_from("abcdefgh")), st.integers(1, 4))
def test_the_first_that_are_sold_are_recommended(named: list[str], sold: set[str], n: int) -> None:
    found = of_catalogue(Shelf(*named), lambda ids: {one: {} for one in ids if one in sold}, "ada", [], DAY, n)
    assert [one["product"] for one in found] == [one for one in named if one in sold][:n]


def test_a_recommender_of_ones_own_may_say_more_than_the_catalogue(tmp_path: Path) -> None:
    shelf = Shelf({"product": "tea", "why": "you like it", "price": 1}, {"product": "cup"})
    found = of_catalogue(shelf, lambda ids: {"tea": {"price": 3}}, "ada", [], DAY, 2)
    assert found == [{"product": "tea", "why": "you like it", "price": 3}]
    with pytest.raises(DataError, match="has no `product`"):
        of_catalogue(Shelf({"name": "tea"}), lambda ids: {}, "ada", [], DAY, 2)


def test_it_is_asked_for_more_where_much_is_gone_but_not_for_ever() -> None:
    shelf = Shelf(*(f"p{number}" for number in range(1000)))
    assert of_catalogue(shelf, lambda ids: {}, "ada", [], DAY, 2) == []
    assert shelf.asked == [2, 4, 8, 16, 32]


def test_products_are_kept_by_their_ids(store: Store) -> None:
    with store.writing() as connection:
        take_products(connection, [("tea", {"price": 3}, False, None), ("cup", {}, False, None)], DAY)
        take_products(connection, [("tea", {"price": 4}, False, None), ("cup", {}, True, None)], DAY)
        assert products_of(connection, ["tea", "cup", "hat"]) == {"tea": {"price": 4}}


def test_templates_write_what_the_catalogue_says_and_know_what_is_missing() -> None:
    html = (
        "<html lang=en><body>{% for one in recommend(2) %}<p>{{ one.title }}{% if one.price %} for {{ one.price }}"
        "{% endif %}</p>{% endfor %}{{ postal_address }}</body></html>"
    )
    message = Message(message="m1", subject="Hello", recommend=2, transactional=True, templates={"m1.html": html})
    products = [{"product": "tea", "title": "Tea", "price": 3}, {"product": "cup", "title": "Cup", "price": None}]
    with Renderer(Messages({"m1": message})) as renderer:
        found = renderer.render("m1", Context(attributes={}, recommended=products, postal_address="Here"))
    assert "Tea for 3" in found.text
    assert "Cup" in found.text
    assert "None" not in found.text


@pytest.fixture
def cms() -> Iterator[Contentful]:
    with Contentful() as made, Shopify() as crm, wired(made, crm) as patch:
        patch.setenv("CMS", "cda-of-tests")
        made.crm = crm  # type: ignore[attr-defined]
        yield made


def running(live: Store, folder: Path, cms: Contentful, **catalogue: Any) -> Aging:
    shelf = {
        "kind": "rest",
        "url": cms.url,
        "auth": {"bearer": "env:CMS"},
        "pull": {"shelf": {**PRODUCTS, "every": "15m"}},
    }
    more = {
        "connectors": {"cms": shelf},
        "attributes": {},
        "catalogue": {"source": "cms", "max_age": "2h", **catalogue},
    }
    run = Aging(live, folder, cms.crm, TWO, {"m1": []}, settings=more)  # type: ignore[attr-defined]
    message = Message(message="m1", subject="Hello", recommend=1)
    with live.writing() as connection:
        kept = Messages({"m1": message}).to_dict()
        connection.execute(t.releases.update().values(messages=kept, hash=f"{folder} {catalogue}"))
    return run


@pytest.fixture(params=DATABASES)
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield from opened_on(request, tmp_path, StillClock(START))


def test_products_of_a_cms_are_there_once_it_was_pulled(live: Store, tmp_path: Path, cms: Contentful) -> None:
    run = running(live, tmp_path, cms)
    for name in ("tea", "cup"):
        cms.put(name, title=name.title(), price=3)
    run.step()
    cms.delete("cup")
    cms.put("tea", title="Tea", price=4)
    run.pass_by(20 * MINUTE)
    with live.reading() as connection:
        rows = connection.execute(select(t.products).order_by(t.products.c.product)).all()
    assert [(row.product, row.properties["price"], row.is_gone) for row in rows] == [
        ("cup", None, True), ("tea", 4, False)
    ]  # fmt: skip


def test_a_message_with_products_waits_for_a_catalogue_that_is_young_enough(
    live: Store, tmp_path: Path, cms: Contentful
) -> None:
    run = running(live, tmp_path, cms)
    run.signs_up()
    run.step()  # pulled just before
    assert run.states() == {"hello": ("accepted", None)}
    cms.fail(*["lost"] * 1000)
    run.pass_by(3 * HOUR)
    run.signs_up("ben")
    run.step()
    assert [row["state"] for row in run.sends().sort_values("contact").to_dict("records")] == ["accepted", "ready"]
    cms.faults.clear()
    run.pass_by(2 * HOUR)
    assert [row["state"] for row in run.sends().to_dict("records")] == ["accepted", "accepted"]


def test_a_message_with_products_is_skipped_where_the_settings_say_so(
    live: Store, tmp_path: Path, cms: Contentful
) -> None:
    run = running(live, tmp_path, cms, stale="skip")
    cms.fail(*["lost"] * 1000)
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("expired", "stale:catalogue")}


def test_what_was_made_before_the_catalogue_changed_is_made_anew(live: Store, tmp_path: Path, cms: Contentful) -> None:
    run = running(live, tmp_path, cms)
    run.signs_up()
    run.is_relay_down = True
    run.step()
    made_at = run.table(t.renderings)["catalogue_at"].tolist()
    run.pass_by(timedelta(minutes=40))
    run.is_relay_down = False
    run.pass_by(MINUTE, MINUTE)
    run.pass_by(MINUTE, MINUTE)
    assert run.states() == {"hello": ("accepted", None)}
    assert run.table(t.renderings)["catalogue_at"].tolist() > made_at

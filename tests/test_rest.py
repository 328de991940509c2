"""Lists of other systems: pages of every kind, what changes while they are read, and rows in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from journeylab.connectors.connector import Broken, Connector, Later, Page, Reach, connector_of
from journeylab.connectors.http import Call, Reply, Server, exchange
from journeylab.sender.settings import OwnedAttribute
from vendors import contentful, lists, shopify
from vendors.contentful import Contentful
from vendors.lists import Lists
from vendors.shopify import Shopify
from vendors.system import Request, System

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ORDERS = {
    "path": "/admin/api/2024-10/orders.json",
    "query": {"status": "any", "limit": "2"},
    "rows": "events",
    "items": "orders",
    "paging": {"link": "header"},
    "since": {"parameter": "updated_at_min", "overlap": "1s"},
    "event": "purchase",
    "id": ["id"],
    "columns": {
        "customer.id": "contact", "created_at": "occurred_at", "updated_at": "changed_at", "total": "amount",
        "items.0.sku": "product",
    },
}  # fmt: skip
PRODUCTS = {
    "path": "/spaces/shop/environments/master/sync",
    "query": {"initial": "true"},
    "rows": "products",
    "items": "items",
    "paging": {"link": "nextPageUrl", "resume": "nextSyncUrl"},
    "columns": {"sys.id": "product", "sys.updatedAt": "changed_at", "fields.title.en-US": "title",
                "fields.price.en-US": "price"},
    "gone": {"column": "sys.type", "values": ["DeletedEntry"]},
}  # fmt: skip


def people(paging: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    columns = {"id": "contact", "mail": "address", "plan": "plan", "at": "changed_at"}
    return {"path": "/people", "rows": "contacts", "items": "data", "paging": paging, "columns": columns, **more}


BY_PAGE = people({"page": "page", "size": 3, "size_parameter": "size"})
BY_OFFSET = people({"offset": "skip", "size": 3, "size_parameter": "size"})


def rest(url: str, stream: Mapping[str, Any], **more: Any) -> Connector:
    return connector_of({"kind": "rest", "url": url, "pull": {"it": stream}, **more})


def reach_of(system: System, connector: Connector, secret: str) -> Reach:
    server = Server(system.url)
    return connector.with_credentials(lambda call: exchange(server, call, NOW), lambda _: secret)


def straight(system: System, connector: Connector, secret: str) -> Reach:
    """Asks a system without a network between."""

    def plain(call: Call) -> Reply:
        path, _, query = call.path.partition("?")
        given = dict(parse_qsl(query)) | {name: str(value) for name, value in (call.query or {}).items()}
        answer, _ = system.reply(Request(call.method, path.removeprefix(system.url), given, call.headers, b""))
        assert answer is not None
        return Reply(answer.status, str(answer.status), said=answer.said, headers=answer.headers)

    return connector.with_credentials(plain, lambda _: secret)


def all_pages(connector: Connector, reach: Reach, cursor: Any = None) -> tuple[list[Page], Any]:
    """The pages of one pull, and where the next begins."""
    pages: list[Page] = []
    while not pages or not pages[-1].is_last:
        pages.append(connector.source().pull("it", cursor, reach))
        cursor = pages[-1].cursor
        assert len(pages) < 100
    return pages, cursor


@pytest.fixture
def shop() -> Iterator[Shopify]:
    with Shopify() as made:
        yield made


@pytest.fixture
def space() -> Iterator[Contentful]:
    with Contentful(page=2) as made:
        yield made


def orders(shop: Shopify) -> tuple[Connector, Reach]:
    auth = {"header": "X-Shopify-Access-Token", "value": "env:SHOP"}
    connector = rest(shop.url, ORDERS, auth=auth)
    return connector, reach_of(shop, connector, shopify.TOKEN)


def test_orders_of_a_shop_become_events_page_by_page(shop: Shopify) -> None:
    for number in range(5):
        item = {"sku": f"tea-{number}"}
        shop.put(number + 1, customer={"id": 70 + number}, total=10 + number, items=[item])
    pages, _ = all_pages(*orders(shop))
    assert [len(page.events) for page in pages] == [2, 2, 1]
    assert pages[0].events[0] == {
        "contact": "70",
        "event": "purchase",
        "occurred_at": "2026-03-02T09:00:01+00:00",
        "changed_at": "2026-03-02T09:00:01+00:00",
        "id": "1",
        "properties": {"amount": 10, "product": "tea-0"},
    }


def test_the_next_pull_asks_for_what_changed_since_and_a_little_before(shop: Shopify) -> None:
    for number in range(4):
        shop.put(number + 1, customer={"id": 70}, total=1)
    connector, reach = orders(shop)
    _, cursor = all_pages(connector, reach)
    assert cursor == {"since": "2026-03-02T09:00:04+00:00"}
    shop.put(2, total=2)
    shop.calls.clear()
    pages, _ = all_pages(connector, reach, cursor)
    assert shop.calls[0].query["updated_at_min"] == "2026-03-02T09:00:03Z"
    assert [one["id"] for page in pages for one in page.events] == ["3", "4", "2"]


def test_an_order_that_changes_between_pages_is_seen_as_it_is_at_last(shop: Shopify) -> None:
    for number in range(4):
        shop.put(number + 1, customer={"id": 70}, total=1)
    shop.while_reading.append(lambda: shop.put(1, total=99))
    pages, _ = all_pages(*orders(shop))
    seen = [(one["id"], one["properties"]["amount"]) for page in pages for one in page.events]
    assert seen == [("1", 1), ("2", 1), ("3", 1), ("4", 1), ("1", 99)]


def test_a_row_from_the_future_hides_none_that_come_before_it(shop: Shopify) -> None:
    shop.put(1, customer={"id": 70}, total=1)
    shop.orders[1]["updated_at"] = "2099-01-01T00:00:00+00:00"
    connector, reach = orders(shop)
    _, cursor = all_pages(connector, reach)
    assert cursor["since"] == shop.now.isoformat()


def test_products_of_a_space_come_and_go(space: Contentful) -> None:
    for name in ("tea", "cup", "hat"):
        space.put(name, title=name.title(), price=3)
    connector = rest(space.url, PRODUCTS, auth={"bearer": "env:CMS"})
    reach = reach_of(space, connector, contentful.TOKEN)
    pages, cursor = all_pages(connector, reach)
    assert [one["product"] for page in pages for one in page.products] == ["tea", "cup", "hat"]
    assert pages[0].products[0] == {
        "product": "tea", "changed_at": "2026-03-02T09:00:01+00:00", "gone": False,
        "properties": {"title": "Tea", "price": 3},
    }  # fmt: skip
    space.delete("cup")
    space.put("hat", title="Hat", price=4)
    pages, _ = all_pages(connector, reach, cursor)
    found = {one["product"]: (one["gone"], one["properties"]["price"]) for page in pages for one in page.products}
    assert found == {"cup": (True, None), "hat": (False, 4)}


def person(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"p{number}", "mail": f"p{number}@mail.example", "plan": "trial"} | more


@pytest.mark.parametrize("stream", [BY_PAGE, BY_OFFSET], ids=["page", "offset"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 6, 7])
def test_all_rows_come_by_number_and_by_offset(stream: Mapping[str, Any], n: int) -> None:
    with Lists([person(number) for number in range(n)]) as system:
        connector = rest(system.url, stream, auth={"header": "X-Api-Key", "value": "env:KEY"})
        pages, _ = all_pages(connector, reach_of(system, connector, lists.KEY))
    found = [one["contact"] for page in pages for one in page.contacts]
    assert found == [f"p{number}" for number in range(n)]


@pytest.mark.parametrize("stream", [BY_PAGE, BY_OFFSET], ids=["page", "offset"])
def test_a_system_that_gives_fewer_rows_than_were_asked_for_is_read_to_its_end(stream: Mapping[str, Any]) -> None:
    with Lists([person(number) for number in range(7)], most=2) as system:
        connector = rest(system.url, stream, auth={"header": "X-Api-Key", "value": "env:KEY"})
        pages, _ = all_pages(connector, reach_of(system, connector, lists.KEY))
    assert {one["contact"] for page in pages for one in page.contacts} == {f"p{number}" for number in range(7)}


@pytest.mark.parametrize("stream", [BY_PAGE, BY_OFFSET], ids=["page", "offset"])
@given(st.data())
@settings(max_examples=100)
def test_no_row_that_stays_is_missed_whatever_comes_and_goes_between_pages(
    stream: Mapping[str, Any], data: st.DataObject
) -> None:
    rows = [person(number) for number in range(data.draw(st.integers(1, 10)))]
    stays = {row["id"] for row in rows}
    with Lists(rows) as system:

        def gone(place: int) -> Callable[[], None]:
            def change() -> None:
                if system.rows:
                    stays.discard(system.rows.pop(place % len(system.rows))["id"])

            return change

        def come(place: int, number: int) -> Callable[[], None]:
            return lambda: system.rows.insert(place % (len(system.rows) + 1), person(100 + number))

        for number in range(data.draw(st.integers(0, 4))):
            place = data.draw(st.integers(0, 9))
            system.while_reading.append(gone(place) if data.draw(st.booleans()) else come(place, number))
            system.while_reading += [lambda: None] * data.draw(st.integers(0, 3))
        connector = rest(system.url, stream, auth={"header": "X-Api-Key", "value": "env:KEY"})
        pages, _ = all_pages(connector, straight(system, connector, lists.KEY))
    assert stays <= {one["contact"] for page in pages for one in page.contacts}


def test_a_list_that_never_stands_still_is_no_list() -> None:
    with Lists([person(number) for number in range(9)]) as system:
        system.while_reading = [lambda: system.rows.insert(0, person(1000 + len(system.rows)))] * 100
        connector = rest(system.url, BY_PAGE, auth={"header": "X-Api-Key", "value": "env:KEY"})
        with pytest.raises(Broken, match="come and go between pages"):
            all_pages(connector, reach_of(system, connector, lists.KEY))


@pytest.mark.parametrize(
    ("fault", "problem"),
    [("busy", Later), ("broken", Later), ("lost", Later), ("cut", Later), ("half", Later)],
)
def test_faults_are_waited_out(shop: Shopify, fault: str, problem: type[Exception]) -> None:
    shop.put(1, customer={"id": 70}, total=1)
    connector, reach = orders(shop)
    shop.fail(fault)
    with pytest.raises(problem) as raised:
        connector.source().pull("it", None, reach)
    if fault == "busy":
        assert isinstance(raised.value, Later)
        assert raised.value.retry_after == timedelta(seconds=2)
    assert len(connector.source().pull("it", None, reach).events) == 1


def test_whoever_is_not_let_in_is_told(shop: Shopify) -> None:
    connector, _ = orders(shop)
    with pytest.raises(Broken, match="401"):
        connector.source().pull("it", None, reach_of(shop, connector, "wrong"))


def test_a_link_to_another_server_is_not_followed() -> None:
    def reach(call: Call) -> Reply:
        return exchange(Server("http://127.0.0.1:1"), call, NOW)

    connector = rest("http://127.0.0.1:1", ORDERS)
    with pytest.raises(Broken, match="another server"):
        connector.source().pull("it", {"link": "http://127.0.0.2:1/orders"}, reach)


def answered(stream: Mapping[str, Any], said: Any, headers: Mapping[str, str] | None = None) -> Page:
    connector = rest("https://x.example", stream)
    return connector.source().pull("it", None, lambda _: Reply(200, "200", said=said, headers=headers or {}))


def test_a_reply_without_the_list_is_read_by_nobody() -> None:
    with pytest.raises(Broken, match="no list at data"):
        answered(BY_PAGE, {"rows": []})
    with pytest.raises(Later, match="no JSON"):
        answered(BY_PAGE, None)


@pytest.mark.parametrize(
    ("times", "zone", "value", "expected"),
    [
        ("iso", None, "2026-03-02T10:00:00+01:00", "2026-03-02T09:00:00+00:00"),
        ("iso", "Europe/Warsaw", "2026-07-02T10:00:00", "2026-07-02T08:00:00+00:00"),
        ("iso", "Europe/Warsaw", "2026-10-25T02:30:00", "2026-10-25T00:30:00+00:00"),
        ("iso", None, "2026-03-02T10:00:00", "2026-03-02T10:00:00"),
        ("iso", None, "yesterday", "yesterday"),
        ("epoch", None, 1772442000, "2026-03-02T09:00:00+00:00"),
        ("epoch_ms", None, "1772442000123", "2026-03-02T09:00:00.123000+00:00"),
        ("epoch", None, 1e300, 1e300),
    ],
)
def test_times_are_read_as_they_are_written_or_left(times: str, zone: str | None, value: Any, expected: Any) -> None:
    stream = {**people({"page": "page"}), "times": times, "timezone": zone}
    page = answered(stream, {"data": [{"id": 1, "at": value}]})
    assert page.contacts[0]["changed_at"] == expected


def test_only_some_rows_are_taken_and_only_the_named_columns() -> None:
    stream = {**people({"page": "page"}), "only": {"column": "kind", "values": ["person"]}}
    rows = [{"id": 1, "kind": "person", "plan": None, "secret": "x"}, {"id": 2, "kind": "company"}]
    page = answered(stream, {"data": rows})
    assert page.contacts == [{"contact": "1", "changed_at": None, "attributes": {"plan": None}}]


def test_the_link_of_a_header_is_found_among_others() -> None:
    link = '<https://x.example/a?page=1>; rel="prev"; title="one, two", <https://x.example/a?page=3>; rel="next"'
    page = answered(ORDERS, {"orders": []}, {"link": link})
    assert page.cursor["link"] == "https://x.example/a?page=3"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"event": None}, "events have their name in `event`"),
        ({"id": []}, "events need `id`"),
        ({"columns": {"id": "contact"}}, "no column is 'occurred_at'"),
        ({"columns": {"created_at": "occurred_at"}}, "no column is 'contact'"),
        ({"columns": {"a": "contact", "b": "contact"}}, "two columns are 'contact'"),
        ({"paging": {"offset": "skip", "size": 10}}, "`size` and `size_parameter` go together"),
        ({"paging": {"lnik": "header"}}, "paging has no 'lnik'"),
        ({"every": 5}, "every"),
    ],
)
def test_settings_of_a_list_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rest("https://x.example", ORDERS | changed)


def test_a_token_is_asked_for_first_and_anew_when_it_is_not_taken_any_more() -> None:
    auth = {"token_path": "/oauth/token", "client_id": "us", "client_secret": "env:S", "scope": "orders"}
    connector = rest("https://x.example", BY_PAGE, auth=auth)
    asked: list[Call] = []
    valid = "t1"

    def plain(call: Call) -> Reply:
        asked.append(call)
        if call.path == "/oauth/token":
            return Reply(200, "200", said={"access_token": valid})
        is_in = call.headers["authorization"] == f"Bearer {valid}"
        return Reply(200, "200", said={"data": []}) if is_in else Reply(401, "401")

    reach = connector.with_credentials(plain, lambda _: "s&cret")
    source = connector.source()
    source.pull("it", None, reach)
    source.pull("it", None, reach)
    valid = "t2"
    source.pull("it", None, reach)
    assert [call.path for call in asked] == [
        "/oauth/token", "/people", "/people", "/people", "/oauth/token", "/people"
    ]  # fmt: skip
    assert asked[0].body == b"grant_type=client_credentials&scope=orders"
    assert asked[0].headers["authorization"] == "Basic dXM6cyUyNmNyZXQ="


def test_without_a_token_nothing_is_asked_for() -> None:
    auth = {"token_path": "/oauth/token", "client_id": "us", "client_secret": "env:S"}
    connector = rest("https://x.example", BY_PAGE, auth=auth)
    for refusal, problem in ((Reply(400, "400"), Broken), (Reply(503, "503"), Later), (Reply(200, "200"), Later)):
        reach = connector.with_credentials(lambda _, reply=refusal: reply, lambda _: "s")  # type: ignore[misc]
        with pytest.raises(problem, match="no token"):
            connector.source().pull("it", None, reach)


def test_the_examples_of_the_guide_are_read() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "connectors.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "…" not in block]
    read = [connector_of(one) for block in blocks for one in block.values() if isinstance(one, dict) and "kind" in one]
    assert [sorted(one.pull) for one in read] == [["orders"], ["products"]]
    owned = next(block["attributes"] for block in blocks if "attributes" in block)
    assert [OwnedAttribute.model_validate(one).conflict for one in owned.values()] == ["refuse", "fill"]

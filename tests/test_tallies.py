"""Tallies: no count is of few people, no difference within a group either, and nothing is counted twice."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from journeylab.sender.persons.tallies import BY_DAY, BY_YEAR, Cell, Tally, add, tallied
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

CELLS = st.builds(
    Cell,
    what=st.sampled_from(["visits", "sends"]),
    period=st.sampled_from(["2026-03-02", "2026-03-03", "2026-04-01", "2027-01-01"]),
    journey=st.sampled_from(["a", "b"]),
    version=st.sampled_from(["v1", "v2"]),
    node=st.sampled_from(["ask", "offer"]),
    outcome=st.sampled_from(["then", "else", "other"]),
)
SPANS = st.lists(st.tuples(CELLS, st.integers(0, 60), st.integers(1, 25)), max_size=8)


def rows_of(spans: list[tuple[Cell, int, int]]) -> list[tuple[str, Cell]]:
    return [(f"c{first + i}", cell) for cell, first, n in spans for i in range(n)]


@settings(max_examples=60, deadline=None)
@given(SPANS, st.sampled_from([BY_DAY, BY_YEAR]))
def test_every_count_is_of_ten_people_and_of_rows_that_there_were(spans, ladder) -> None:  # type: ignore[no-untyped-def]
    rows = rows_of(spans)
    found = tallied(rows, ladder)
    assert all(one.n_contacts >= 10 and one.n_rows >= one.n_contacts for one in found.values())
    for what in ("visits", "sends"):
        assert sum(one.n_rows for cell, one in found.items() if cell.what == what) <= sum(
            c.what == what for _, c in rows
        )
    if len({contact for contact, _ in rows}) < 10:
        assert found == {}


@settings(max_examples=60, deadline=None)
@given(SPANS)
def test_what_is_left_of_a_node_on_a_day_is_nobody_or_ten_people(spans: list[tuple[Cell, int, int]]) -> None:
    rows = rows_of(spans)
    found = tallied(rows, BY_YEAR)
    left: dict[Cell, set[str]] = defaultdict(set)
    for contact, cell in rows:
        if cell not in found:
            left[cell._replace(outcome="")].add(contact)
    shown = {cell._replace(outcome="") for cell in found if cell.version and len(cell.period) == 10}
    assert all(len(left[group]) == 0 or len(left[group]) >= 10 for group in shown)


def test_whoever_has_enough_is_counted_as_they_are() -> None:
    cell = Cell("visits", "2026-03-02", "a", "v1", "ask", outcome="then")
    rows = [(f"c{i % 12}", cell) for i in range(30)] + [(f"d{i}", cell._replace(outcome="else")) for i in range(10)]
    assert tallied(rows, BY_YEAR) == {cell: Tally(30, 12), cell._replace(outcome="else"): Tally(10, 10)}


def test_few_are_put_together_by_month_year_and_journey() -> None:
    def some(day: str, node: str, n: int, of: str = "a") -> list[tuple[str, Cell]]:
        return [(f"{day}{node}{i}", Cell("visits", day, of, "v1", node, outcome="next")) for i in range(n)]

    rows = (
        some("2026-03-02", "x", 6)
        + some("2026-03-03", "x", 5)
        + some("2026-04-01", "y", 6)
        + some("2026-05-01", "y", 4)
    )
    rows += some("2026-01-01", "z", 7) + some("2026-06-01", "w", 5) + some("2026-06-01", "w", 9, "alone")
    counted = {(cell.period, cell.node, cell.version): one.n_rows for cell, one in tallied(rows, BY_YEAR).items()}
    assert counted == {("2026-03", "x", "v1"): 11, ("2026", "y", "v1"): 10, ("2026", "", ""): 12}


def test_a_difference_of_few_is_not_kept() -> None:
    """Ninety-five went on, and three did not: who knows that there were ninety-eight would know of the three."""
    cell = Cell("visits", "2026-03-02", "a", "v1", "ask", outcome="then")
    rows = [(f"c{i}", cell) for i in range(95)] + [(f"d{i}", cell._replace(outcome="else")) for i in range(3)]
    assert cell not in tallied(rows, ())
    assert Counter(c for _, c in rows)[cell] == 95  # as it would be without the rule


def test_kept_tallies_add_up_with_those_before(store: Store) -> None:
    one, other = Cell("visits", "2026-03-02", "a"), Cell("sends", "2026-03", "a", node="x")
    for tallies in ({one: Tally(20, 10)}, {}, {one: Tally(15, 12), other: Tally(10, 10)}):
        with store.writing() as connection:
            add(connection, tallies)
    with store.reading() as connection:
        c = t.tallies.c
        found = {row[0]: row[1:] for row in connection.execute(select(c.what, c.n_rows, c.n_contacts))}
    assert found == {"visits": (35, 22), "sends": (10, 10)}

"""Each rule of disclosure by itself, what is shown of it, and what the gate says of its arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog, milp

from journeylab.disclosure import Cells, Disclosed, Ledger, LedgerKey, audit, cells, disclose, figures
from journeylab.disclosure.addresses import holding
from journeylab.disclosure.audit import Number
from journeylab.disclosure.marks import without_marked
from journeylab.disclosure.windows import closed
from journeylab.errors import DataError
from journeylab.language import using

DAY = timedelta(days=1)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db", LedgerKey(bytes(range(32))))


def people(first: int, last: int) -> list[str]:
    return [f"c{n:05}" for n in range(first, last)]


def frame_of(**sets: Sequence[str]) -> pd.DataFrame:
    rows = [{"contact": one, "group": group} for group, its in sets.items() for one in its]
    return pd.DataFrame(rows, columns=["contact", "group"])


def table(
    name: str = "groups", levels: str | None = None, population: Sequence[str] | None = None, **sets: Any
) -> Cells:
    return cells(
        frame_of(**sets), table=name, by=["group"], population=population, levels={"group": list(levels or sets)}
    )


def shown(ledger: Ledger, *tables: Cells, until: datetime = MONDAY + DAY, **options: Any) -> Disclosed:
    return disclose(tables, **{"of": "all", "period": (MONDAY, until), "data_until": until, "ledger": ledger} | options)


def statuses(one: Disclosed, name: str = "groups") -> dict[str, str]:
    return dict(zip(one.tables[name]["group"], one.tables[name]["status"], strict=True))


def test_people_are_counted_once_however_many_rows_they_have() -> None:
    found = cells(
        pd.DataFrame({
            "contact": list("aabbc"), "node": list("xxxyy"), "branch": list("ttete"), "price": [1.0, 2, 3, 4, 5],
        }),
        table="branches", by=["node", "branch"], within=["node"], counts="n_visits", sums={"paid": "price"},
    )  # fmt: skip
    ids = np.array(found.people)
    by_cell = {tuple(key): set(ids[found.members[at]]) for at, key in enumerate(found.keys.itertuples(index=False))}
    by_group = {key: set(ids[found.group_members[at]]) for at, key in enumerate(found.groups["node"])}
    assert by_cell == {("x", "e"): {"b"}, ("x", "t"): {"a"}, ("y", "e"): {"c"}, ("y", "t"): {"b"}}
    assert by_group == {"x": {"a", "b"}, "y": {"b", "c"}}
    n_visits, paid = found.amounts
    assert dict(zip(by_cell, n_visits.contributions, strict=True))["x", "t"] == 2
    assert paid.contributions.sum() == 15


def test_a_table_agrees_with_a_group_by() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({
        "contact": [f"c{n}" for n in rng.integers(0, 300, 2_000)],
        "node": rng.choice(list("xyz"), 2_000), "branch": rng.choice([1, 2], 2_000),
    })  # fmt: skip
    found = cells(frame, table="branches", by=["node", "branch"], within=["node"])
    expected = frame.groupby(["node", "branch"])["contact"].nunique()
    assert found.members.sizes.tolist() == expected.tolist()
    assert found.keys.to_numpy().tolist() == [list(key) for key in expected.index]
    assert found.group_members.sizes.tolist() == frame.groupby("node")["contact"].nunique().tolist()


def test_shares_are_of_the_counts_as_shown(ledger: Ledger) -> None:
    frame = shown(ledger, table(a=people(0, 62), b=people(62, 101))).tables["groups"]
    assert frame["n_contacts"].tolist() == [60, 40]
    assert frame["n_within"].tolist() == [100, 100]
    assert frame["contact_share"].tolist() == [0.6, 0.4]


@pytest.mark.parametrize(("n", "is_shown"), [(0, False), (1, False), (9, False), (10, True), (90, True), (91, False)])
def test_fewer_than_ten_on_either_side_are_hidden(ledger: Ledger, n: int, is_shown: bool) -> None:
    found = shown(ledger, table(a=people(0, n), population=people(0, 100)))
    assert found.refused == (() if is_shown else ("groups",))


def test_all_in_the_only_branch_there_is_tells_nothing(ledger: Ledger, tmp_path: Path) -> None:
    rows = frame_of(next=people(0, 80)).assign(node="hello")
    options = {"table": "branches", "by": ["node", "group"], "within": ["node"]}
    only = cells(rows, levels=pd.DataFrame({"node": ["hello"], "group": ["next"]}), **options)
    both = cells(rows, levels=pd.DataFrame({"node": "hello", "group": ["next", "skipped"]}), **options)
    assert shown(ledger, only).tables["branches"]["contact_share"].tolist() == [1.0]
    for at, one in enumerate((both, cells(rows, **options))):
        assert shown(Ledger(tmp_path / f"{at}.db", ledger.key), one).refused == ("branches",)


def test_one_hidden_group_takes_another_with_it(ledger: Ledger) -> None:
    found = statuses(shown(ledger, table(a=people(0, 3), b=people(20, 60), c=people(100, 160))))
    assert found == {"a": "hidden: few people", "b": "hidden: protects another", "c": "shown"}


def test_small_groups_nobody_named_are_not_listed(ledger: Ledger) -> None:
    rows = frame_of(**{"Ada Nowak": people(0, 1), "b": people(20, 60), "c": people(100, 160), "d": people(200, 260)})
    found = shown(ledger, cells(rows, table="groups", by=["group"]))
    assert found.tables["groups"]["group"].tolist() == ["b", "c", "d"]
    assert "Ada" not in found._repr_html_() + json.dumps(found.to_dict())


def test_crossed_tables_keep_their_margins_apart(ledger: Ledger) -> None:
    """A hidden cell of the crossing cannot be had from the margins: by integer programming over its cells."""
    sizes = {("x", "t"): 4, ("x", "e"): 41, ("y", "t"): 33, ("y", "e"): 57, ("z", "t"): 48, ("z", "e"): 60}
    starts = np.cumsum([0, *sizes.values()])
    rows = pd.DataFrame(
        [(one, *key) for at, key in enumerate(sizes) for one in people(starts[at], starts[at + 1])],
        columns=["contact", "row", "column"],
    )
    tables = [cells(rows, table="+".join(by), by=by) for by in (["row", "column"], ["row"], ["column"])]
    found = shown(ledger, *tables)
    keys, bounds = list(sizes), []
    for name, frame in found.tables.items():
        for _, line in frame[frame["n_contacts"].notna()].iterrows():
            mask = [all(line[part] == value for part, value in zip(("row", "column"), key, strict=True) if part in name.split("+")) for key in keys]  # fmt: skip  # noqa: E501
            bounds.append((np.array(mask, dtype=float), line["n_contacts"] - 2, line["n_contacts"] + 2))
    matrix, low, high = (np.array(part, dtype=float) for part in zip(*bounds, strict=True))
    for at in range(len(keys)):
        if not any(mask[at] and mask.sum() == 1 for mask, *_ in bounds):
            ends = [
                sign
                * milp(
                    sign * np.eye(len(keys))[at], integrality=np.ones(len(keys)), constraints=(matrix, low, high)
                ).fun
                for sign in (1, -1)
            ]
            assert ends[1] - ends[0] >= 10
    assert "hidden: protects another" in set(found.tables["row+column"]["status"])


def test_a_canary_in_every_field_is_in_no_artefact(ledger: Ledger) -> None:
    rows = frame_of(a=people(0, 40), b=people(40, 100)).assign(plan="free", price=5.0)
    canary = {"contact": "tok-3fa1", "group": "tok-77c2", "plan": "tok-90bd", "price": 7_310_422.0}
    rows = pd.concat([rows, pd.DataFrame([canary])], ignore_index=True)
    made = [
        cells(rows, table="groups", by=["group"], sums={"paid": "price"}, quantiles={"median": ("price", 0.5)}),
        cells(rows, table="plans", by=["group", "plan"], within=["group"], counts="n_rows"),
    ]
    found = shown(ledger, *made)
    told = [found._repr_html_(), json.dumps(found.to_dict()), repr(found), *found.sentences(), *map(repr, made)]
    with pytest.raises(DataError) as error:
        cells(rows, table="groups", by=["group"], levels={"group": ["a", "b"]})
    told += [str(error.value), Path(ledger.path).read_bytes().decode("latin-1")]
    assert found.n_shown
    assert not holding("".join(told), ["tok-3fa1", "tok-77c2", "tok-90bd", "7310422"])


def test_the_same_again_gives_the_same_bytes(ledger: Ledger) -> None:
    tables = (
        table(a=people(0, 3), b=people(20, 62), c=people(100, 161)),
        table("steps", a=people(0, 90), b=people(0, 88)),
    )
    first = shown(ledger, *tables)
    again = shown(ledger, *tables)
    assert json.dumps(first.to_dict()) == json.dumps(again.to_dict())
    assert first._repr_html_() == again._repr_html_()


def test_ten_people_more_are_shown_anew(ledger: Ledger) -> None:
    everyone = people(0, 500)
    shown(ledger, table(a=people(0, 100), population=everyone))
    nine = shown(ledger, table(a=people(0, 109), population=everyone)).tables["groups"]["n_contacts"][0]
    many = shown(ledger, table(a=people(0, 130), population=everyone)).tables["groups"]["n_contacts"][0]
    assert (nine, many) == (100, 130)


def test_sums_are_shown_as_long_as_nobody_dominates(ledger: Ledger) -> None:
    def paid(most: float) -> Disclosed:
        rows = frame_of(a=people(0, 40), b=people(40, 100)).assign(price=10.0)
        rows.loc[0, "price"] = most
        found = cells(rows, table="groups", by=["group"], sums={"revenue": "price"}, counts="n_orders")
        return shown(ledger, found, of=f"{most}")

    even, one = paid(20.0), paid(9_000.0)
    assert even.tables["groups"]["revenue"].tolist() == [400.0, 600.0]
    assert even.tables["groups"]["n_orders"].tolist() == [40, 60]
    assert one.withheld == ("revenue",)
    assert "n_orders" in one.tables["groups"]


def test_medians_need_twice_as_many_and_are_nobodys_value(ledger: Ledger, tmp_path: Path) -> None:
    def days(n: int, audience: Ledger) -> Disclosed:
        rows = frame_of(a=people(0, n), b=people(100, 160)).assign(days=[*range(n), *range(60)])
        found = cells(rows, table="groups", by=["group"], quantiles={"median_days": ("days", 0.5)})
        return shown(audience, found)

    assert days(19, ledger).withheld == ("median_days",)
    assert days(20, Ledger(tmp_path / "other.db", ledger.key)).tables["groups"]["median_days"].tolist() == [9.5, 29.5]


def test_what_one_person_pays_more_is_not_told_by_a_later_sum(ledger: Ledger) -> None:
    def paid(name: str, most: float) -> Disclosed:
        rows = frame_of(a=people(0, 40), b=people(40, 100)).assign(price=10.0)
        rows.loc[0, "price"] = most
        return shown(ledger, cells(rows, table=name, by=["group"], sums={"revenue": "price"}))

    first, again = paid("one", 10.0), paid("one", 210.0)
    assert first.tables["one"]["revenue"].tolist() == again.tables["one"]["revenue"].tolist() == [400.0, 600.0]
    assert paid("other", 210.0).withheld == ("revenue",)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_is_close", lambda *_: False)
        assert paid("unguarded", 210.0).tables["unguarded"]["revenue"].tolist() == [600.0, 600.0]


@pytest.mark.parametrize("seed", range(4))
def test_moving_the_largest_lots_first_finds_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is quick with many people agrees with solving for all of them, by scipy, literally."""
    rng = np.random.default_rng(seed)
    sets = [np.flatnonzero(rng.random(400) < share) for share in (0.9, 0.6, 0.5, 0.4, 0.03)]
    numbers = [Number(0, b"", one, None, value=len(one)) for one in sets]
    numbers[-1].state = "few"
    family = audit.Family(numbers, [], 400, 2)
    knowledge = family.knowledge()
    few = np.flatnonzero((family.sizes > 0) & (family.sizes < 10))
    matrix = family.has.toarray()[:-1]
    limits = np.concatenate([[len(one) + 2 for one in sets[:-1]], [2 - len(one) for one in sets[:-1]]])
    solved = [linprog(-np.eye(len(family.sizes))[at], np.vstack([matrix, -matrix]), limits) for at in few]
    exact = [np.inf if one.status == 3 else -one.fun for one in solved]
    for moved in (1_000, 3):
        monkeypatch.setattr(audit, "_MOVED", moved)
        monkeypatch.setattr(audit, "_TRIED", moved)
        assert [knowledge.atom(at)[0] >= 19 for at in few] == [one >= 19 for one in exact]
        assert not set(few[np.array(exact) < 19]) - set(knowledge.doubtful(few))


def test_of_a_long_past_the_most_alike_is_audited(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = people(0, 900)
    for n in range(4):
        shown(ledger, table(f"far {n}", a=people(500 + 90 * n, 590 + 90 * n), population=everyone))
    for n in range(2):
        shown(ledger, table(f"arm {n}", a=people(103 * n, 103 * n + 103), population=everyone))
    monkeypatch.setattr(audit, "_MOST_PAST", 3)
    assert shown(ledger, table("both", a=people(0, 208), population=everyone)).refused == ("both",)


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_the_least_and_the_greatest_are_one_persons_value(at: float) -> None:
    with pytest.raises(DataError, match="one person's value"):
        cells(frame_of(a=people(0, 99)).assign(x=1), table="t", by=["group"], quantiles={"most": ("x", at)})


@pytest.mark.parametrize(
    ("period", "data_until", "says"),
    [
        ((MONDAY, MONDAY + DAY), MONDAY + DAY / 2, "later than the data"),
        ((MONDAY, MONDAY + DAY / 2), MONDAY + DAY, "not on its grid"),
        ((MONDAY, MONDAY), MONDAY + DAY, "not after it begins"),
        ((MONDAY.replace(tzinfo=None), MONDAY + DAY), MONDAY + DAY, "has no time zone"),
    ],
)
def test_periods_are_closed_and_on_the_grid(period: Any, data_until: datetime, says: str) -> None:
    with pytest.raises(DataError, match=says):
        closed(*period, data_until=data_until)


def test_rows_from_outside_of_the_period_are_refused(ledger: Ledger) -> None:
    rows = frame_of(a=people(0, 50), b=people(50, 100)).assign(at=pd.Timestamp(MONDAY))
    options = {"table": "t", "by": ["group"], "at": "at"}
    assert shown(ledger, cells(rows, **options)).n_shown == 2
    rows.loc[0, "at"] += DAY
    with pytest.raises(DataError, match="outside of the period"):
        shown(ledger, cells(rows, **options))
    with pytest.raises(DataError, match="not an aware instant"):
        cells(rows.assign(at="yesterday"), **options)


def test_midnights_are_those_of_the_zone_also_when_clocks_change() -> None:
    first, last = datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert closed(first, last, data_until=last, timezone="Europe/Warsaw").until_at == last
    with pytest.raises(DataError, match="not on its grid"):
        closed(first, last, data_until=last)


def test_a_cohort_is_frozen(ledger: Ledger) -> None:
    crowd = people(0, 100)
    one = table(a=people(0, 50), population=crowd)
    shown(ledger, one, cohort=("spring", crowd))
    shown(ledger, table(a=people(0, 50), population=crowd[:90]), cohort=("spring", crowd[:90]))
    with pytest.raises(DataError, match="people whom it had not"):
        shown(ledger, one, cohort=("spring", people(0, 101)))
    with pytest.raises(DataError, match="not of cohort"):
        shown(ledger, table(a=people(0, 50), population=people(0, 200)), cohort=("spring", crowd))


def test_sentences_tell_what_is_hidden_in_the_language_of_the_reader(ledger: Ledger) -> None:
    found = shown(ledger, table(a=people(0, 3), b=people(20, 60), c=people(100, 160)), table("tiny", a=people(0, 3)))
    told = found.sentences()
    assert any(one.startswith("2 numbers are hidden") for one in told)
    assert any("tiny" in one for one in told)
    with using("pl"):
        assert len(found.sentences()) == len(told)


def test_what_is_shown_bears_a_mark_that_a_change_breaks(ledger: Ledger) -> None:
    page = shown(ledger, table(a=people(0, 62), b=people(62, 101)))._repr_html_()
    assert without_marked(page) == ""
    assert without_marked(page.replace("60", "3")) != ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"by": ["grup"]}, "did you mean 'group'"),
        ({"by": ["contact"]}, "list of people"),
        ({"within": ["contact"]}, "not among by"),
        ({"by": []}, "of which population"),
        ({"levels": {"group": ["b"]}}, "3 rows have values of group that are not among its levels"),
        ({"levels": {"group": ["a", None]}}, "levels have missing"),
        ({"levels": {}}, "do not say the values of group"),
        ({"population": ["c00001"]}, "not in population"),
        ({"sums": {"paid": "price"}}, "negative"),
        ({"sums": {"status": "other"}}, "take other names"),
        ({"by": ["wrote"]}, "wrote has e-mail addresses"),
        ({"quantiles": {"days": ("gone", 0.5)}}, "missing in 3 rows"),
    ],
)
def test_tables_at_fault_are_refused(options: dict[str, Any], says: str) -> None:
    frame = frame_of(a=people(0, 3)).assign(price=-1.0, other=1.0, gone=None, wrote="ada@shop.example")
    with pytest.raises(DataError, match=says):
        cells(frame, **{"table": "t", "by": ["group"]} | options)


def test_arguments_at_fault_are_refused(ledger: Ledger) -> None:
    one = table(a=people(0, 50), b=people(50, 100))
    with pytest.raises(DataError, match="several tables are named groups"):
        shown(ledger, one, one)
    with pytest.raises(DataError, match="no table"):
        shown(ledger)
    with pytest.raises(DataError, match="did you mean 'noisy'"):
        shown(ledger, one, perturbation="noise")

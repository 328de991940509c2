"""Plain tables: one row for each unit with its arm and its values, from a file, a frame or a database.

A Parquet file on this machine stays where it is, and DuckDB scans it at each question; anything else is read once. Only
the columns that were asked for are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from journeylab.display import counted
from journeylab.errors import DataError, known, listed
from journeylab.instants import check_zone
from journeylab.logsource import open_source

from .estimation.moments import look, read_moments
from .estimation.pairs import mean_columns
from .metrics import Count, Metric, Proportion, Quantile, TimeToEvent
from .unittable import ROLES, UnitTable, quoted

if TYPE_CHECKING:
    from journeylab.tablesource import Source

__all__ = ["read_units"]

_ROW: Final = "|row"
_SHOWN = 5


def read_units(
    source: Any,
    *,
    arm: str,
    control: Any,
    metrics: Iterable[Metric],
    cluster: str | None = None,
    shares: Mapping[Any, float] | None = None,
    unit: str | None = None,
    exposed_at: str | None = None,
    keep: Sequence[str] = (),
    query: str | None = None,
    timezone: str | None = None,
) -> UnitTable:
    """The units of an experiment in a table that has one row for each of them.

    Flags (true and false) count as 1 and 0. Arms are texts; numbers become their text, so that the arm 1 is "1".

    Args:
        source: a path or URL of a Parquet, CSV, JSON Lines or Arrow file, a folder of Parquet files, a pandas or polars
            frame, an Arrow table or reader, a DuckDB relation, rows as dicts, or a database with a `query`.
        arm: the column of arms; never missing.
        control: the arm that the others are held against.
        metrics: what is measured; the columns that they name have a number for every unit. A covariate may be missing.
        cluster: the column of what units belong to, such as a household, where arms were given to that.
        shares: the probability of each arm, adding up to one; by default all arms of the table are taken to be equal.
        unit: the column that names the unit; each may occur once only.
        exposed_at: the column of the instants of exposure.
        keep: further columns to keep under their own names, such as segments and features.
        query: the rows of a database.
        timezone: the zone in which instants without one are to be read.

    Raises:
        DataError: when the table cannot be read, a column does not exist or two would share a name, the control is no
            arm, an arm has no share, or values are missing, infinite or of the wrong kind; it names all such faults.

    >>> from journeylab.experiments.metrics import Proportion
    >>> rows = [{"mail": "none", "visit": 0}, {"mail": "offer", "visit": 1}, {"mail": "offer", "visit": 0}]
    >>> read_units(rows, arm="mail", control="none", metrics=[Proportion("visit")])
    UnitTable(the units: none 1, offer 2)
    """
    if timezone is not None:
        check_zone(timezone)
    opened = open_source(source, query, what="units")
    metrics = tuple(metrics)
    columns = _wanted(metrics, {"arm": arm, "unit": unit, "cluster": cluster, "exposed_at": exposed_at}, keep)
    _check_names(opened, columns, metrics)
    table = _loaded(opened, columns, timezone)
    given = None if shares is None else {_arm(name): float(share) for name, share in shares.items()}
    control = _arm(control)
    found = dict(table.rows("arm, count(*)", "WHERE arm IS NOT NULL GROUP BY arm ORDER BY arm"))
    shared = given if given is not None else {name: 1 / len(found) for name in found}
    arms = tuple(sorted(shared, key=lambda name: (name != control, name)))
    units = UnitTable(
        table.connection, "units", opened.name, metrics, arms, {name: shared[name] for name in arms}, tuple(columns)
    )
    faults = [*table.faults, *_faults(table, units, columns), *_arm_faults(control, arm, found, given)]
    if faults:
        raise DataError("\n".join(f"{opened.name}: {fault}" for fault in faults))
    return units


@dataclass(frozen=True)
class _Column:
    """Where a column of the view comes from, and what its values have to be."""

    source: str
    kind: str  # arm, text, instant, number, flag, count, days, followed, covariate or kept
    of: str = ""  # the column of days to which `followed` belongs


def _wanted(metrics: Sequence[Metric], roles: Mapping[str, str | None], keep: Sequence[str]) -> dict[str, _Column]:
    """The columns of the view by name, in its order."""
    kinds = {"arm": "arm", "exposed_at": "instant"}
    given = [(role, _Column(name, kinds.get(role, "text"))) for role, name in roles.items() if name is not None]
    for metric in metrics:
        kind = {Proportion: "flag", Count: "count", TimeToEvent: "days"}.get(type(metric), "number")
        given += [(value.column, _Column(value.source, kind)) for value in metric.columns()]
        if isinstance(metric, TimeToEvent):
            given.append((f"{metric.name}|followed", _Column(metric.followed, "followed", metric.name)))
        if metric.covariate is not None:
            given.append((f"{metric.name}|before", _Column(metric.covariate, "covariate")))
    given += [(name, _Column(name, "kept")) for name in keep]
    columns: dict[str, _Column] = {}
    faults = []
    lower: dict[str, str] = {}
    for name, column in given:
        there = lower.get(name.lower())
        if there is not None and column.kind == "kept" and columns[there].source == column.source and there == name:
            continue
        if there is not None:
            faults.append(
                f"two columns would be named {name!r}"
                + ("" if there == name else f" and {there!r}, which SQL takes for one")
                + '; give one of the metrics another name by called="..."'
            )
        if column.kind == "kept" and name in roles:
            faults.append(f"a column {name!r} has a meaning of its own; say {name}={name!r} instead of keeping it")
        lower[name.lower()] = name
        columns[name] = column
    faults += [
        f'{metric.name!r} has a meaning of its own in a table of units; give the metric another name by called="..."'
        for metric in metrics
        if metric.name.lower() in ROLES
    ]
    if faults:
        raise DataError("\n".join(faults))
    return columns


def _check_names(source: Source, columns: Mapping[str, _Column], metrics: Sequence[Metric]) -> None:
    faults = [
        f"{source.name}: no column {name!r}; {known(name, source.columns, 'columns')}"
        for name in dict.fromkeys(column.source for column in columns.values())
        if name not in source.columns
    ]
    by_case: dict[str, list[str]] = {}
    for name in source.columns:
        by_case.setdefault(name.lower(), []).append(name)
    faults += [
        f"{source.name}: the columns {listed(names)} differ in case only, which SQL does not tell apart; rename one"
        for names in by_case.values()
        if len(names) > 1 and not {*names}.isdisjoint(column.source for column in columns.values())
    ]
    faults += [
        f"{metric.name}: where={metric.where!r} filters events of a log; of a table, give the column that is to be used"
        for metric in metrics
        if metric.where is not None
    ]
    if faults:
        raise DataError("\n".join(faults))


@dataclass
class _Table:
    """The source as a view `units`, and as a view `numbered` that has the number of each row as well."""

    connection: Any
    source: Source
    types: Mapping[str, str]
    faults: list[str]

    def rows(self, select: str, more: str = "", view: str = "units") -> list[tuple[Any, ...]]:
        fetched: list[tuple[Any, ...]] = self.connection.execute(f"SELECT {select} FROM {view} {more}").fetchall()
        return fetched

    def has(self, where: str) -> bool:
        """Whether a condition holds for any row as it was given."""
        return bool(self.rows("1", f"WHERE {where} LIMIT 1", "given"))

    def places(self, where: str, view: str = "numbered") -> str:
        """How many rows a condition holds for, and the first of them as people number them."""
        found = self.rows(quoted(_ROW), f"WHERE {where} ORDER BY 1 LIMIT {_SHOWN}", view)
        n = self.rows("count(*)", f"WHERE {where}", view)[0][0]
        if len(self.source.paths) > 1:
            return counted(n, "row")
        numbers = map(str, self.source.rejects.number(np.array([number for (number,) in found])))
        return f"{counted(n, self.source.rejects.place)} ({', '.join(numbers)}{', …' if n > _SHOWN else ''})"


def _loaded(source: Source, columns: Mapping[str, _Column], timezone: str | None) -> _Table:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    names = list(dict.fromkeys(column.source for column in columns.values()))
    if source.is_lazy and source.paths:
        scan = f"read_parquet([{', '.join(_text(str(path)) for path in source.paths)}], file_row_number = true)"
        connection.execute(f"CREATE VIEW given AS SELECT *, file_row_number AS {quoted(_ROW)} FROM {scan}")
    else:
        connection.register("arrow", source.read(names))
        connection.execute(f"CREATE TABLE read AS SELECT {', '.join(map(quoted, names))} FROM arrow")
        connection.execute(f"CREATE VIEW given AS SELECT *, rowid AS {quoted(_ROW)} FROM read")
        connection.unregister("arrow")
    types = {row[0]: str(row[1]) for row in connection.execute("DESCRIBE given").fetchall()}
    malformed = source.rejects.table.to_pylist()[:_SHOWN]
    faults = [f"{source.rejects.place} {one['row']} {one['reason']}; correct it" for one in malformed]
    table = _Table(connection, source, types, faults)
    view = ", ".join(f"{_expression(table, column, timezone)} AS {quoted(name)}" for name, column in columns.items())
    connection.execute(f"CREATE VIEW units AS SELECT {view} FROM given")
    connection.execute(f"CREATE VIEW numbered AS SELECT {view}, {quoted(_ROW)} FROM given")
    return table


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _expression(table: _Table, column: _Column, timezone: str | None) -> str:
    """A column of the view as SQL over the given columns; what cannot be one is added to the faults."""
    name, kind = quoted(column.source), table.types[column.source]
    if column.kind in ("arm", "text"):
        if kind in ("DOUBLE", "FLOAT"):
            return f"CASE WHEN {name} = trunc({name}) THEN {name}::HUGEINT::VARCHAR ELSE {name}::VARCHAR END"
        return f"{name}::VARCHAR"
    if column.kind == "instant":
        return _instant(table, column.source, kind, timezone)
    if column.kind == "kept":
        is_number = table.source.is_text and not table.has(f"{name} IS NOT NULL AND {_number(name, kind)} IS NULL")
        return _number(name, kind) if is_number else name
    if not table.source.is_text and not kind.startswith(_NUMBERS):
        shown = "texts" if kind == "VARCHAR" or kind.startswith("ENUM") else kind
        table.faults.append(f"column {column.source!r} has {shown}, where numbers are needed; give a column of numbers")
        return "NULL::DOUBLE"
    number = _number(name, kind)
    if table.source.is_text and table.has(odd := f"{name} IS NOT NULL AND {number} IS NULL"):
        table.faults.append(
            f"column {column.source!r}: no number in {table.places(odd, 'given')}; give the right numbers"
        )
    return f"nullif({number}, 'nan'::DOUBLE)" if kind in ("DOUBLE", "FLOAT") and column.kind == "covariate" else number


_WHOLE: Final = (
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT",
)  # fmt: skip
_NUMBERS: Final = (*_WHOLE, "FLOAT", "DOUBLE", "DECIMAL")


def _number(name: str, kind: str) -> str:
    if kind == "VARCHAR":
        flag = f"CASE lower({name}) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
        return f"coalesce(try_cast({name} AS DOUBLE), {flag})"
    return f"{name}::TINYINT::DOUBLE" if kind == "BOOLEAN" else f"{name}::DOUBLE"


def _instant(table: _Table, source: str, kind: str, timezone: str | None) -> str:
    name = quoted(source)
    if kind == "TIMESTAMP WITH TIME ZONE":
        return name
    if kind == "VARCHAR":
        zoned = f"regexp_matches({name}, '(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$')"
        bad = f"{name} IS NOT NULL AND try_cast({name} AS TIMESTAMPTZ) IS NULL"
        if table.has(bad):
            places = table.places(bad, "given")
            table.faults.append(f"column {source!r}: no instant in {places}; write them like 2026-03-01T08:00:00Z")
            return "NULL::TIMESTAMPTZ"
        if timezone is None and table.has(f"NOT {zoned}"):
            return _naive(table, source)
        local = "NULL" if timezone is None else f"timezone({_text(timezone)}, try_cast({name} AS TIMESTAMP))"
        return f"CASE WHEN {zoned} THEN try_cast({name} AS TIMESTAMPTZ) ELSE {local} END"
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return _naive(table, source) if timezone is None else f"timezone({_text(timezone)}, {name}::TIMESTAMP)"
    table.faults.append(f"column {source!r} has {kind}, where instants are needed")
    return "NULL::TIMESTAMPTZ"


def _naive(table: _Table, source: str) -> str:
    table.faults.append(f'column {source!r} has times without a zone; say which by timezone="UTC" or "Europe/Warsaw"')
    return "NULL::TIMESTAMPTZ"


def _faults(table: _Table, units: UnitTable, columns: Mapping[str, _Column]) -> list[str]:
    """What is wrong with the values; only where something is, its rows are looked for.

    The scan that finds it reads the moments as well, which are what is wanted next, where they do not rest on clusters.
    """
    checks = [
        (column.source, check)
        for name, column in columns.items()
        for check in _checks(quoted(name), column, table.types[column.source])
        if not any(f"column {column.source!r}" in fault for fault in table.faults)
    ]
    found = _alarms(table, units, [check for _, check in checks])
    faults = [
        f"column {source!r}: {check.what} in {table.places(check.bad)}; {check.remedy}"
        for (source, check), alarm in zip(checks, found, strict=True)
        if alarm
    ]
    if "unit" in columns and not faults:
        faults += _repeated(table, columns["unit"].source)
    return list(dict.fromkeys(faults))


class _Check(NamedTuple):
    """A kind of bad row: an aggregate that tells whether there are any, what they are, and what to do about them.

    `sums` is the column whose sum would tell as well, so that nothing need be asked where the sum is wanted anyhow.
    """

    alarm: str
    bad: str
    what: str
    remedy: str
    sums: str = ""


def _alarms(table: _Table, units: UnitTable, checks: Sequence[_Check]) -> list[bool]:
    """Which of the checks found something."""
    if units.has("cluster"):
        return [*table.rows(", ".join(f"coalesce({check.alarm}, false)" for check in checks))[0]]
    means = [one for one in units.metrics if not isinstance(one, Quantile | TimeToEvent)]
    wanted = [mean_columns(units, one) for one in means]
    summed = {sql for one in wanted for sql in one.all}
    asked = iter(look(units, wanted, more=[check.alarm for check in checks if check.sums not in summed]))
    infinite = {
        sql
        for one in wanted
        for moments in read_moments(units, [one]).values()
        for sql, mean in zip(one.all, moments[0].mean, strict=False)
        if not math.isfinite(mean)
    }
    return [check.sums in infinite if check.sums in summed else next(asked) for check in checks]


def _checks(name: str, column: _Column, kind: str) -> list[_Check]:
    """What is to be checked of a column; of whole numbers less can be wrong, and it is found sooner."""
    is_whole = kind.startswith(_WHOLE)
    remedies = {
        "arm": "every unit has an arm: leave the others out, or give those that were sent nothing an arm of their own",
        "text": "every unit has one: leave the others out, or give each a value of its own",
        "days": "",
        "covariate": "",
        "kept": "",
        "instant": "",
    }
    remedy = remedies.get(column.kind, "a unit to whom nothing happened has 0; leave out units that were not looked at")
    checks = [_Check(f"count({name}) < count(*)", f"{name} IS NULL", "no value", remedy)] if remedy else []
    if column.kind in ("arm", "text", "kept", "instant"):
        return checks
    if not is_whole:
        alarm, odd = f"NOT isfinite(sum({name}))", f"NOT isfinite({name})"
        checks.append(_Check(alarm, odd, "no finite number", "give the right numbers", sums=name))
    if column.kind == "flag":
        odd = f"{name} NOT IN (0, 1)"
        alarm = f"min({name}) < 0 OR max({name}) > 1" if is_whole else f"count_if({odd}) > 0"
        checks.append(_Check(alarm, odd, "neither 0 nor 1", "a proportion needs flags; take Mean or Count instead"))
    if column.kind == "count":
        odd = f"{name} < 0 OR {name} <> floor({name})"
        alarm = f"min({name}) < 0" if is_whole else f"count_if({odd}) > 0"
        checks.append(_Check(alarm, odd, "no count", "a count is whole and not negative; take Mean instead"))
    if column.kind in ("days", "followed"):
        checks.append(
            _Check(f"min({name}) < 0", f"{name} < 0", "a time below 0", "days are counted from the exposure on")
        )
    if column.kind == "followed":
        late = f"{quoted(column.of)} > {name}"
        remedy = (
            f"what came after the last look cannot be known: let {column.of} be missing there, or follow for longer"
        )
        checks.append(_Check(f"count_if({late}) > 0", late, f"a shorter time than that of {column.of}", remedy))
    return checks


def _repeated(table: _Table, source: str) -> list[str]:
    if table.rows("count(DISTINCT unit) = count(*)") == [(True,)]:
        return []
    again = table.rows(
        "unit, count(*), count(DISTINCT arm)", f"GROUP BY unit HAVING count(*) > 1 ORDER BY unit LIMIT {_SHOWN}"
    )
    shown = ", ".join(f"{unit!r} in {n} rows" + (f" and {k} arms" if k > 1 else "") for unit, n, k in again)
    return [f"column {source!r}: some units have several rows: {shown}; a unit has one row and one arm"]


def _arm(value: Any) -> str:
    """An arm as the view has it."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _arm_faults(control: str, column: str, found: Mapping[str, int], shares: Mapping[str, float] | None) -> list[str]:
    if not found:
        return ["there are no units"]
    faults = []
    if control not in found:
        faults.append(f"the control {control!r} is no arm in column {column!r}; {known(control, found, 'arms')}")
    if shares is None:
        return [*faults, *([f"column {column!r} has the arm {control!r} only"] if [*found] == [control] else [])]
    faults += [
        f"arm {arm!r} has no share; {known(arm, shares, 'shares')}" for arm in sorted(found) if arm not in shares
    ]
    if control in found and control not in shares:
        return faults
    total = math.fsum(shares.values())
    if not math.isclose(total, 1, abs_tol=1e-9) or min(shares.values()) <= 0:
        faults.append(f"the shares of the arms are above 0 and add up to 1; they add up to {total:g}")
    return faults

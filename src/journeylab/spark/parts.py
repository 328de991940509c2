"""What is made of a bucket on an executor: counts, facts, rows of a table, or what is wrong with it.

Nothing here knows Spark: tables of Arrow come in and go out. Counts go out as rows of a place and a number, so that the
cluster can add them up, and problems as rows, too, so that they come to the driver without a failed task.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from journeylab.attributes import as_texts
from journeylab.errors import DataError, JourneyLabError

from .meaning import CONTACTS, EVENTS, Meaning

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from journeylab.eventlog import EventLog

__all__ = ["COUNTS", "FACTS", "Made", "Work", "columns_of", "counts_of", "facts_in", "plainly", "refuse", "rows_of"]

COUNTS: Final = "place bigint, n bigint, problem string, contact string"
FACTS: Final = f"facts string, {COUNTS}"
_BAD_VALUE, _FAULT = -1, -2
"""The places of what is no count: why values are bad, and what else went wrong."""
_SHOWN: Final = 5
_SPARK: Final = {
    "int8": "tinyint", "int16": "smallint", "int32": "int", "int64": "bigint", "float": "float", "double": "double",
    "bool": "boolean", "string": "string", "timestamp[us, tz=UTC]": "timestamp",
}  # fmt: skip

Work = Callable[["EventLog"], Any]
"""What is done with a bucket's log."""
Made = Callable[["Meaning", Work, "pa.Table", "pa.Table"], "pa.Table"]
"""What makes a table of it."""


def _problems(problem: JourneyLabError, events: pa.Table, contacts: pa.Table) -> pa.Table:
    """What is wrong with a bucket, as rows of counts: in words that do not depend on the bucket, with a contact."""
    import pyarrow as pa

    found: dict[tuple[int, str], list[str | None]] = {}
    rejects = getattr(problem, "rejects", None)
    if rejects is None:
        found[_FAULT, str(problem)] = [None]
    else:
        ids = {EVENTS: as_texts(events["contact"]), CONTACTS: as_texts(contacts["contact"])}
        for one in rejects.to_pylist():
            reason = re.sub(r"is also on row \d+$", "is there more than once", one["reason"])
            value = "" if one["value"] is None else f"{one['value']!r} "
            text = f"{one['source']}, column {one['column']}: {value}{reason}"
            whose = None if one["column"] == "contact" else ids[one["source"]][one["row"]].as_py()
            found.setdefault((_BAD_VALUE, text), []).append(whose)
    most = sorted(found.items(), key=lambda one: -len(one[1]))[:_SHOWN]
    return pa.table(
        {
            "place": pa.array([place for (place, _), _ in most], pa.int64()),
            "n": pa.array([len(whose) for _, whose in most], pa.int64()),
            "problem": pa.array([text for (_, text), _ in most], pa.string()),
            "contact": pa.array([min(filter(None, whose), default=None) for _, whose in most], pa.string()),
        }
    )


def counts_of(meaning: Meaning, work: Work, events: pa.Table, contacts: pa.Table) -> pa.Table:
    """The counts of a bucket, the work's numbers by place where they are not 0; or what is wrong with it."""
    import pyarrow as pa

    try:
        numbers = work(meaning.log(events, contacts))
    except JourneyLabError as problem:
        return _problems(problem, events, contacts)
    place = np.flatnonzero(numbers)
    nothing = pa.nulls(len(place), pa.string())
    return pa.table({"place": place, "n": numbers[place], "problem": nothing, "contact": nothing})


def facts_in(meaning: Meaning, work: Work, events: pa.Table, contacts: pa.Table) -> pa.Table:
    """The facts of a bucket, or what is wrong with it."""
    import pyarrow as pa

    try:
        facts = json.dumps(work(meaning.log(events, contacts)).plain())
    except JourneyLabError as problem:
        said = _problems(problem, events, contacts)
        return said.add_column(0, "facts", pa.nulls(len(said), pa.string()))
    number, text = pa.nulls(1, pa.int64()), pa.nulls(1, pa.string())
    return pa.table({"facts": [facts], "place": number, "n": number, "problem": text, "contact": text})


def rows_of(schema: pa.Schema, meaning: Meaning, work: Work, events: pa.Table, contacts: pa.Table) -> pa.Table:
    """A bucket's part of a table of every contact."""
    return plainly(work(meaning.log(events, contacts))).cast(schema)


def plainly(table: pd.DataFrame) -> pa.Table:
    """A table in Arrow, names as texts rather than as categories, whose codes would be each bucket's own."""
    import pyarrow as pa

    made = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    fields = [one.with_type(one.type.value_type) if pa.types.is_dictionary(one.type) else one for one in made.schema]
    return made.cast(pa.schema([pa.field(one.name, _narrow(one.type)) for one in fields]))


def _narrow(kind: pa.DataType) -> pa.DataType:
    """A type as Spark has it; names of which there are none are texts, too."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_null(kind) else kind


def columns_of(schema: pa.Schema) -> str:
    """The columns of a table in Spark's words."""
    return ", ".join(f"{one.name} {_SPARK[str(one.type)]}" for one in schema)


def refuse(problems: pa.Table) -> None:
    """Raises what is wrong with buckets, if anything is.

    Raises:
        DataError: where there are problems.
    """
    rows = problems.to_pylist()
    faults = sorted(one["problem"] for one in rows if one["place"] == _FAULT)
    if faults:
        raise DataError(faults[0])
    n: Counter[str] = Counter()
    whose: dict[str, str] = {}
    for one in rows:
        n[one["problem"]] += one["n"]
        if one["contact"] is not None:
            whose[one["problem"]] = min(whose.get(one["problem"], one["contact"]), one["contact"])
    if not n:
        return
    lines = []
    for text, times in sorted(n.items(), key=lambda one: (-one[1], one[0]))[:_SHOWN]:
        said = [f"{times:,} times"] if times > 1 else []
        said += [f"{'such as' if said else 'of'} contact {whose[text]}"] if text in whose else []
        lines.append(f"  {text} ({', '.join(said)})" if said else f"  {text}")
    more = ["  and others"] if len(n) > _SHOWN else []
    raise DataError("\n".join(["the log in Spark has bad rows:", *lines, *more, "Correct them, or leave them out."]))

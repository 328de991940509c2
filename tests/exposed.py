"""Exposures made by hand, for tests of what follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from journeylab.eventlog import EventLog
from journeylab.experiments.exposure.exposures import Exposures

SENDS = {
    "row": "int64", "arm": "str", "message": "str", "decided_at": "datetime64[us, UTC]", "is_sent": "bool",
    "reason": "str", "is_observed": "bool",
}  # fmt: skip


def exposed(
    log: EventLog,
    rows: Sequence[tuple[Any, ...]] | pd.DataFrame,
    shares: Mapping[str, float] | None = None,
    *,
    sends: pd.DataFrame | None = None,
    control: str = "a",
) -> Exposures:
    """Exposures of rows of contact, arm, instant and perhaps cluster."""
    shares = shares or {"a": 0.5, "b": 0.5}
    if not isinstance(rows, pd.DataFrame):
        columns = ["contact", "arm", "exposed_at", "cluster"]
        rows = pd.DataFrame(rows, columns=columns[: len(rows[0]) if rows else 3])
    rows = rows.assign(
        exposed_at=pd.to_datetime(rows["exposed_at"], utc=True).dt.as_unit("us"),
        arm=rows["arm"].astype("str"),
        node="split",
        entry=rows.groupby("contact").cumcount() + 1,
        probability=rows["arm"].map(shares).astype(float),
    )
    nothing = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in SENDS.items()})
    return Exposures(
        frame=rows.reset_index(drop=True),
        shares=shares,
        control=control,
        log=log,
        until=log.end_at,
        name="the test",
        sends=nothing if sends is None else sends.astype({"reason": "str", "message": "str"}),
        journeys=("mine",),
    )

"""The one function through which numbers leave: it holds them to the five rules, in the ledger's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from journeylab.errors import DataError, known, listed

from . import windows
from .decision import decide, question
from .disclosed import Disclosed, frame_of
from .figures import further_figures
from .ledger import Ledger, Writing
from .people import Cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .perturbation import Perturbation

    Ids = NDArray[np.uint64]

__all__ = ["disclose"]

_HOW = ("rounded", "noisy")


def disclose(
    tables: Sequence[Cells],
    *,
    of: str,
    period: tuple[datetime, datetime],
    data_until: datetime,
    ledger: Ledger,
    every_days: int = 1,
    timezone: str = "UTC",
    perturbation: Perturbation = "rounded",
    cohort: tuple[str, Sequence[str]] | None = None,
) -> Disclosed:
    """What may be shown of some tables of people, taken together and with all that was disclosed before.

    1. A number is of ten people or more, and leaves out ten or more of its group, which has ten or more. None and all
       are few, unless the group has only one cell by the levels. Where one or two people make up most of a sum, or
       fewer than ten lie on one side of a quantile, the column is not shown.
    2. Further numbers are hidden until linear programming finds that nothing of 1 to 9 people can be told to within
       less than ten from what is shown, hidden, and was shown before; a table for which that fails is refused.
    3. Counts are rounded to five, or have noise that is the same whenever the same is asked of the same people.
       Shares are of the counts as shown, sums are rounded to what five people contribute.
    4. A number whose people differ by 1 to 9 from those of another that is shown, here or in the ledger, is hidden.
       What was decided of a number before, shown or hidden, stays so until ten people or more are others: a late or
       erased person changes nothing. The ledger is written before anything is returned.
    5. The period is over in the data and lies on a grid of whole days.

    Args:
        tables: by `cells`, each of another name, those first that matter most: to protect a number, one of a later
            table is hidden where that is enough.
        of: what they are about, such as the journey and its version; part of what each number is.
        period: from an instant (included) until another (excluded), both aware.
        data_until: up to when the data are complete.
        ledger: of the audience: all that the same people can read goes through one ledger.
        every_days: the grid of periods, in days counted from a Monday.
        timezone: whose midnights the grid has.
        perturbation: "rounded" or "noisy".
        cohort: a name and all ids of a group that was fixed when it began, such as those promoted to. It is frozen at
            its first disclosure: later ones may lack people, and have no others.

    Raises:
        DataError: when an argument is at fault, the period is not closed, a table has rows outside of it (by its `at`)
            or people outside of the cohort, the cohort has new ones, or the ledger cannot be used.

    Kenthapadi, K., Mishra, N. and Nissim, K. (2005). Simulatable auditing. PODS, 118-127: that a refusal itself tells
    something, if it depends on what is asked about; hence what rule 4 keeps.

    >>> import tempfile
    >>> from datetime import UTC
    >>> from journeylab.disclosure import LedgerKey, cells
    >>> import pandas as pd
    >>> people = pd.DataFrame({"contact": [f"c{n}" for n in range(100)], "plan": ["free"] * 62 + ["paid"] * 38})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shown = disclose([cells(people, table="plans", by=["plan"])], of="contacts",
    ...                      period=(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
    ...                      data_until=datetime(2026, 3, 2, tzinfo=UTC),
    ...                      ledger=Ledger(f"{folder}/ledger", LedgerKey(bytes(32))))
    >>> shown.tables["plans"]
       plan  n_contacts  n_within  contact_share status
    0  free          60       100            0.6  shown
    1  paid          40       100            0.4  shown
    """
    tables = list(tables)
    names = [one.table for one in tables]
    if not tables:
        raise DataError("there is no table to disclose")
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"several tables are named {listed(twice)}; a name stands for one question")
    if perturbation not in _HOW:
        raise DataError(f"perturbation {perturbation!r}: {known(perturbation, _HOW, 'perturbations')}")
    span = windows.closed(*period, data_until=data_until, every_days=every_days, timezone=timezone)
    for one in tables:
        if one.span is not None and not (span.from_at <= one.span[0] and one.span[1] < span.until_at):
            raise DataError(f"table {one.table!r} has rows from outside of the period; leave them out")
    ids = [ledger.key.ids(one.people) for one in tables]
    with ledger.writing() as writing:
        if cohort is not None:
            _hold_to(cohort, writing, ledger, tables, ids)
        asked = question(tables, ids, writing.shown(), f"{of} {span}")
        decide(asked, writing, perturbation, ledger.key.of("noise"))
        figures = further_figures(tables, asked, writing)
    frames = {
        one.table: frame_of(one, asked.cells(place), asked.groups(place), figures[place])
        for place, one in enumerate(tables)
        if not asked.is_refused(place)
    }
    return Disclosed(
        of=of,
        period=span,
        perturbation=perturbation,
        tables=frames,
        timezone=timezone,
        refused=tuple(one.table for one in tables if one.table not in frames),
        withheld=tuple(
            dict.fromkeys(
                amount.name
                for one in tables
                for amount in one.amounts
                if one.table in frames and amount.name not in frames[one.table]
            )
        ),
        unlisted=tuple(one.table for one in tables if one.table in frames and not one.is_listed),
    )


def _hold_to(
    cohort: tuple[str, Sequence[str]], writing: Writing, ledger: Ledger, tables: Sequence[Cells], ids: Sequence[Ids]
) -> None:
    """Nothing, when the tables are of a cohort that has nobody new; else a DataError."""
    name, people = cohort
    given = np.unique(ledger.key.ids([str(one) for one in people]))
    if not np.isin(given, writing.freeze(name, given)).all():
        raise DataError(
            f"cohort {name!r} has people whom it had not when it was first disclosed; a cohort is frozen: leave them "
            "out, or begin another under another name"
        )
    for one, its in zip(tables, ids, strict=True):
        if not np.isin(its, given).all():
            raise DataError(f"table {one.table!r} has people who are not of cohort {name!r}; leave their rows out")

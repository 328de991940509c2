"""The send times that `at: best` asks: from what an analyst gives to what the machine reads, and back to tables.

The machine needs no scores, only their order: for each row of scores the place of every hour of the week, a byte each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from . import layout as o
from .errors import DataError, known
from .execution import recorded
from .machine import O_CHOICES, O_VISITS, Out
from .sendtimes import WEEK, SendTimes
from .tablesource import Table, csv_frame, is_table, parquet_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog
    from .program import Compiled

__all__ = ["ADVICE", "Advice", "Advised", "OneSendTimes", "SendTimesGiven", "advised", "advice_of", "ranked", "read"]

OneSendTimes: TypeAlias = SendTimes | Table | str | Path
"""Send times, a table of one hour for each contact (`SendTimes.of_hours`), or the path of a file with either."""
SendTimesGiven: TypeAlias = OneSendTimes | Mapping[str, OneSendTimes]
"""Send times for every `at: best`, or by the names that journeys have for them."""
ADVICE = ("known", "fallback", "explored")
"""Why a send went when it did: by the contact's own scores, by the fallback's, or by chance."""
_BLOCK = 8192


class Advice(NamedTuple):
    """What journeys ask at `at: best`.

    Attributes:
        times: the send times by the index of their name in `Compiled.models`; empty where none were given.
        ranks: uint8 (row, 168), as `layout.World` has them.
        rows: int64 (model, contact), the row of each contact, -1 without one.
        first_fallback: the first row that is a fallback's.
    """

    times: Sequence[SendTimes]
    ranks: NDArray[np.uint8]
    rows: NDArray[np.int64]
    first_fallback: int


def read(path: str | Path) -> SendTimes:
    """Send times from a file of `SendTimes.write`, or from a table, Parquet or CSV, as `SendTimes.of_hours` takes it.

    Raises:
        DataError: when there is no such file, or it holds neither.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    try:
        is_there = path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        is_there = False
    if not is_there:
        raise DataError(f"send times: there is no file {str(path)[:200]!r}")
    try:
        if path.suffix == ".csv":
            return SendTimes.of_hours(csv_frame(path))
        if "hour_of_week" in pq.read_schema(path).names:
            return SendTimes.of_hours(parquet_frame(path))
    except (OSError, ValueError, TypeError, OverflowError, pa.ArrowException) as problem:
        raise DataError(f"send times {str(path)!r} cannot be read: {problem}") from None
    except DataError as problem:
        raise DataError(f"{str(path)!r}: {problem}") from None
    return SendTimes.read(path)


def ranked(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The place of every hour among those of its row, 0 the best, equal scores at equal places, 255 without a score.

    >>> ranked(np.array([[0.1, np.nan, 0.3, 0.1]], np.float32))
    array([[  1, 255,   0,   1]], dtype=uint8)
    """
    ranks = np.empty(scores.shape, np.uint8)
    for first in range(0, len(scores), _BLOCK):
        block = -scores[first : first + _BLOCK]
        order = np.argsort(block, axis=1)  # what is missing comes last
        ordered = np.take_along_axis(block, order, axis=1)
        place = np.zeros(block.shape, np.uint8)
        np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, dtype=np.uint8, out=place[:, 1:])
        place[np.isnan(ordered)] = o.NOT_SCORED
        np.put_along_axis(ranks[first : first + _BLOCK], order, place, axis=1)
    return ranks


def advice_of(given: SendTimesGiven | None, models: Sequence[str], log: EventLog) -> Advice:
    """What the contacts of a log are advised by the send times that journeys name.

    Raises:
        DataError: when a name is not among those given, or send times do not fit.
    """
    if given is None:
        return _stacked([], log)
    if isinstance(given, Mapping):
        by_name = {name: _send_times(one) for name, one in given.items()}
        for name in models:
            if name not in by_name:
                raise DataError(f"no send times {name!r} were given; {known(name, by_name, 'send times')}")
        return _stacked([by_name[name] for name in models], log)
    return _stacked([_send_times(given)] * len(models), log)


def _send_times(one: OneSendTimes) -> SendTimes:
    if isinstance(one, SendTimes):
        return one
    if is_table(one):
        return SendTimes.of_hours(one)
    if isinstance(one, str | Path):
        return read(one)
    raise DataError(
        f"send_times is a SendTimes, the path of its file, a table of contact and hour_of_week, or a mapping of names "
        f"to such; got {type(one).__name__}"
    )


def _stacked(times: Sequence[SendTimes], log: EventLog) -> Advice:
    """The rows that contacts of the log have, each send times' after the other's, and then all fallbacks."""
    rows = np.full((len(times), log.n_contacts), -1, np.int64)
    ranks, n = [np.empty((0, WEEK), np.uint8)], 0
    for model, one in enumerate(times):
        twin = next((i for i in range(model) if times[i] is one), None)
        if twin is not None:
            rows[model] = rows[twin]
            continue
        profile = np.append(one.profile, -1)[one.places_of(log.contact_ids)]
        used, place = np.unique(profile[profile >= 0], return_inverse=True)
        rows[model, profile >= 0] = n + place
        ranks.append(ranked(one.scores[used]))
        n += len(used)
    fallbacks = [model for model, one in enumerate(times) if one.fallback >= 0]
    for i, model in enumerate(fallbacks):
        rows[model, times[model].places_of(log.contact_ids) < 0] = n + i
        ranks.append(ranked(times[model].scores[[times[model].fallback]]))
    return Advice(times, np.concatenate(ranks), rows, n)


class Advised(NamedTuple):
    """What advised each visit, in the machine's order.

    Attributes:
        version: the place in `versions` of the send times, -1 where none were asked.
        versions: the versions of the send times, by model.
        advice: the place in `ADVICE`, -1 where none were asked.
        propensity: the probability of the hour of an explored send that went within it, else NaN.
        slots: the hours that an explored send was chosen from, as 42 hexadecimal digits.
    """

    version: NDArray[np.int64]
    versions: Sequence[str]
    advice: NDArray[np.int64]
    propensity: NDArray[np.float64]
    slots: NDArray[np.object_]

    def columns(self, rows: NDArray[np.int64]) -> dict[str, pd.Series[str] | pd.Series[float]]:
        """The columns that tables of sends have of some visits."""
        return {
            "send_times": pd.Series(np.array([*self.versions, None], object)[self.version[rows]], dtype="str"),
            "advice": pd.Series(np.array([*ADVICE, None], object)[self.advice[rows]], dtype="str"),
            "slot_propensity": pd.Series(self.propensity[rows], dtype=float),
            "slots": pd.Series(self.slots[rows], dtype="str"),
        }


def advised(compiled: Compiled, advice: Advice, outs: Sequence[Out]) -> Advised:
    """What advised the sends that were made, by the machine's record; visits in the order of the chunks."""
    n_visits = [int(out.used[O_VISITS]) for out in outs]
    n = sum(n_visits)
    if not advice.times:
        return Advised(np.full(n, -1), (), np.full(n, -1), np.full(n, np.nan), np.full(n, None, object))
    found = recorded(outs)
    made = [out.choices[: out.used[O_CHOICES]] for out in outs]
    choices = np.concatenate([np.empty((0, o.Q_COLUMNS), np.int64), *made])
    first = np.repeat(np.cumsum([0, *n_visits])[:-1], [len(one) for one in made])
    mine, visits = choices[:, o.Q_VISIT] + first, found.visits
    propensity, slots = np.full(n, np.nan), np.full(n, None, object)
    propensity[mine] = np.where(choices[:, o.Q_IN_TIME] == 1, 1 / np.maximum(choices[:, o.Q_OPTIONS], 1), np.nan)
    slots[mine] = [f"{high:014x}{middle:014x}{low:014x}" for low, middle, high in choices[:, o.Q_LOW :].tolist()]
    version, code = np.full(n, -1), np.full(n, -1)
    nodes = compiled.program.nodes
    is_made = (visits[:, o.V_EDGE] >= 0) & (found.marks[:, o.V_REASON] == o.BECAUSE_NOT)
    is_best = (nodes[:, o.N_OP] == o.OP_SEND) & (nodes[:, o.C] == o.AT_BEST)
    asked = np.flatnonzero(is_made & is_best[visits[:, o.V_NODE]])
    model = compiled.program.bests[nodes[visits[asked, o.V_NODE], o.D], o.BEST_MODEL]
    row = advice.rows[model, found.contact[asked]]
    version[asked] = np.where(row >= 0, model, -1)
    by_fallback = np.where(row >= advice.first_fallback, ADVICE.index("fallback"), ADVICE.index("known"))
    code[asked] = np.where(row >= 0, by_fallback, -1)
    code[mine] = ADVICE.index("explored")
    return Advised(version, [one.version for one in advice.times], code, propensity, slots)

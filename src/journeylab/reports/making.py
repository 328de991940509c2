"""Making the report of any result."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from journeylab.errors import DataError, known
from journeylab.language import checked, current, using

from .asking import Asking
from .page import Report

if TYPE_CHECKING:
    from journeylab.backtest import Backtest
    from journeylab.disclosure import Ledger
    from journeylab.experiments.analysis import Analysis
    from journeylab.journey import Journey
    from journeylab.replay import Replay
    from journeylab.sendtime.sends import SendTable
    from journeylab.sendtimes import SendTimes
    from journeylab.simulation import Simulation

    from .releases import Released

    Result: TypeAlias = Replay | Simulation | Backtest | Analysis | SendTimes | Released

__all__ = ["report"]


def report(
    result: Result,
    *,
    ledger: Ledger,
    journey: str | None = None,
    sends: SendTable | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    title: str | None = None,
    data: str = "",
    language: str | None = None,
) -> Report:
    """The report of a result for readers: all its numbers went through the gate, and `write` makes it a file.

    A report is of whole days that are over: from the midnight before the first entry, exposure or send, up to the last
    midnight before the end of the data, in the journey's time zone. A replay is taken up to there (`Replay.advance`).

    Args:
        result: a `Replay`, a `Simulation`, a `Backtest`, an experiment's `Analysis`, `SendTimes`, or a `Released`.
        ledger: of the audience: all that the same people can read goes through one ledger.
        journey: which one, where a replay or simulation has several.
        sends: for send times, the `send_table` of the log.
        since: where the period begins, a midnight (aware, or ISO text), instead of before the first.
        until: no later than where it ends.
        title: the heading, instead of what the result says.
        data: what the data is, such as "Akacja, a simulated shop".
        language: "en" or "pl"; by default the current one of `language`.

    Raises:
        DataError: when there is nothing to report, the period is not over or not of whole days, there is no such
            journey or language, or the ledger cannot be used.

    >>> import tempfile
    >>> import journeylab as jl
    >>> from journeylab.disclosure import Ledger, LedgerKey
    >>> welcome = jl.Journey.read(jl.datasets.journey_file("trial_welcome"))
    >>> replayed = jl.replay(welcome, jl.datasets.shop())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = report(replayed, ledger=Ledger(f"{folder}/ledger", LedgerKey(bytes(32))))
    >>> made.answer.split(". ")[0]
    'About 3,465 contacts would have entered'
    >>> made.tables["branches"].loc[:1, ["node", "branch", "n_contacts", "n_within", "contact_share"]]
       node branch  n_contacts  n_within  contact_share
    0  read   then         940      3310          0.284
    1  read   else        2370      3310          0.716
    """
    from journeylab.backtest import Backtest
    from journeylab.experiments.analysis import Analysis
    from journeylab.replay import Replay
    from journeylab.sendtimes import SendTimes
    from journeylab.simulation import Simulation

    asking = Asking(
        ledger=ledger, since=_instant(since, "since"), until=_instant(until, "until"), title=title, data=data,
        language=checked(language or current()),
    )  # fmt: skip
    with using(asking.language):
        if isinstance(result, Replay):
            from .replays import replay_report

            return replay_report(result, _one(result.journeys, journey), asking)
        if isinstance(result, Simulation):
            from .predictions import simulation_report

            return simulation_report(result, _one(result.journeys, journey), asking)
        if isinstance(result, Backtest):
            from .predictions import backtest_report

            return backtest_report(result, asking)
        if isinstance(result, Analysis):
            from .trials import trial_report

            return trial_report(result, asking)
        if isinstance(result, SendTimes):
            from .hours import hours_report

            if sends is None:
                raise DataError(
                    "a report of send times takes the sends of a log, as sends=journeylab.sendtime.send_table(log)"
                )
            return hours_report(result, sends, asking)
        from .releases import Released, release_report

        if isinstance(result, Released):
            return release_report(result, asking)
    raise DataError(
        f"a {type(result).__name__} is nothing to report; give a replay, a simulation, a backtest, the analysis of an "
        "experiment, send times or what `reports.released` reads"
    )


def _one(journeys: list[Journey], name: str | None) -> Journey:
    latest = {one.journey: one for one in journeys}
    if name is None and len(latest) == 1:
        return next(iter(latest.values()))
    if name not in latest:
        raise DataError(f"a report is of one journey; {known(str(name), latest, 'journeys')}")
    return latest[name]


def _instant(at: datetime | str | None, name: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        raise DataError(f"{name}: {at!r} is no instant; write it as 2026-03-01T00:00:00+00:00") from None
    if found is not None and found.tzinfo is None:
        raise DataError(f"{name}: {at} does not say its time zone; write it as {found.isoformat()}+00:00 for UTC")
    return found

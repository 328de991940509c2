"""What may be asked of journeys and of an event log, and what may be answered.

Definitions are answered in full: they are the operator's and the assistant's own. Of people nothing leaves but what the
gate shows, through one ledger. What goes wrong while a log is at hand is told in words that are the same whoever is in
the log; the reason is written to the operator's log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from math import ceil
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from journeylab.errors import DataError, DefinitionError, JourneyLabError, known
from journeylab.errors import Fault as FaultFound
from journeylab.journey import Journey, Portfolio, Send
from journeylab.language import say, using

from . import answers
from .folder import JourneyFolder
from .patience import Watch
from .quoting import quoted, shown
from .vocabulary import Vocabulary, messages_of, whole
from .writing import as_markdown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journeylab.disclosure import Ledger
    from journeylab.eventlog import EventLog
    from journeylab.reports import Report
    from journeylab.responses import ResponseModel

__all__ = ["MOST_DRAWS", "About", "Questions"]

MOST_DRAWS: Final = 200
_MOST_MODELS: Final = 4
_LOOK: Final = 0.1
_LOG: Final = logging.getLogger("journeylab.assistants")

Kind = Literal["replay", "simulation", "backtest"]
Language = Literal["en", "pl"]
_Done = TypeVar("_Done")


class About(NamedTuple):
    """Which journey is asked about.

    Attributes:
        file: the name of a file; or
        text: a journey as YAML.
        journey: which one, where there are several.
    """

    file: str | None = None
    text: str | None = None
    journey: str | None = None


@dataclass(eq=False, repr=False)
class Questions:
    """Answers what may be asked. One long question is answered at a time; others wait.

    Args:
        folder: the journeys.
        log: the event log; without one only definitions can be asked about.
        ledger: of those who read the answers.
        data: what the data is, said in answers.
        grain: answers that tell nothing come at whole multiples of so many seconds, as nobody is found sooner than
            somebody.

    Raises:
        DataError: when there is a log and no ledger, or not a whole day of the log.
    """

    folder: JourneyFolder
    log: EventLog | None = None
    ledger: Ledger | None = None
    data: str = ""
    grain: float = 2.0
    _models: dict[tuple[str | None, date | None], ResponseModel] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if self.log is not None and self.ledger is None:
            raise DataError("an event log takes the ledger of who reads the answers")
        if self.log is not None:
            self._period(None, "UTC")

    @cached_property
    def names(self) -> Vocabulary | None:
        """The names of the log that may be said."""
        return None if self.log is None else Vocabulary(self.log)

    # Definitions

    def portfolio(self, about: About) -> Portfolio:
        """The journeys that are asked about, whichever way.

        Raises:
            DataError: when neither or both of a file and a text are given.
            DefinitionError: with every fault.
        """
        if (about.file is None) == (about.text is None):
            raise DataError("say `file`, the name of a journey file, or `text`, a journey as YAML; one of them")
        return self.folder.read(about.file) if about.file is not None else self.folder.draft(about.text or "")

    def check(self, about: About) -> answers.Checked:
        """Whether journeys are sound, and which names of theirs the log does not have.

        Raises:
            DataError: when neither or both of a file and a text are given.
        """
        from journeylab.check import notes_of

        try:
            portfolio = self.portfolio(about)
        except DefinitionError as error:
            faults = [_fault(one) for one in error.faults]
            return answers.Checked(is_sound=False, journeys=[], faults=faults, notes=[], not_in_the_log=[])
        journeys = portfolio.journeys
        unknown = [] if self.names is None else self.names.faults(journeys)
        return answers.Checked(
            is_sound=True,
            journeys=[answers.Named(journey=one.journey, version=one.version) for one in journeys],
            faults=[],
            notes=[shown(f"{one.journey}: {note}") for one in journeys for note in notes_of(one)],
            not_in_the_log=[_fault(one) for one in unknown],
        )

    def draw(self, about: About, form: Literal["mermaid", "svg"], language: Language) -> answers.Drawing:
        """A journey as a picture.

        Raises:
            DataError: when neither or both of a file and a text are given.
            DefinitionError: with every fault.
        """
        from journeylab.drawing import mermaid, svg

        one = self.portfolio(about).one(about.journey)
        with using(language):
            text = svg(one) if form == "svg" else mermaid(one)
        return answers.Drawing(journey=one.journey, version=one.version, form=form, text=text)

    def diff(self, old: About, new: About) -> answers.Differences:
        """What differs between two definitions.

        Raises:
            DataError: when of either neither or both of a file and a text are given.
            DefinitionError: with every fault.
        """
        from journeylab.definitiondiff import compared

        return answers.Differences(
            changes=[
                answers.Change(
                    journey=name, path=[*one.path], kind=one.kind, before=shown(one.before), after=shown(one.after),
                    text=shown(one.text),
                )
                for name, changes in compared(self.portfolio(old), self.portfolio(new))
                for one in changes
            ]
        )  # fmt: skip

    # People

    def ask(
        self, kind: Kind, about: About, language: Language, watch: Watch, *, since: date | None = None,
        cutoff: date | None = None, draws: int = MOST_DRAWS, like: dict[str, str] | None = None,
        replaces: Sequence[str] = (),
    ) -> answers.Told:  # fmt: skip
        """What may be told of a replay, a simulation or a backtest.

        Args:
            kind: which.
            about: the journey.
            language: "en" or "pl".
            watch: is told how far it is, and stops it.
            since: the first day of entries, of a replay or simulation; by default the log's first.
            cutoff: the day from which on a backtest predicts.
            draws: how many times the model answers, at most 200.
            like: for messages that were never sent, the ones whose responses they are assumed to have.
            replaces: messages of the log that the journeys take the place of.

        Raises:
            DataError, DefinitionError: when it cannot be asked, in words that tell nothing of who is in the log.
            Stopped: when the watch has stopped it.
        """
        journey, report = self._reported(kind, about, language, watch, since, cutoff, draws, like or {}, replaces)
        if report is None:
            return answers.Told(
                of=kind, title=shown(journey.title or journey.journey), version=journey.version, is_told=False,
                answer=_few(language), first_day=None, until_day=None, tables={}, n_shown=0, n_hidden=0, basis=[],
                unknown=[], next_steps=[], how_to_read=[],
            )  # fmt: skip
        data = shown(report.to_dict())
        first, until = report.disclosed.days
        return answers.Told(
            of=kind, title=data["title"], version=journey.version, is_told=True, answer=data["answer"],
            first_day=first.isoformat(), until_day=until.isoformat(), tables=data["tables"],
            n_shown=report.disclosed.n_shown, n_hidden=report.disclosed.n_hidden, basis=data["basis"],
            unknown=data["unknown"], next_steps=data["next_steps"], how_to_read=shown([*report.reading]),
        )  # fmt: skip

    def write(
        self, kind: Kind, about: About, language: Language, watch: Watch, *, since: date | None = None,
        cutoff: date | None = None,
    ) -> answers.Written:  # fmt: skip
        """The same as a report for readers, in Markdown.

        Raises:
            DataError, DefinitionError, Stopped: as `ask`.
        """
        journey, report = self._reported(kind, about, language, watch, since, cutoff, MOST_DRAWS, {}, ())
        title = shown(journey.title or journey.journey)
        if report is None:
            text = f"# {title}\n\n{_few(language)}\n"
            return answers.Written(title=title, language=language, is_told=False, markdown=text)
        return answers.Written(title=title, language=language, is_told=True, markdown=as_markdown(report))

    def events(self, watch: Watch) -> list[dict[str, Any]]:
        """How many contacts have events of each kind, as far as it may be told: `event`, `n_contacts`, `status`.

        Raises:
            DataError: when there is no log.
            Stopped: when the watch has stopped it.
        """
        from journeylab.disclosure import cells, disclose

        log, ledger, names = self._needed()
        since, until = self._period(None, "UTC")
        with watch.alone(self._lock), _untold():
            table = cells(names.who(since, until), table="events", by=["event"], levels={"event": names.events})
            told = disclose(
                [table], of="kinds of events", period=(since, until), data_until=log.end_at, ledger=ledger
            )  # fmt: skip
        if "events" not in told.tables:
            return []
        frame = told.tables["events"][["event", "n_contacts", "status"]].astype(object)
        rows: list[dict[str, Any]] = shown(frame.where(frame.notna(), None).to_dict("records"))
        return rows

    def _needed(self) -> tuple[EventLog, Ledger, Vocabulary]:
        if self.log is None or self.ledger is None or self.names is None:
            raise DataError("there is no event log here: whoever started this has to name one with --events")
        return self.log, self.ledger, self.names

    def _period(self, since: date | None, zone: str) -> tuple[datetime, datetime]:
        """The whole days of the log from one on, in a zone.

        Raises:
            DataError: when there are none.
        """
        from journeylab.reports.asking import last_midnight

        assert self.log is not None
        first, until = (last_midnight(at, zone) for at in (self.log.start_at, self.log.end_at))
        if since is not None:
            first = max(first, _midnight(since, zone))
        if not first < until:
            last = until.astimezone(ZoneInfo(zone)).date()
            raise DataError(f"no whole day of the log begins at or after that: it goes up to {last.isoformat()}")
        return first, until

    def _reported(
        self, kind: Kind, about: About, language: Language, watch: Watch, since: date | None, cutoff: date | None,
        draws: int, like: dict[str, str], replaces: Sequence[str],
    ) -> tuple[Journey, Report | None]:  # fmt: skip
        """The journey, and the report on it; None where nothing may be told."""
        _, ledger, names = self._needed()
        began = monotonic()
        portfolio = self.portfolio(about)
        journey = portfolio.one(about.journey)
        if faults := names.faults(portfolio.journeys):
            raise DefinitionError(faults)
        zone = journey.timezone
        first, until = self._period(since, zone)
        _in_messages([*like.values(), *replaces], names.messages)
        with watch.alone(self._lock):
            if kind == "replay":
                found = self._replayed(portfolio, names, until, watch)
            elif kind == "simulation":
                found = self._simulated(portfolio, names, until, watch, draws=draws, like=like, replaces=[*replaces])
            else:
                first = self._cutoff(cutoff, first, until, zone)
                found = self._tested(portfolio.policy, journey, first, watch, draws=draws)
            report = None
            if found is not None:
                from journeylab.reports import report as reported

                with _untold():
                    report = reported(
                        found, ledger=ledger, journey=None if kind == "backtest" else journey.journey, since=first,
                        until=until, data=self.data, language=language,
                    )  # fmt: skip
        if report is not None and report.disclosed.n_shown > 0:
            return journey, report
        if self.grain:
            due = began + self.grain * ceil((monotonic() - began) / self.grain)
            while (left := due - monotonic()) > 0:
                sleep(min(left, _LOOK))
                watch.look()
        return journey, None

    def _replayed(self, portfolio: Portfolio, names: Vocabulary, until: datetime, watch: Watch) -> Any:
        from journeylab.replay import replay

        assumed = names.assumed_consent(portfolio.journeys)
        with _untold():
            found = replay(portfolio, names.log, until=until, assumed_consent=assumed, progress=watch)
            return found if found.n_entries else None

    def _simulated(
        self, portfolio: Portfolio, names: Vocabulary, until: datetime, watch: Watch, **given: Any
    ) -> Any:  # fmt: skip
        from journeylab.simulate import simulate
        from journeylab.worlds import goal_of

        _known_to(names.messages, names.messages, portfolio.journeys, given["like"])
        model = self._model(goal_of(portfolio.journeys), None, watch)
        _known_to(model.messages, names.messages, portfolio.journeys, given["like"])
        assumed = names.assumed_consent(portfolio.journeys)
        with _untold():
            found = simulate(
                portfolio, names.log, responses=model, until=until, assumed_consent=assumed, progress=watch, **given
            )
            return found if len(found.entries(0)) else None

    def _tested(self, policy: Any, journey: Journey, cutoff: datetime, watch: Watch, *, draws: int) -> Any:
        from journeylab.backtest import backtest
        from journeylab.worlds import goal_of

        log, _, names = self._needed()
        converts = goal_of([journey])
        messages = messages_of(log.truncated(cutoff))
        _known_to(messages, messages, [journey], {})
        model = self._model(converts, cutoff, watch)
        _known_to(model.messages, messages, [journey], {})
        with _untold():
            try:
                return backtest(
                    journey, log, cutoff=cutoff, responses=model, converts=converts, draws=draws, policy=policy,
                    assumed_consent=names.assumed_consent([journey]), progress=watch,
                )  # fmt: skip
            except DataError as problem:  # all else was asked before: nobody entered after the cutoff
                _LOG.warning("nothing is told: %s", problem)
                return None

    def _model(self, converts: str | None, cutoff: datetime | None, watch: Watch) -> ResponseModel:
        """The response model of the log, or of what was known at a cutoff; the last few are kept.

        Raises:
            DataError: when there is none that reproduces the log's own rates.
        """
        from journeylab.responses import fit_responses

        log, _, _ = self._needed()
        key = converts, cutoff
        if key not in self._models:
            with _untold():
                known_then = log if cutoff is None else log.truncated(cutoff)
                model = fit_responses(known_then, converts=converts, progress=watch)
            while len(self._models) >= _MOST_MODELS:
                self._models.pop(next(iter(self._models)))
            self._models[key] = model
        model = self._models[key]
        if model.failures and cutoff is None:
            _LOG.warning("the response model does not reproduce the log's own rates: %s", "; ".join(model.failures))
            raise DataError(
                "the response model does not reproduce the log's own rates, so that what it predicts would mislead; an "
                "analyst has to look at it (`journeylab simulate` says what is wrong)"
            )
        return model

    @staticmethod
    def _cutoff(cutoff: date | None, first: datetime, until: datetime, zone: str) -> datetime:
        if cutoff is None:
            raise DataError("a backtest needs `cutoff`, the day from which on it predicts, such as 2026-03-01")
        at = _midnight(cutoff, zone)
        if not first < at < until:
            days = [one.astimezone(ZoneInfo(zone)).date().isoformat() for one in (first, until)]
            raise DataError(
                f"the cutoff lies within the log, after {days[0]} and before {days[1]}; got {cutoff.isoformat()}"
            )
        return at


@contextmanager
def _untold() -> Iterator[None]:
    """What goes wrong inside is told to the operator, and to whoever asks only that it did.

    The reason may have a name or a number in it that few people have.
    """
    try:
        yield
    except JourneyLabError as problem:
        _LOG.warning("not answered: %s", problem)
        where = sorted({".".join(map(str, one.path)) for one in getattr(problem, "faults", ())} - {""})
        raise DataError(
            "this cannot be answered over this log"
            + (f" (look at {', '.join(map(quoted, where))})" if where else "")
            + "; the reason may tell of few people, so only whoever started this is told it, on its standard error"
        ) from None


def _midnight(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _few(language: Language) -> str:
    with using(language):
        return say("How many contacts entered may not be shown: too few did.")


def _fault(one: FaultFound) -> answers.Fault:
    return answers.Fault(
        file=one.source, path=[*one.path], line=one.line, column=one.column, message=shown(one.message)
    )


def _in_messages(asked: Sequence[str], messages: Sequence[str]) -> None:
    for one in asked:
        if one not in messages:
            raise DataError(
                f"no ten people were sent the message {quoted(one)!r}; "
                f"{known(quoted(one), map(quoted, messages), 'messages')}"
            )


def _known_to(
    modelled: Sequence[str], messages: Sequence[str], journeys: Sequence[Journey], like: dict[str, str]
) -> None:
    """Nothing, when each message was sent to enough people, or is said to be like one that was.

    Raises:
        DataError: with the messages of which this is not so.
    """
    nodes = [node for one in journeys for part in whole(one) for node in part.nodes.values()]
    sent = {node.send for node in nodes if isinstance(node, Send)}
    told = [one for one in messages if one in modelled]
    unknown = sorted(sent - {*told} - {*like})
    if unknown:
        raise DataError(
            f"no ten people were sent {', '.join(map(quoted, unknown))}, so how contacts respond to it is not known; "
            f"say in `like` which message it is like. {known(quoted(unknown[0]), map(quoted, told), 'messages')}"
        )

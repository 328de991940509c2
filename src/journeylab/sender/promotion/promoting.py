"""From files to a release: what is read, checked and compared, then frozen and opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import select

from journeylab.definitiondiff import as_text, diff
from journeylab.errors import DefinitionError, Fault, JourneyLabError
from journeylab.experiments.record import DecisionRecord
from journeylab.journey import Journey, Policy, Portfolio
from journeylab.sender.acting import acting
from journeylab.sender.keys import key_ring
from journeylab.sender.live.intake import declare, known_names
from journeylab.sender.mail.messages import Messages
from journeylab.sender.ownstore import own_store, store_of, store_url
from journeylab.sender.settings import Settings
from journeylab.sender.store import Clock, Store
from journeylab.sender.store import tables as t

from .checks import Candidate, Findings, Known, checked, names_needed
from .forecast import Forecast
from .foureyes import asked, asked_or_approved
from .frozen import Frozen, Model, needed_models, sends_of
from .releases import Done
from .releases import promote as opened
from .standing import frozen_release, running

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.eventlog import EventLog
    from journeylab.sender.mail.lint import Dns
    from journeylab.sendtimes import SendTimes
    from journeylab.simulation import Simulation

__all__ = ["Prepared", "prepare", "promote"]

ModelGiven: TypeAlias = "SendTimes | pd.DataFrame | str | Path"
ForecastGiven: TypeAlias = "Forecast | Simulation | Mapping[str, Any] | str | Path"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Prepared:
    """A release before it is opened.

    Attributes:
        candidate: what is to be released.
        settings: the sender's.
        url: the store's.
        findings: what was found.
        changes: what differs from the release that runs, a line each; empty where nothing does.
        former: the version that runs; None where none does.
        there: what the store and the log know.
        clock: the store's clock, at whose time the release opens; missing (None) for the database's own.
    """

    candidate: Candidate
    settings: Settings
    url: str
    findings: Findings
    changes: tuple[str, ...]
    former: str | None
    there: Known
    clock: Clock | None = None

    def open(self, *, share: float, actor: str | None = None, again: bool = False) -> Done:
        """Freezes the release and opens it; the first one makes the store's tables and the sender's key.

        Where it takes a second person (`four_eyes`) and none has approved it, one is asked: `Done.action` is `ask`.

        Raises:
            DefinitionError: when something is at fault.
            DataError: as `releases.promote`, and when who acts may not promote.
        """
        who = acting(self.settings, self.url)
        who.require("promote")
        actor = who.named(actor)
        self.findings.require()
        key_ring(self.settings, create=True)
        store = own_store(self.settings, url=self.url, clock=self.clock, create=True)
        try:
            self._declare(store)
            frozen = self.candidate.frozen()
            with store.writing() as connection:
                now = store.now(connection)
                found = asked_or_approved(connection, self.settings, who, frozen, share, now, actor=actor)
            if found is not None and not found.holds(self.settings):
                return asked(frozen, share, found, now)
            by = found and found.approved_by
            return opened(store, frozen, share=share, actor=actor, again=again, approved_by=by)
        finally:
            store.close()

    def _declare(self, store: Store) -> None:
        """Tells the store the kinds of all names that the release asks for, before any value of them comes."""
        attributes, properties = names_needed(self.candidate)
        with store.writing() as connection:
            for scope, wanted, known in (
                ("contact", attributes, self.there.attributes), ("event", properties, self.there.properties)
            ):  # fmt: skip
                declare(connection, scope, {name: known[name] for name in sorted(wanted) if name in known})


def promote(
    journey: Journey | Portfolio | str | Path,
    *,
    settings: Settings | str | Path = "sender.yaml",
    store: str | None = None,
    name: str | None = None,
    messages: Messages | str | Path | None = None,
    share: float = 1.0,
    forecast: ForecastGiven | None = None,
    without_forecast: str | None = None,
    log: EventLog | None = None,
    models: Mapping[str, ModelGiven] | None = None,
    record: DecisionRecord | str | Path | None = None,
    override: str | None = None,
    actor: str | None = None,
    again: bool = False,
    clock: Clock | None = None,
) -> Done:
    """Releases a journey, for a share of contacts or for all: what became of it, as `Done`.

    Everything is checked first, and nothing is released while anything is at fault: definition, tests, messages and
    the rules for bulk mail, names, consent, outside services, models, decision record and forecast.

    Args:
        journey: a file, a journey, or several with a policy over them.
        settings: of the sender.
        store: the database's URL, instead of the settings'.
        name: which journey, where there are several.
        messages: them, or their folder, instead of the settings'.
        share: the share of contacts of whom it takes entries (the canary); the former release keeps the rest.
        forecast: a `Simulation` of the journey, or a file of `journeylab simulate --json`.
        without_forecast: why there is none.
        log: the event log; without `forecast` it is simulated over, and it tells which attributes there are.
        models: send times of `at: best` and tables of `score()`, by name.
        record: the decision record, where the journey comes from an experiment.
        override: why a response model is used that does not reproduce the log's own rates.
        actor: who does it; by default the account of this process, or the service of its token.
        again: promote it although it was rolled back.
        clock: another clock than the database's, for a sender that runs at another time; see `Store.open`.

    Raises:
        DefinitionError: with all that is at fault.
        DataError: when a file is none, the store cannot be used, or who acts may not promote.
    """
    made = prepare(
        journey, settings=settings, store=store, name=name, messages=messages, forecast=forecast,
        without_forecast=without_forecast, log=log, models=models, record=record, override=override, clock=clock,
    )  # fmt: skip
    return made.open(share=share, actor=actor, again=again)


def prepare(
    journey: Journey | Portfolio | str | Path,
    *,
    settings: Settings | str | Path = "sender.yaml",
    store: str | None = None,
    name: str | None = None,
    messages: Messages | str | Path | None = None,
    forecast: ForecastGiven | None = None,
    without_forecast: str | None = None,
    log: EventLog | None = None,
    models: Mapping[str, ModelGiven] | None = None,
    record: DecisionRecord | str | Path | None = None,
    override: str | None = None,
    upgrade: bool = False,
    dns: Dns | None = None,
    clock: Clock | None = None,
) -> Prepared:
    """A release read, checked, and compared with what runs; the arguments are those of `promote`.

    With `upgrade` the store's tables are brought up to date first. `dns` is how the rules for bulk mail look up the
    sender's domains (`mail.lookup.lookup`); without it a warning says that nobody has.

    Raises:
        DefinitionError, DataError: when a file cannot be read, or who acts may not promote; what is at fault otherwise
            is among the findings.
    """
    faults: list[Fault] = []

    def tried(read: Any, *arguments: Any) -> Any:
        """What a file holds; its faults are told with those of the other files."""
        try:
            return read(*arguments)
        except DefinitionError as error:
            faults.extend(error.faults)
        except JourneyLabError as error:
            faults.append(Fault((), str(error)))
        return None

    set_ = settings if isinstance(settings, Settings) else tried(Settings.read, settings)
    whole = tried(_portfolio, journey)
    one: Journey | None = None if whole is None else tried(whole.one, name)
    found_messages = messages
    if not isinstance(messages, Messages) and (messages is not None or set_ is not None):
        found_messages = tried(Messages.read, messages if messages is not None else set_.path(set_.messages))
    found_record = record if isinstance(record, DecisionRecord | None) else tried(DecisionRecord.read, record)
    if faults or one is None or whole is None or set_ is None or not isinstance(found_messages, Messages):
        raise DefinitionError(faults)
    url = store or store_url(set_)
    acting(set_, url).require("promote")
    kinds = {named: kind for kind, named in needed_models(one)}
    given = [tried(_model, kinds.get(named, "send_times"), named, what) for named, what in (models or {}).items()]
    found_forecast = None
    if forecast is not None:
        found_forecast = tried(_forecast, forecast, one)
    if faults:
        raise DefinitionError(faults)
    if found_forecast is None and log is not None and without_forecast is None:
        found_forecast = _simulated(whole, one, log, given, override)
    if found_forecast is not None and log is not None:
        kept = [what for what, is_on in (("opened", set_.tracking.opens), ("clicked", set_.tracking.clicks)) if is_on]
        found_forecast = found_forecast.with_responses(log, one, kept)
    candidate = Candidate(
        one, whole.policy, found_messages, tuple(given), found_record, found_forecast, without_forecast,
        Path(journey) if isinstance(journey, str | Path) else None,
    )  # fmt: skip
    there, former, now = _there(set_, url, one, log, upgrade=upgrade, clock=clock)
    findings = checked(candidate, set_, there, now, dns=dns)
    changes = () if former is None else tuple(_changes(former, candidate))
    version = None if former is None else former.journey.version
    return Prepared(candidate, set_, url, findings, changes, version, there, clock)


def _portfolio(journey: Journey | Portfolio | str | Path) -> Portfolio:
    if isinstance(journey, Portfolio):
        return journey
    if isinstance(journey, Journey):
        return Portfolio(journeys=(journey,))
    from journeylab.journeyfile import read

    return read(journey)


def _model(kind: Any, name: str, what: ModelGiven) -> Model:
    if isinstance(what, str | Path):
        return Model.read(kind, name, what)
    return Model.of_send_times(name, what) if kind == "send_times" else Model.of_scores(name, what)


def _forecast(given: ForecastGiven, journey: Journey) -> Forecast:
    if isinstance(given, Forecast):
        return given
    if isinstance(given, str | Path):
        return Forecast.read(given, journey)
    if isinstance(given, Mapping):
        return Forecast.of_summary(given, journey)
    return Forecast.of(given, journey)


def _simulated(
    whole: Portfolio, journey: Journey, log: EventLog, models: Sequence[Model], override: str | None
) -> Forecast:
    """The forecast by a response model fitted to the log; all journeys of the file run together."""
    from journeylab.responses import fit_responses
    from journeylab.simulate import simulate
    from journeylab.worlds import goal_of

    responses = fit_responses(log, converts=goal_of(whole.journeys))
    simulation = simulate(
        whole, log, responses=responses, override=override,
        send_times={one.name: one.send_times() for one in models if one.kind == "send_times"} or None,
        scores={one.name: one.scores() for one in models if one.kind == "scores"} or None,
    )  # fmt: skip
    return Forecast.of(simulation, journey)


def _there(
    settings: Settings, url: str, journey: Journey, log: EventLog | None, *, upgrade: bool, clock: Clock | None
) -> tuple[Known, Frozen | None, datetime]:
    """What the store and the log know, what runs of the journey, and the store's instant."""
    attributes: dict[str, str] = {}
    properties: dict[str, str] = {}
    purposes: set[str | None] = set()
    policies: dict[str, Policy] = {}
    released: list[Frozen] = []
    if log is not None:
        attributes |= {name: log.attribute(name).kind for name in log.attribute_names}
        properties |= {name: log.property(name).kind for name in log.property_names}
        purposes |= _consented(log)
    former, now = None, _EPOCH
    if upgrade:
        store: Store | None = own_store(settings, url=url, clock=clock, create=True)
    else:
        store = store_of(settings, url=url, clock=clock)
    if store is not None:
        with store.reading() as connection:
            attributes |= known_names(connection, "contact")
            properties |= known_names(connection, "event")
            given = select(t.events.c.properties).where(t.events.c.event == "consent_given").distinct()
            purposes |= {row.get("purpose") for row in connection.scalars(given)}
            now = store.now(connection)
            for one in running(connection):
                released.append(frozen_release(connection, one.release_id))
                if one.journey != journey.journey:
                    policies[one.journey] = released[-1].policy
                elif not one.is_canary or former is None:
                    former = released[-1]
        store.close()
    attributes, properties = (
        {name: kind for name, kind in names.items() if kind != "unknown"} for names in (attributes, properties)
    )
    return Known(attributes, properties, frozenset(purposes), policies, released), former, now


def _consented(log: EventLog) -> set[str | None]:
    if "consent_given" not in log.event_names:
        return set()
    if "purpose" not in log.property_names:
        return {None}
    held, texts = log.property("purpose").held, log.property("purpose").categories or []
    return {texts[code] if code >= 0 else None for code in {*held[log.stream("consent_given").row].tolist()}}


def _changes(former: Frozen, candidate: Candidate) -> list[str]:
    """What differs from the release that runs, a line each."""
    lines = []
    changes = diff(former.journey, candidate.journey)
    if changes:
        lines += as_text(changes).splitlines()
    if former.policy != candidate.policy:
        lines.append(f"policy: {former.policy.data()} -> {candidate.policy.data()}")
    used = sends_of(candidate.journey)
    before, after = dict(former.messages), {name: one for name, one in candidate.messages.items() if name in used}
    lines += [f"message {name!r} added" for name in after if name not in before]
    lines += [f"message {name!r} no longer sent" for name in before if name not in after]
    lines += [f"message {name!r} changed" for name in after if name in before and before[name].hash != after[name].hash]
    old, new = ({f"{one.kind} {one.name!r}": one.hash for one in of} for of in (former.models, candidate.models))
    lines += [f"{name} {'changed' if name in old else 'added'}" for name in new if old.get(name) != new[name]]
    return lines + [f"{name} no longer asked" for name in old if name not in new]

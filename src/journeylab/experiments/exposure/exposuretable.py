"""The units of an experiment with their arms and instants of exposure, and what the log says of whether it ran."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from journeylab.clock import instant, microseconds
from journeylab.display import block, figure, said, table
from journeylab.errors import DataError, known, listed
from journeylab.eventindex import Stream
from journeylab.journey import CONTACT
from journeylab.language import formatted, plural, say
from journeylab.resulttables import Tables
from journeylab.worlds import codes_of

from .windows import Ints, microseconds_of, upto

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog
    from journeylab.replay import Replay

__all__ = ["Exposures", "exposures_of", "journey_of"]

_RAN_SHARE, _WELL_CONFIRMED_SHARE = 0.5, 0.95


_MOST_ARMS = 20


@dataclass(frozen=True, eq=False, repr=False)
class Exposures(Tables):
    """The units of an experiment with their arms, and what the log says of whether it ran.

    Attributes:
        frame: a row for each unit, in order of `exposed_at`, then contact: `contact` (as in the log), `arm` (text),
            `probability` (0..1, of its own arm), `exposed_at` (UTC), `node` (text: the split, `holdout`,
            `policy_holdout` or `entry`), `entry` (int), and `cluster` (text) where not contacts were assigned but all
            contacts of a household or account together, or where entries are the units; and then `assigned_unit`
            (text: what got its arm together) where that is the single entry.
        shares: the probability of each arm; they add up to one.
        control: the arm that the others are held against.
        log: the log that was replayed.
        until: the replay's horizon, at most the log's end (aware UTC).
        name: what messages call the experiment.
        sends: what the replay decided to send to the units from their exposure on: `row` (int, the unit's in `frame`),
            `arm`, `message` (text), `decided_at` (UTC), `is_sent` (bool), `reason` (text, missing where it was sent),
            `is_observed` (bool, whether the log has the send).
        journeys: the journeys that sent them.
        notes: what to know of the exposures, in sentences.
    """

    _table_names: ClassVar = ("frame", "sends")

    frame: pd.DataFrame
    shares: Mapping[str, float]
    control: str
    log: EventLog
    until: datetime
    name: str
    sends: pd.DataFrame
    journeys: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        n = ", ".join(f"{arm} {count:,}" for arm, count in self.counts().items())
        return f"Exposures({self.name}: {n} until {self.until:%Y-%m-%d})"

    def since(self, start_at: datetime) -> Exposures:
        """The exposures from an instant on; units that were exposed before it are no part of them.

        Raises:
            DataError: when it has no time zone.
        """
        if start_at.tzinfo is None:
            raise DataError(f"{self.name}: {start_at.isoformat()} has no time zone; give an aware instant")
        return self.where(np.asarray(self.frame["exposed_at"] >= start_at))

    def where(self, keep: NDArray[np.bool_]) -> Exposures:
        """The exposures for whose rows `keep` is true."""
        place, row = np.cumsum(keep) - 1, self.sends["row"].to_numpy()
        sends = self.sends[keep[row]]
        return replace(
            self,
            frame=self.frame[keep].reset_index(drop=True),
            sends=sends.assign(row=place[sends["row"].to_numpy()]).reset_index(drop=True),
        )

    def counts(self) -> dict[str, int]:
        """How many units each arm has, 0 for an arm without any."""
        found = self.frame["arm"].value_counts()
        return {arm: int(found.get(arm, 0)) for arm in self.shares}

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """For each row whether it is the first of those that got their arm together."""
        together = next((name for name in ("assigned_unit", "cluster") if name in self.frame), None)
        return np.ones(len(self), np.bool_) if together is None else ~self.frame[together].duplicated().to_numpy()

    @cached_property
    def contact(self) -> Ints:
        """The contacts' codes in the log."""
        return codes_of(self.log, self.frame[CONTACT], self.name)

    @cached_property
    def at_us(self) -> Ints:
        """The instants of exposure, int64 microseconds since 1970-01-01T00:00Z."""
        return microseconds_of(self.frame["exposed_at"])

    @property
    def unit(self) -> pd.Series:
        """A text for each unit that no other has: its contact's id, and `#` and the entry after it for entries."""
        contact = self.frame[CONTACT].astype("str")
        return contact + "#" + self.frame["entry"].astype("str") if self._is_per_entry else contact

    @property
    def _is_per_entry(self) -> bool:
        return bool(self.frame[CONTACT].duplicated().any())

    @cached_property
    def confirmed(self) -> pd.DataFrame:
        """How many of the replayed sends the log has, by arm and message, sorted by them.

        Columns: `arm`, `message` (text), `n_sends`, `n_observed` (int; with a `sent` in the log near them, rule 33),
        `observed_share` (0..1).
        """
        sent = self.sends[self.sends["is_sent"]]
        found = sent.groupby(["arm", "message"], as_index=False).agg(
            n_sends=("is_observed", "size"), n_observed=("is_observed", "sum")
        )
        return found.assign(observed_share=found["n_observed"] / found["n_sends"])

    def messages(self) -> dict[str, set[str]]:
        """The messages that the replay sends to each arm's units after their exposure."""
        found = {arm: {*of["message"]} for arm, of in self.confirmed.groupby("arm")}
        return {arm: found.get(arm, set()) for arm in self.shares}

    @cached_property
    def observed_shares(self) -> dict[str, float]:
        """Of each arm to which something is sent, the share of sends that the log has.

        Only messages that no other arm gets are counted, where the arm has such: messages that all arms get would be
        in the log without any experiment.
        """
        messages, shares = self.messages(), {}
        for arm, mine in messages.items():
            own = mine.difference(*(theirs for other, theirs in messages.items() if other != arm)) or mine
            of = self.confirmed[(self.confirmed["arm"] == arm) & self.confirmed["message"].isin(own)]
            if len(of):
                shares[arm] = float(of["n_observed"].sum() / of["n_sends"].sum())
        return shares

    @property
    def has_run(self) -> bool:
        """Whether the log has at least half of what each arm would have been sent; not so without any send."""
        return bool(self.observed_shares) and min(self.observed_shares.values()) >= _RAN_SHARE

    @cached_property
    def crossed(self) -> pd.DataFrame:
        """How many units were sent, by the log, what only other arms are sent.

        Columns: `arm` (text), `n_units`, `n_crossed` (int), `crossed_share` (0..1, missing for an arm without units).

        Sends of such a message after the exposure count, and before the contact's next one, whoever made them; where
        the log's sends say their `journey`, only those of the experiment's.
        """
        import pandas as pd

        messages, at = self.messages(), self.log.stream("sent")
        everything = set().union(*messages.values())
        rows, n_crossed = self._rows_of(at), {}
        is_ours = self._is_of_journeys(at) & (at.at <= microseconds(self.until))
        column = self.log.property("message") if "message" in self.log.property_names else None
        codes = {text: code for code, text in enumerate((column and column.categories) or [])}
        held = column.held[at.row] if column is not None else np.full(len(at.at), -1)
        arms = self.frame["arm"].to_numpy(object)
        for arm, mine in messages.items():
            foreign = [codes[text] for text in everything - mine if text in codes]
            hits = rows[np.isin(held, foreign) & is_ours & (rows >= 0)]
            n_crossed[arm] = len(np.unique(hits[arms[hits] == arm]))
        n_units = self.counts()
        return pd.DataFrame(
            {
                "arm": list(messages),
                "n_units": [n_units[arm] for arm in messages],
                "n_crossed": [n_crossed[arm] for arm in messages],
                "crossed_share": [n_crossed[arm] / n_units[arm] if n_units[arm] else math.nan for arm in messages],
            }
        )

    def _rows_of(self, stream: Stream) -> Ints:
        """The unit that each occurrence follows: the contact's last exposed by then, -1 for none."""
        order = np.lexsort((self.at_us, self.contact))
        offsets = np.searchsorted(self.contact[order], np.arange(self.log.n_contacts + 1)).astype(np.int64)
        exposed = Stream(offsets, self.at_us[order], order)
        contact = np.repeat(np.arange(self.log.n_contacts), np.diff(stream.offsets))
        last = upto(exposed, contact, stream.at) - 1
        return np.where(last >= offsets[contact], np.append(order, -1)[last], -1)

    def _is_of_journeys(self, stream: Stream) -> NDArray[np.bool_]:
        column = self.log.property("journey") if "journey" in self.log.property_names else None
        if column is None or column.categories is None:
            return np.ones(len(stream.at), np.bool_)
        codes = [code for code, text in enumerate(column.categories) if text in self.journeys]
        return np.isin(column.held[stream.row], [*codes, -1])

    def sentences(self) -> list[str]:
        """Whether the experiment ran as it is replayed, and what else to know of it."""
        return [*self._on_running(), *self._on_crossing(), *self.notes]

    def _on_running(self) -> list[str]:
        shares = self.observed_shares
        if not shares:
            return [
                say(
                    "{name}: the replay sends nothing after the exposure, so the log cannot say whether this ran; its "
                    "arms' outcomes tell nothing of messages.",
                    name=self.name,
                )
            ]
        told = ", ".join(f"{arm} {formatted(share, '.1%')}" for arm, share in shares.items())
        if not self.has_run:
            return [
                say(
                    "{name} did not run as it is replayed: of the sends that it makes after the exposure the log has "
                    "these shares: {shares}. What followed tells nothing of its messages; use it to plan, and for A/A "
                    "runs.",
                    name=self.name,
                    shares=told,
                )
            ]
        if min(shares.values()) < _WELL_CONFIRMED_SHARE:
            return [
                say(
                    "{name} ran in part: of the sends that the replay makes after the exposure the log has these "
                    "shares: {shares}. An effect is that of having been assigned.",
                    name=self.name,
                    shares=told,
                )
            ]
        return [
            say(
                "{name} ran: of the sends that the replay makes after the exposure the log has {shares}.",
                name=self.name,
                shares=told,
            )
        ]

    def _on_crossing(self) -> list[str]:
        return [
            plural(
                "{crossed} of {n} unit of arm {arm!r} ({share}) were sent a message that only other arms get; that "
                "makes the arms more alike than they were meant to be.",
                "{crossed} of {n} units of arm {arm!r} ({share}) were sent a message that only other arms get; that "
                "makes the arms more alike than they were meant to be.",
                one.n_units,
                crossed=formatted(one.n_crossed),
                arm=one.arm,
                share=formatted(one.crossed_share, ".1%"),
            )
            for one in self.crossed.itertuples()
            if one.n_crossed
        ]

    def _repr_html_(self) -> str:
        rows = [(arm, figure(self.shares[arm]), f"{n:,}") for arm, n in self.counts().items()]
        return block(repr(self), table(("arm", "share", "units"), rows, _MOST_ARMS), said(self.notes))


def exposures_of(
    replays: Mapping[str, Replay],
    rows: pd.DataFrame,
    shares: Mapping[str, float],
    *,
    control: str | None,
    name: str,
    cluster: str | None,
    journeys: Iterable[str],
    notes: Iterable[str],
    keys: Collection[str] = (CONTACT,),
) -> Exposures:
    """The exposures in rows of assignments, whose sends are those that each arm's replay makes.

    Raises:
        DataError: when the control is no arm.
    """
    if control is None:
        control = next(iter(shares))
    if control not in shares:
        raise DataError(f"{name}: no arm {control!r} to be the control; {known(control, shares, 'arms')}")
    rows = rows.rename(columns={"assigned_at": "exposed_at"}).sort_values(["exposed_at", CONTACT], ignore_index=True)
    rows = rows.assign(probability=rows["arm"].map(shares).astype("float64"))
    columns = [CONTACT, "arm", "probability", "exposed_at", "node", "entry"]
    if cluster is not None:
        rows = rows.assign(cluster=rows[cluster].astype("str"))
        columns += ["cluster", *(["assigned_unit"] if "assigned_unit" in rows else [])]
    journeys, any_replay = tuple(journeys), next(iter(replays.values()))
    return Exposures(
        frame=rows[columns],
        shares=dict(shares),
        control=control,
        log=any_replay.log_in_memory,
        until=min(any_replay.until, instant(any_replay.log.end_us)),
        name=name,
        sends=_sends_after(replays, rows, journeys, keys),
        journeys=journeys,
        notes=tuple(notes),
    )


def _sends_after(
    replays: Mapping[str, Replay], frame: pd.DataFrame, journeys: Collection[str], keys: Collection[str]
) -> pd.DataFrame:
    """What each arm's replay decided to send to the units from their exposure on; see `Exposures.sends`."""
    import pandas as pd

    keys = list(keys)
    units = frame[[*keys, "arm", "exposed_at"]].assign(row=np.arange(len(frame)))
    found = []
    for replay in {id(one): one for one in replays.values()}.values():
        mine = units[units["arm"].isin([arm for arm, one in replays.items() if one is replay])]
        sends = replay.sends
        sends = sends[sends["journey"].isin(journeys)]
        sends = sends[[*keys, "message", "decided_at", "is_sent", "reason"]].assign(
            is_observed=(sends["evidence"] == "observed").to_numpy()
        )
        sends = sends.astype({"message": "str", "reason": "str"}).merge(mine, on=keys)
        found.append(sends[sends["decided_at"] >= sends["exposed_at"]])
    columns = ["row", "arm", "message", "decided_at", "is_sent", "reason", "is_observed"]
    return pd.concat(found)[columns].sort_values(["row", "decided_at"], kind="stable", ignore_index=True)


def journey_of(replay: Replay, journey: str | None) -> str:
    """The journey that is meant; the only one of a replay when none is named.

    Raises:
        DataError: when there is no such journey, or several and none is named.
    """
    names = list(replay.compiled.groups)
    if journey is None and len(names) == 1:
        return names[0]
    if journey is None:
        raise DataError(f"the replay has several journeys; say which one: {listed(names)}")
    if journey not in names:
        raise DataError(f"no journey {journey!r} in this replay; {known(journey, names, 'journeys')}")
    return journey

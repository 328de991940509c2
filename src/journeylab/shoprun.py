"""A run of journeys in the simulated shop: how its sends are answered, what happened, and the log that it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from . import layout as o
from .advice import advised
from .clock import NEVER, microseconds
from .display import block, counted, frame
from .execution import Answers, Asked, no_answers_yet, recorded
from .journey import Send
from .machine import O_ENTRIES, O_VISITS, Out
from .program import Compiled, Model
from .records import counts_table, in_order, tables
from .shopcontacts import Happenings, Ints
from .shopreactions import LINKS, OFFER_PRICE, Reactions, Responses, Sends
from .visits import branch_table

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from .eventlog import EventLog
    from .shop import Shop
    from .worlds import Ready

__all__ = ["CHOICES", "COLUMNS", "MODEL", "STEPS", "Answering", "ShopRun", "named", "respond"]

MODEL = Model(
    features=('count("sent", "7d")', 'count("sent", "30d")'), converts="purchase", properties={"amount": OFFER_PRICE}
)
EVENTS = {
    o.DELIVERED: "delivered", o.OPENED: "opened", o.CLICKED: "clicked", o.BOUNCED: "bounced",
    o.COMPLAINED: "complained", o.UNSUBSCRIBED: "unsubscribed", o.WITHDRAWN_EVENT: "consent_withdrawn",
    o.SOFT_BOUNCED: "bounced", o.CONVERTED: "purchase",
}  # fmt: skip
COLUMNS = {
    "plan": "string", "country": "string", "page": "string", "amount": "double", "purpose": "string",
    "message": "string", "propensity": "double", "link": "string", "is_machine": "bool", "bounce_type": "string",
    "name": "string", "value": "string",
}  # fmt: skip
"""The properties of events, with their Arrow types."""
CHOICES = {"send_times": "string", "slot_propensity": "double", "slots": "string"}
"""Those of sends at the best hour, see `replay.Replay.sends`; in a table only where some send has them."""
_OUTCOMES = {
    "opened": o.OPENED, "clicked": o.CLICKED, "purchases": o.CONVERTED, "unsubscribed": o.UNSUBSCRIBED,
    "complained": o.COMPLAINED, "hard_bounced": o.BOUNCED,
}  # fmt: skip
STEPS = 64  # a send and its responses, of which there are fewer


def named(happened: pa.Table, names: NDArray[np.str_]) -> pa.Table:
    """Events (`shopcontacts.Happenings.table`) under the contract's names.

    Properties that nothing has are left out, but for `bounce_type`, without which no bounce counts as soft.
    """
    import pyarrow as pa

    table = {
        "contact": pa.DictionaryArray.from_arrays(happened["who"].combine_chunks().cast(pa.int32()), pa.array(names)),
        "event": happened["event"],
        "occurred_at": happened["at"].cast(pa.timestamp("us", "UTC")),
    }
    for name, kind in (COLUMNS | CHOICES).items():
        if name in happened.column_names:
            table[name] = happened[name].cast(kind)
        elif name == "bounce_type":
            table[name] = pa.nulls(len(happened), pa.string())
    return pa.table(table)


def respond(
    happened: Happenings, responses: Responses, who: Ints, step: Ints, message: NDArray[Any], purpose: NDArray[Any]
) -> None:
    """Adds the events that responses are; the other arguments have an element for each send."""
    send, kind, at, is_machine, link = responses
    response = step[send] + 1 + np.arange(len(send)) - np.searchsorted(send, send)
    for code, event in EVENTS.items():
        mine = np.flatnonzero(kind == code)
        properties: dict[str, Any] = {"message": message[send[mine]]}
        if code == o.CONVERTED:
            properties = {"amount": OFFER_PRICE}
        elif code == o.WITHDRAWN_EVENT:
            properties = {"purpose": purpose[send[mine]]}
        elif code in (o.OPENED, o.CLICKED):
            properties["is_machine"] = is_machine[mine] == 1
        elif code in (o.BOUNCED, o.SOFT_BOUNCED):
            properties["bounce_type"] = "hard" if code == o.BOUNCED else "soft"
        if code == o.CLICKED:
            properties["link"] = np.array(LINKS, object)[link[mine]]
        happened.add(event, who[send[mine]], at[mine], response[mine], **properties)


@dataclass(eq=False)
class Answering:
    """Answers the sends of a run, a round at a time, and keeps what was sent and what came of it.

    `sends` has `place, node, entry, visit, at`, and `responses` the send, kind, instant, machine and link of each.
    """

    compiled: Compiled
    reactions: Reactions
    who: Ints
    sends: list[Ints] = field(default_factory=list)
    responses: list[Ints] = field(default_factory=list)
    n_sends: int = 0

    def __post_init__(self) -> None:
        by_node = [info.node.send if isinstance(info.node, Send) else "" for info in self.compiled.nodes]
        self.messages = sorted({*by_node} - {""})
        self.message = np.array([self.messages.index(name) if name else -1 for name in by_node], np.int64)
        self._n_times = np.zeros((len(self.who), max(1, len(self.messages))), np.int32)
        self._buying = np.empty((0, 2), np.int64)  # place, instant

    def __call__(self, asked: Asked) -> Answers:
        place, rows = asked.place, asked.rows
        if not len(place):
            return no_answers_yet()
        message = self.message[rows[:, o.K_ID]]
        sends = Sends(
            self.who[place], rows[:, o.K_AT], message, self._n_times[place, message].astype(np.int64),
            asked.features[:, 0], asked.features[:, 1],
        )  # fmt: skip
        self._n_times[place, message] += 1
        found = self.reactions.answered(sends, self.messages)
        self.sends.append(np.column_stack([place, rows[:, [o.K_ID, o.K_ENTRY, o.K_VISIT, o.K_AT]]]))
        numbers = np.column_stack([found.send + self.n_sends, found.kind, found.at, found.is_machine, found.link])
        self.responses.append(numbers.astype(np.int64))
        self.n_sends += len(place)
        send, kind, at = self._with_purchases_to_come(place, rows[:, o.K_AT], found.send, found.kind, found.at)
        bought = found.kind == o.CONVERTED
        self._buying = np.concatenate([self._buying, np.column_stack([place[found.send[bought]], found.at[bought]])])
        answered = rows[send]
        answered[:, o.K_AT] = at
        order = np.argsort(place[send], kind="stable")
        return Answers(place[send][order], answered[order], kind[order].astype(np.float64))

    def _with_purchases_to_come(self, place: Ints, sent_at: Ints, *found: Ints) -> list[Ints]:
        """The answers with the purchases that earlier messages caused and that are still to come.

        The machine lets a new send answer for all conversions from then on; here what was caused still happens.
        """
        send_of = np.full(len(self.who), -1)
        send_of[place] = np.arange(len(place))
        send = send_of[self._buying[:, 0]]
        waiting = (send >= 0) & (self._buying[:, 1] > sent_at[send])
        more = send[waiting], np.full(int(waiting.sum()), o.CONVERTED), self._buying[waiting, 1]
        return [np.concatenate(both) for both in zip(found, more, strict=True)]


class _Made(NamedTuple):
    """Sends that were made, and the probability with which chance led to them, NaN where it had no part.

    `row` is the visit's among those of all chunks.
    """

    place: Ints
    node: Ints
    entry: Ints
    visit: Ints
    propensity: NDArray[np.float64]
    row: Ints


class ShopRun:
    """What journeys did in a simulated shop, what came of it, and the log that it left; made by `Shop.run`.

    `visits` and `entries` are as a `Replay`'s, and equal to those of a replay of the same journeys over `log`; only a
    condition that counts `sent` at the very instant of a send still to be made finds it in the log already (rule 6).

    Attributes:
        shop: the shop.
        compiled: the journeys as they ran.
        until: the horizon (aware UTC).
        assumed_consent: the purposes whose consent was assumed, as `replay` over the log has to assume it (rule 34).
    """

    def __init__(self, shop: Shop, ready: Ready, outs: Sequence[Out], answering: Answering) -> None:
        self.shop, self.compiled, self.until = shop, ready.compiled, ready.until
        self.assumed_consent = ready.assumed_consent
        self._outs, self._answering, self._advice = outs, answering, ready.advice
        self._sent = np.concatenate([np.empty((0, 5), np.int64), *answering.sends])
        for out in outs:  # what the shop has answered is on record: in the log of this run
            evidence = out.marks[: out.used[O_VISITS], o.V_EVIDENCE]
            evidence[evidence == o.PREDICTED] = o.OBSERVED

    def __repr__(self) -> str:
        n_entries = sum(int(out.used[O_ENTRIES]) for out in self._outs)
        return (
            f"ShopRun(simulated shop, {', '.join(self.compiled.groups)}: {counted(n_entries, 'entry')}, "
            f"{counted(len(self._sent), 'send')} until {self.until:%Y-%m-%d})"
        )

    # What happened

    @cached_property
    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        ordered = in_order(self.shop.organic, self._outs)
        return tables(self.compiled, self.shop.organic, ordered, self._outs, self._advice)

    @property
    def visits(self) -> pd.DataFrame:
        """Every visit; see `replay.Replay.visits`. What the shop answered is `observed`: it is in this run's log."""
        return self._tables[0]

    @property
    def entries(self) -> pd.DataFrame:
        """Every entry; see `replay.Replay.entries`."""
        return self._tables[1]

    @cached_property
    def sends(self) -> pd.DataFrame:
        """Every send that was made or skipped; see `replay.Replay.sends`.

        Further column: `propensity` (0..1), the probability with which the choices since the entry's previous send led
        to this one: the shares of the arms taken, and for its first send that of not being held out. Missing where
        nothing was chosen, or nothing sent.
        """
        sends, made = self._tables[2], self._made
        nodes = [info.name for info in self.compiled.nodes]
        journeys = [self.compiled.releases[info.journey].journey.journey for info in self.compiled.nodes]
        known = pd.DataFrame(
            {
                "contact": self.shop.organic.contact_ids.take(made.place).to_pandas(),
                "journey": pd.Categorical(np.array(journeys, object)[made.node], dtype=sends["journey"].dtype),
                "entry": made.entry.astype(np.int32),
                "node": pd.Categorical(np.array(nodes, object)[made.node], dtype=sends["node"].dtype),
                "visit": made.visit.astype(np.int32),
                "propensity": made.propensity,
            }
        )
        return sends.merge(known, on=list(known.columns[:-1]), how="left", validate="one_to_one")

    @cached_property
    def _made(self) -> _Made:
        """The sends that were made, with their propensities, as the visits tell."""
        found = recorded(self._outs)
        order = np.argsort(found.entry, kind="stable")
        visits, record, entries = found.visits[order].astype(np.int64), found.entry[order], found.entries
        node, edge = visits[:, o.V_NODE], visits[:, o.V_EDGE]
        is_send = np.array([isinstance(info.node, Send) for info in self.compiled.nodes], bool)
        shares = np.array([1.0 if one.probability is None else one.probability for one in self.compiled.edges] + [1.0])
        treated = 1 - self.compiled.program.journeys_x[:, [o.X_HOLDOUT, o.X_POLICY_HOLDOUT]]
        treated_share = treated.prod(axis=1)[entries[:, o.R_JOURNEY]]
        is_first = np.diff(record, prepend=-1) != 0
        share = shares[edge] * np.where(is_first, treated_share[record], 1.0)
        is_made = is_send[node] & (edge >= 0) & (found.marks[order, o.V_REASON] == o.BECAUSE_NOT)
        starts = np.flatnonzero(is_first | np.append(False, is_made[:-1]))
        chance = np.multiply.reduceat(share, starts) if len(starts) else share
        share = chance[np.searchsorted(starts, np.flatnonzero(is_made), side="right") - 1]
        made, of = visits[is_made], entries[record[is_made]]
        return _Made(
            of[:, o.R_CONTACT], node[is_made], of[:, o.R_ENTRY], made[:, o.V_VISIT],
            np.where(share < 1, share, np.nan), order[is_made],
        )  # fmt: skip

    @cached_property
    def branches(self) -> pd.DataFrame:
        """The true share of every branch; see `visits.branch_table`.

        The interval says how far another shop of this size might be from it, not how sure the share is for this one.
        """
        n_by_edge = np.zeros((len(self.compiled.edges), len(o.EVIDENCE)), np.int64)
        n_by_node = np.zeros((len(self.compiled.nodes), 2), np.int64)
        found = recorded(self._outs)
        edge, left = found.visits[:, o.V_EDGE], found.times[:, 1] != NEVER
        taken = left & (edge >= 0)
        np.add.at(n_by_edge, (edge[taken], found.marks[taken, o.V_EVIDENCE]), 1)
        np.add.at(n_by_node, (found.visits[left & ~taken, o.V_NODE], o.ENDED), 1)
        return branch_table(counts_table(self.compiled, n_by_edge, n_by_node))

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """What came of the run, for all journeys together, simulated.

        Columns: `outcome` (text), `total` (float; `revenue` in euro, all others counts), `per_entry` (float, missing
        without entries). Opens and clicks are people's, those of machines left out, each message counted once;
        `purchases` and `revenue` are those that messages caused.
        """
        kind, is_machine = self._responses[:, 1], self._responses[:, 3] == 1
        counts = {name: float(np.sum((kind == code) & ~is_machine)) for name, code in _OUTCOMES.items()}
        totals = {
            "entries": float(len(self.entries)), "converted": float(self.entries["converted"].sum()),
            "sends": float(len(self._sent)), **counts, "revenue": counts["purchases"] * OFFER_PRICE,
        }  # fmt: skip
        table = pd.DataFrame({"outcome": list(totals), "total": list(totals.values())})
        table["per_entry"] = table["total"] / (totals["entries"] or np.nan)
        return table

    # The log

    @cached_property
    def _responses(self) -> Ints:
        """What came of the sends up to the horizon: the send, kind, instant, machine and link of each."""
        found = np.concatenate([np.empty((0, 5), np.int64), *self._answering.responses])
        return np.asarray(found[found[:, 2] <= microseconds(self.until)])

    @cached_property
    def _happened(self) -> pa.Table:
        until, organic = microseconds(self.until), self.shop.happened
        happened = Happenings()
        place, node, at = self._sent[:, 0], self._sent[:, 1], self._sent[:, 4]
        who = self._answering.who[place]
        message = np.array(self._answering.messages, object)[self._answering.message[node]]
        step = np.arange(len(who)) * STEPS
        happened.add("sent", who, at, step, message=message, **self._chances)
        purposes = [self.compiled.releases[info.journey].journey.purpose for info in self.compiled.nodes]
        respond(happened, Responses(*self._responses.T), who, step, message, np.array(purposes, object)[node])
        return happened.table(organic.filter(organic["at"].to_numpy() <= until))

    @property
    def _chances(self) -> dict[str, NDArray[Any]]:
        """With what probability each send was made and took its hour, in the order in which they were answered."""
        made, sent = self._made, self._sent
        place = np.empty(len(sent), np.int64)
        place[np.lexsort(sent[:, 3::-1].T)] = np.lexsort([*made[:4]][::-1])
        columns = advised(self.compiled, self._advice, self._outs).columns(made.row[place])
        found = {name: columns[name].to_numpy(object) for name in CHOICES if columns[name].notna().any()}
        return {"propensity": made.propensity[place], **found}

    @cached_property
    def events(self) -> pd.DataFrame:
        """All events up to the horizon, simulated: what happened without any message, the sends and their responses.

        In order of `occurred_at`. Columns as `datasets.make_shop` has them; `propensity` as in `sends`, and where some
        send went at the best hour also `send_times`, `slot_propensity` and `slots`. The purchases that messages caused
        cost 59 euro each; the others are the same under every journey.
        """
        frame = named(self._happened, self.shop.names).to_pandas()
        for name, kind in COLUMNS.items():
            if name not in frame.columns:
                frame[name] = np.nan if kind == "double" else None
        kinds = COLUMNS | {name: kind for name, kind in CHOICES.items() if name in frame.columns}
        texts = dict.fromkeys(["contact", "event", *(name for name in kinds if kinds[name] == "string")], "str")
        return frame.astype({**texts, "is_machine": "boolean"})[["contact", "event", "occurred_at", *kinds]]

    @cached_property
    def log(self) -> EventLog:
        """The log that the run leaves, which is all that an analyst would have; it ends at the horizon."""
        return self.shop.log_of(self._happened, self.until)

    def save(self, folder: str | Path) -> None:
        """Writes `events.parquet` and `contacts.parquet` into a folder, marked as simulated."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for name, rows in (("events", self.events), ("contacts", self.shop.contacts)):
            table = pa.Table.from_pandas(rows, preserve_index=False)
            label = {"description": f"{name} of the shop Akacja: simulated, nobody in it exists ({self.shop!r})"}
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **label})
            pq.write_table(table, Path(folder) / f"{name}.parquet", compression="zstd", compression_level=19)

    def _repr_html_(self) -> str:
        return block(repr(self), frame(self.outcomes, "outcomes"))

"""What a message really does to a contact of the simulated shop: the truth that estimates are held against.

Chance comes from keyed hashes alone, one for each contact, message, repetition and response. So two policies that send
the same message get the same draws, whatever else they do, and differ only by what they change: the hour of the send,
how many messages came before, the message itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import layout as o
from .keyedhash import mix, purpose_key
from .shopcontacts import MAILBOXES, SECOND, Contacts, Floats, Ints, season

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LINKS", "OFFER_PRICE", "OPENS", "SELLS", "Reactions", "Responses", "Sends"]

OPENS = {
    "welcome_1": 0.106, "reminder": 0.070, "winback_1": 0.064, "winback_2": 0.054,
    "offer_discount": 0.120, "offer_free_month": 0.110, "offer_plain": 0.090,
}  # fmt: skip
"""How many contacts of medium interest open a message that comes to them at an average hour, by message."""
SELLS = {
    "welcome_1": 0.10, "reminder": 0.12, "winback_1": 0.15, "winback_2": 0.12,
    "offer_discount": 0.45, "offer_free_month": 0.35, "offer_plain": 0.20,
}  # fmt: skip
"""How many of those who click buy because of the message, by message."""
OFFER_PRICE = 59.0
"""What a purchase that a message causes costs, in euro."""
LINKS = ("shop", "pricing")
CLICKS = 0.28
_ACTIVE = 1.15  # how much livelier those are who still visit
# A Weibull counted in the contacts' own hours, its tail drawn out, chosen so that delays come near the published one of
# shape 0.433 and scale 15.16 h, which counts all hours alike.
DELAY_SHAPE, DELAY_SCALE = 0.52, 18.0  # hours
LATE_AFTER, LATENESS = 48, 0.6  # hours, and by how much what is later still is later


class Sends(NamedTuple):
    """Sends to be answered: whom and when (microseconds), the message and how often it was sent to the contact before,

    and how many messages the contact got in the seven and the thirty days before.
    """

    who: Ints
    at: Ints
    message: Ints
    nth: Ints
    in_week: Floats
    in_month: Floats


class Responses(NamedTuple):
    """Responses to sends: to which (by place), of which kind (`layout.DELIVERED` and so on) and when.

    `link` is a place in `LINKS`, of clicks only.
    """

    send: Ints
    kind: Ints
    at: Ints
    is_machine: NDArray[np.bool_]
    link: Ints


@dataclass(frozen=True, eq=False)
class Reactions:
    """How contacts react; `units` are their unit hashes, and every other field is an option of `Shop`."""

    contacts: Contacts
    units: NDArray[np.uint64]
    seed: int
    opens: dict[str, float]
    sells: dict[str, float]
    fatigue: float
    machine_share: float
    drift_at: int
    drift: float

    def open_rate(self, sends: Sends, messages: Sequence[str]) -> Floats:
        """The probability that a contact opens a message that is delivered, 0..1."""
        who, at, contacts = sends.who, sends.at, self.contacts
        hour = contacts.hour_of_week(who, at)
        level = -np.log1p(-np.minimum([self._opens(message) for message in messages], 1 - 1e-9))
        rate = level[sends.message] * contacts.interest[who] * season(at)
        rate *= _moved(contacts.rhythm.weight(contacts.habit[who], hour))
        rate *= np.where(contacts.is_active(who, at), _ACTIVE, 0.65)
        rate *= np.exp(-self.fatigue * _load(sends)) * self._drift(at)
        return np.asarray(-np.expm1(-rate))

    def chances(self, message: str) -> Floats:
        """The probability that a contact opens a message at each hour of the week, (contact, 168); see `Shop.chances`.

        One that is delivered to an active contact who got no other for a month, in a mean season.
        """
        rate = -np.log1p(-self._opens(message)) * self.contacts.interest[:, None] * _ACTIVE
        return np.asarray(-np.expm1(-rate * _moved(self.contacts.rhythm.weights)[self.contacts.habit]))

    def answered(self, sends: Sends, messages: Sequence[str]) -> Responses:
        """All responses to the sends, in the order in which they are made."""
        draw = _Draws(self.units[sends.who], self._keys(messages)[sends.message], sends.nth)
        found, who = _Found(), sends.who
        soft = draw("soft bounce") < 0.01
        after = sends.at + SECOND * (1 + (draw("transport") * 30).astype(np.int64))
        is_delivered = ~soft & ~self.contacts.is_dead_end[who]
        found.add(is_delivered, o.DELIVERED, after)
        found.add(~is_delivered, np.where(self.contacts.is_dead_end[who], o.BOUNCED, o.SOFT_BOUNCED), after)
        gone_at = self.contacts.gone_at[who]
        self._machines(found, draw, who, is_delivered, after)
        opened = is_delivered & (draw("open") < self.open_rate(sends, messages))
        opened_at = after + self._delay(who, after, draw("open delay"))
        opened &= opened_at < gone_at
        found.add(opened, o.OPENED, opened_at)
        clicked = opened & (draw("click") < np.minimum(CLICKS * self._drift(sends.at), 1))
        clicked_at = opened_at + SECOND * (5 + (draw("click delay") ** 2 * 600).astype(np.int64))
        clicked &= clicked_at < gone_at
        found.add(clicked, o.CLICKED, clicked_at, link=(draw("link") < 0.3).astype(np.int64))
        sells = np.array([self._sells(message) for message in messages])[sends.message]
        bought = clicked & (draw("buy") < np.minimum(sells * self.contacts.spending[who], 0.95))
        bought_at = clicked_at + SECOND * (90 - np.log(draw("buy delay")) * 7_200).astype(np.int64)
        found.add(bought & (bought_at < gone_at), o.CONVERTED, bought_at)
        tired = np.exp(0.45 * _load(sends))
        left_at = opened_at + SECOND * (10 + (draw("leave delay") * 240).astype(np.int64))
        leave = draw("leave")
        leaves = opened & (leave < 0.014 * tired) & (left_at < gone_at)
        complains = opened & (leave > 1 - 0.002 * tired) & (left_at < gone_at)
        found.add(leaves, o.UNSUBSCRIBED, left_at)
        found.add(leaves, o.WITHDRAWN_EVENT, left_at)
        found.add(complains & ~leaves, o.COMPLAINED, left_at)
        return found.in_order()

    def _machines(self, found: _Found, draw: _Draws, who: Ints, is_delivered: NDArray[np.bool_], after: Ints) -> None:
        """Mail programs that fetch what is delivered, and company mailboxes whose scanners follow every link."""
        mailbox = np.array(list(MAILBOXES))[self.contacts.mailbox[who]]
        fetches = is_delivered & (mailbox == "apple") & (draw("fetch") < self.machine_share)
        fetched_at = after + SECOND * (5 - np.log(draw("fetch delay")) * 3_600).astype(np.int64)
        found.add(fetches & (fetched_at < self.contacts.gone_at[who]), o.OPENED, fetched_at, is_machine=True)
        scans = is_delivered & (mailbox == "company") & (draw("scan") < self.machine_share / 2)
        scanned_at = after + SECOND * (2 + (draw("scan delay") * 40).astype(np.int64))
        found.add(scans, o.OPENED, scanned_at, is_machine=True)
        for link in range(len(LINKS)):
            found.add(scans, o.CLICKED, scanned_at + SECOND * (1 + link), is_machine=True, link=link)

    def _delay(self, who: Ints, at: Ints, drawn: Floats) -> Ints:
        """How long after its delivery a message is opened, most likely in the contact's own hours."""
        contacts, habit = self.contacts, self.contacts.habit[who]
        counted = DELAY_SCALE * (-np.log(drawn)) ** (1 / DELAY_SHAPE)
        counted += LATENESS * np.maximum(counted - LATE_AFTER, 0)
        hours = contacts.rhythm.later(habit, contacts.hour_of_week(who, at), counted)
        return np.asarray(SECOND * (2 + (hours * 3_600).astype(np.int64)))

    def _drift(self, at: Ints) -> Floats:
        return np.where(at >= self.drift_at, self.drift, 1.0)

    def _opens(self, message: str) -> float:
        return self.opens.get(message, OPENS.get(message, 0.06 + 0.06 * self._level(message)))

    def _sells(self, message: str) -> float:
        return self.sells.get(message, SELLS.get(message, 0.1 + 0.3 * self._level(message)))

    def _level(self, message: str) -> float:
        """A number in 0..1 that belongs to a message nobody has said anything about."""
        return purpose_key(f"shop/{self.seed}/{message}/level") / 2**64

    def _keys(self, messages: Sequence[str]) -> NDArray[np.uint64]:
        return np.array([purpose_key(f"shop/{self.seed}/{message}") for message in messages], np.uint64)


def _moved(weight: Floats) -> Floats:
    """By which factor the weight of the hour of sending moves the rate of opening."""
    return np.asarray(0.55 + 0.45 * np.minimum(weight, 3))


def _load(sends: Sends) -> Floats:
    """How many messages weigh on the contact: those of the week in full, those of the month by a quarter."""
    return np.asarray(sends.in_week + 0.25 * (sends.in_month - sends.in_week))


_mixed: Any = mix.py_func  # as it is in Python it takes whole arrays


class _Draws:
    """For each send a number in (0, 1) for each of its responses, by name."""

    def __init__(self, units: NDArray[np.uint64], keys: NDArray[np.uint64], nth: Ints) -> None:
        self._base = _mixed(_mixed(units ^ keys) + nth.astype(np.uint64))

    def __call__(self, response: str) -> Floats:
        mixed = _mixed(self._base ^ np.uint64(purpose_key(response)))
        return np.asarray(((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


class _Found:
    """Responses as they are found, one kind after the other."""

    def __init__(self) -> None:
        self._parts: list[Responses] = []

    def add(
        self,
        which: NDArray[np.bool_],
        kind: int | NDArray[np.int64],
        at: Ints,
        *,
        is_machine: bool = False,
        link: int | Ints = -1,
    ) -> None:
        """Adds a response to the sends for which `which` is true."""
        send = np.flatnonzero(which)
        kinds, links = (np.broadcast_to(np.asarray(one, np.int64), which.shape)[send] for one in (kind, link))
        self._parts.append(Responses(send, kinds, at[send], np.full(len(send), is_machine), links))

    def in_order(self) -> Responses:
        """All responses, by send and then as they were added."""
        parts = [np.concatenate(columns) for columns in zip(*self._parts, strict=True)]
        order = np.argsort(parts[0], kind="stable")
        return Responses(*(column[order] for column in parts))

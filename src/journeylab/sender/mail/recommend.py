"""What to recommend: products that were bought by the same contacts, as of an instant.

The likeness of two products is the cosine of their buyers: of the contacts who bought both, how many there are for the
geometric mean of those who bought either. It is the item-to-item measure of Linden, Smith and York, "Amazon.com
Recommendations", IEEE Internet Computing 7(1), 2003, and of Sarwar et al., WWW 2001, over whether, not how often.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from journeylab.errors import DataError, known

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog

__all__ = ["RECENT", "BoughtTogether", "Recommender", "of_catalogue"]

RECENT: Final = timedelta(days=90)
"""How far back counts what is bought most, where too little was bought together."""


class Recommender(Protocol):
    """What chooses the products of `recommend(n)`; write one's own with this method."""

    def recommend(self, contact: str, bought: Collection[str], as_of: datetime, n: int) -> Sequence[Any]:
        """At most n products for a contact who bought `bought`, from what was known at `as_of` and nothing later.

        A product is a text, or a mapping of plain values such as `{"name": …, "url": …}`, as templates write them.
        """
        ...


Known = Callable[[Collection[str]], Mapping[str, Mapping[str, Any]]]
"""The properties of products that are sold, by their ids; others are left out."""


def of_catalogue(
    recommender: Recommender, known: Known, contact: str, bought: Collection[str], as_of: datetime, n: int
) -> list[dict[str, Any]]:
    """At most n products that are sold, each as a mapping of its id, `product`, and what the catalogue says of it.

    A recommender that names many which are not sold any more is asked for more of them, up to sixteen times as many.

    Args:
        recommender: names products by their ids, or by mappings that have them as `product`, whose other values stay
            where the catalogue has none of that name.
        known: what the catalogue knows.
        contact: for whom.
        bought: what the contact bought.
        as_of: what was known later does not count.
        n: how many.

    Raises:
        DataError: when what is recommended has no id.

    >>> class Shelf:
    ...     def recommend(self, contact, bought, as_of, n):
    ...         return ["tea", "cup", "hat"][:n]
    >>> sold = {"cup": {"price": 3}, "hat": {"price": 9}}
    >>> known = lambda ids: {one: sold[one] for one in ids if one in sold}
    >>> of_catalogue(Shelf(), known, "ada", [], datetime(2026, 3, 2), 1)
    [{'product': 'cup', 'price': 3}]
    """
    wanted = n
    while True:
        named = recommender.recommend(contact, bought, as_of, wanted)
        products = [{"product": one} if isinstance(one, str) else one for one in named]
        ids = [one.get("product") if isinstance(one, Mapping) else None for one in products]
        texts = [one for one in ids if isinstance(one, str)]
        if len(texts) < len(ids):
            raise DataError("what is recommended has no `product`, by which the catalogue knows it")
        sold = known(texts)
        found = [{**one, **sold[name]} for one, name in zip(products, texts, strict=True) if name in sold]
        if len(found) >= n or len(named) < wanted or wanted >= _MOST_ASKED * n:
            return found[:n]
        wanted *= 2


_MOST_ASKED: Final = 16


class BoughtTogether:
    """Recommends what others bought who bought the same; then what was bought most in the last 90 days.

    A product's score is the sum of its likenesses to those the contact bought. Equal scores are in the order of names;
    what the contact bought already is never recommended; there may be fewer than were asked for. Only purchases at or
    before the instant count. One recommendation takes time in proportion to the purchases of all who bought the same.

    >>> day = datetime.fromisoformat("2026-03-02T09:00Z")
    >>> shop = BoughtTogether([("ada", "tea", day), ("ada", "cup", day), ("bob", "tea", day), ("cyd", "hat", day)])
    >>> shop.recommend("bob", ["tea"], day, 2), shop.recommend("bob", ["tea"], day - timedelta(days=1), 2)
    (['cup', 'hat'], [])
    """

    def __init__(self, purchases: Iterable[tuple[str, str, datetime]]) -> None:
        """Takes purchases as (contact, product, aware instant), in any order."""
        rows = list(purchases)
        naive = next((contact for contact, _, at in rows if at.tzinfo is None), None)
        if naive is not None:
            raise DataError(f"a purchase of {naive!r} has no time zone; give its instant as an aware datetime")
        at = np.array([_microseconds(at) for *_, at in rows], np.int64)
        self._take([contact for contact, *_ in rows], [item for _, item, _ in rows], at)

    @classmethod
    def from_log(cls, log: EventLog, event: str = "purchase", item: str = "product") -> BoughtTogether:
        """The recommender of the purchases of a log: events of one kind with a property that names the product.

        Raises:
            DataError: when the log has no such event or property, or the property is no text.
        """
        if event not in log.event_names:
            raise DataError(f"the log has no event {event!r}; {known(event, log.event_names, 'events')}")
        if item not in log.property_names:
            raise DataError(f"events have no property {item!r}; {known(item, log.property_names, 'properties')}")
        events = log.events()
        rows = events.loc[(events["event"] == event) & events[item].notna(), ["contact", item, "occurred_at"]]
        wrong = next((value for value in rows[item] if not isinstance(value, str)), None)
        if wrong is not None:
            raise DataError(f"{item!r} names products, but it has the {type(wrong).__name__} {wrong!r}; bring texts")
        made = cls.__new__(cls)
        at = rows["occurred_at"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
        made._take(rows["contact"].astype(str).tolist(), rows[item].tolist(), at)
        return made

    def _take(self, contacts: list[str], items: list[str], at: NDArray[np.int64]) -> None:
        """Keeps each contact's first purchase of each product, by contact and by product, and all purchases in time."""
        self.items = sorted(set(items))
        self._item_number = {item: i for i, item in enumerate(self.items)}
        self._contact_number = {contact: i for i, contact in enumerate(dict.fromkeys(contacts))}
        who = np.array([self._contact_number[contact] for contact in contacts], np.int64)
        what = np.array([self._item_number[item] for item in items], np.int64)
        order = np.argsort(at, kind="stable")
        self._all_at, self._all_items = at[order], what[order]
        pairs, first = np.unique((who * len(self.items) + what)[order], return_index=True)
        first_at = at[order][first]
        owner, thing = np.divmod(pairs, max(len(self.items), 1))
        self._by_contact = _Grouped(owner, thing, first_at, len(self._contact_number))
        self._by_item = _Grouped(thing, owner, first_at, len(self.items))

    def recommend(self, contact: str, bought: Collection[str], as_of: datetime, n: int) -> list[str]:
        """The names of at most n products, the best first.

        Args:
            contact: whose purchases in the log count as bought, too.
            bought: what the contact bought; products that the log does not have are allowed.
            as_of: the aware instant up to which purchases count, itself included.
            n: how many.

        Raises:
            DataError: when `as_of` has no time zone.
        """
        if as_of.tzinfo is None:
            raise DataError("`as_of` has no time zone; give it as an aware datetime")
        now = _microseconds(as_of)
        own = {self._item_number[item] for item in bought if item in self._item_number}
        if contact in self._contact_number:
            own |= set(self._by_contact.until(self._contact_number[contact], now).tolist())
        scores = np.zeros(len(self.items))
        for item in sorted(own):
            buyers = self._by_item.until(item, now)
            if len(buyers) == 0:
                continue
            both = np.bincount(self._by_contact.all_until(buyers, now), minlength=len(self.items))
            sizes = np.array([self._by_item.n_until(other, now) for other in np.flatnonzero(both)])
            scores[both > 0] += both[both > 0] / np.sqrt(len(buyers) * sizes)
        low, high = np.searchsorted(self._all_at, [now - _microseconds(RECENT), now], side="right")
        recent = np.bincount(self._all_items[low:high], minlength=len(self.items))
        count = np.where(scores > 0, 0, recent)
        ranked = np.lexsort((-count, -scores.round(12)))  # stable, and products are numbered by name
        return [self.items[i] for i in ranked if i not in own and (scores[i] > 0 or count[i] > 0)][:n]


class _Grouped:
    """Members of groups with an instant each, in time order within their group."""

    def __init__(
        self, group: NDArray[np.int64], member: NDArray[np.int64], at: NDArray[np.int64], n_groups: int
    ) -> None:
        order = np.lexsort((at, group))
        self.member, self.at = member[order], at[order]
        self.start = np.searchsorted(group[order], np.arange(n_groups + 1))

    def n_until(self, group: int | np.integer[Any], now: int) -> int:
        """How many members a group has by an instant, itself included."""
        span = self.at[self.start[group] : self.start[group + 1]]
        return int(np.searchsorted(span, now, side="right"))

    def until(self, group: int | np.integer[Any], now: int) -> NDArray[np.int64]:
        """The members that a group has by then."""
        begin = self.start[group]
        return self.member[begin : begin + self.n_until(group, now)]

    def all_until(self, groups: NDArray[np.int64], now: int) -> NDArray[np.int64]:
        """The members of several groups by then, one after another."""
        return np.concatenate([self.until(group, now) for group in groups])


def _microseconds(value: datetime | timedelta) -> int:
    if isinstance(value, datetime):
        value = value - datetime.fromisoformat("1970-01-01T00:00+00:00")
    return value // timedelta(microseconds=1)

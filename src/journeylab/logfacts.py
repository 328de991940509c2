"""What a simulation asks of a log as a whole, in counts that add up over the parts of a log exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from .clock import NEVER, microseconds
from .divergence import events_of, is_near, messages_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["LogFacts", "exact_sum", "facts_of"]


def exact_sum(values: NDArray[np.float64]) -> Fraction:
    """The sum of finite numbers without any rounding, so that it is the same in whatever order and parts they come.

    >>> exact_sum(np.array([1e100, 1.0, -1e100]))
    Fraction(1, 1)
    """
    parts, exponents = np.frexp(values)
    whole = (parts * 2.0**53).astype(np.int64)
    total = Fraction(0)
    for exponent in np.unique(exponents).tolist():
        mine = whole[exponents == exponent]
        # In two halves, for many numbers of 53 bits would not add up in 64.
        added = (int((mine >> 26).sum()) << 26) + int((mine & ((1 << 26) - 1)).sum())
        total += Fraction(added) * Fraction(2) ** (exponent - 53)
    return total


@dataclass(frozen=True)
class LogFacts:
    """What a simulation asks of a log as a whole.

    Attributes:
        messages: those that any event names.
        sent: those that were sent.
        converted: of each numeric property of the event that a conversion is, how many it has and their sum.
        n: counts of bounces (`bounced`, of which `soft`), and of those who unsubscribed (`gone`) and of withdrawals
            near that (`withdrawn`).
    """

    messages: frozenset[str]
    sent: frozenset[str]
    converted: dict[str, tuple[int, Fraction]]
    n: Counter[str]

    @classmethod
    def sum(cls, parts: Iterable[LogFacts]) -> LogFacts:
        """The facts of a log whose parts have these."""
        parts = list(parts)
        converted: dict[str, tuple[int, Fraction]] = {}
        for name in sorted({name for part in parts for name in part.converted}):
            each = [part.converted[name] for part in parts if name in part.converted]
            converted[name] = sum(n for n, _ in each), sum((total for _, total in each), Fraction(0))
        return cls(
            frozenset().union(*(part.messages for part in parts)), frozenset().union(*(part.sent for part in parts)),
            converted, sum((part.n for part in parts), Counter()),
        )  # fmt: skip

    def plain(self) -> Any:
        """The facts as JSON for `made`."""
        converted = {name: [n, *total.as_integer_ratio()] for name, (n, total) in self.converted.items()}
        return [sorted(self.messages), sorted(self.sent), converted, self.n]

    @classmethod
    def made(cls, plain: Any) -> LogFacts:
        """The facts of which this is `plain`."""
        messages, sent, converted, n = plain
        sums = {name: (count, Fraction(*ratio)) for name, (count, *ratio) in converted.items()}
        return cls(frozenset(messages), frozenset(sent), sums, Counter(n))

    @property
    def means(self) -> dict[str, float]:
        """The mean of each numeric property of the event that a conversion is; conditions on predicted ones see it."""
        return {name: float(total / n) for name, (n, total) in self.converted.items()}

    @property
    def soft_share(self) -> float:
        """The share of bounces that are soft, which do not stop further messages."""
        return self.n["soft"] / self.n["bounced"] if self.n["bounced"] else 0.0

    @property
    def withdraws(self) -> bool:
        """Whether at least half of those who unsubscribe withdraw their consent within a minute."""
        return 2 * self.n["withdrawn"] >= self.n["gone"]


def facts_of(log: EventLog, converts: str | None, before: datetime | None) -> LogFacts:
    """The facts of a log, or of a part of it: bounces and withdrawals as known at an instant, where one is named."""
    known_by = int(NEVER) if before is None else microseconds(before)
    gone, withdrawn = events_of(log, "unsubscribed"), events_of(log, "consent_withdrawn")
    gone, withdrawn = gone[gone["at"] < known_by], withdrawn[withdrawn["at"] < known_by]
    n = Counter({"gone": len(gone), "withdrawn": int(is_near(withdrawn, gone).sum()), **_bounces(log, known_by)})
    return LogFacts(frozenset(messages_in(log)), _sent(log), _converted(log, converts), n)


def _bounces(log: EventLog, known_by: int) -> dict[str, int]:
    if "bounce_type" not in log.property_names:
        return {}
    stream, column = log.stream("bounced"), log.property("bounce_type")
    rows = stream.row[stream.at < known_by]
    if column.categories is None:
        return {}
    soft = column.categories.index("soft") if "soft" in column.categories else -1
    return {"bounced": len(rows), "soft": int((column.values[rows] == soft).sum())}


def _sent(log: EventLog) -> frozenset[str]:
    rows: Any = log.stream("sent").row
    if "message" not in log.property_names or not len(rows):
        return frozenset()
    texts, sent = log.property("message").categories or [], np.unique(log.property("message").values[rows])
    return frozenset(texts[int(code)] for code in sent if code == code and code >= 0)


def _converted(log: EventLog, converts: str | None) -> dict[str, tuple[int, Fraction]]:
    if converts is None:
        return {}
    row = log.stream(converts).row
    found = {}
    for name in log.property_names if len(row) else ():
        column = log.property(name)
        if column.kind == "number":
            values = column.values[row]
            values = values[np.isfinite(values)]
            if len(values):
                found[name] = len(values), exact_sum(values)
    return found

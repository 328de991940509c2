"""What an experiment measures: metrics by the value of each unit, and the guardrails that must not get worse.

A metric names a value. For a plain table the value is a column with one row for each unit. For an event log it is an
event, such as `purchase`, or an event's property, such as `purchase.amount`, and is looked up within the experiment's
window after the unit's exposure:

| metric | of a log | of a table |
|---|---|---|
| `Proportion("purchase")` | whether there was such an event | a column of flags, 0 and 1 |
| `Count("visit")` | how many there were | a column of whole numbers |
| `Mean("purchase.amount")` | the sum of the property, 0 without events | a column of numbers |
| `Revenue("purchase.amount")` | the same; shown raw and winsorised | a column of numbers |
| `Ratio("purchase.amount / purchase")` | sum (or count) over sum (or count), of all units of an arm | two columns |
| `Quantile("visit", at=0.9)` | a quantile over units of the sum (or count) | a column of numbers |
| `TimeToEvent("purchase")` | days until the first one | days (missing: it never came) and `followed` |

>>> Proportion("purchase", where="amount > 50").name
'purchase'
>>> Ratio("purchase.amount / purchase").values
('purchase.amount', 'purchase')
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, model_validator

from journeylab.journey import Definition, Share

__all__ = [
    "KINDS", "AnyMetric", "Count", "Guardrail", "Mean", "Metric", "Proportion", "Quantile", "Ratio", "Revenue",
    "TimeToEvent", "Value",
]  # fmt: skip


class Value(NamedTuple):
    """One column of values by unit that a metric needs.

    Attributes:
        column: its name in a `UnitTable`: the metric's name, and `|per` after it for a ratio's denominator.
        source: the event or `event.property` in a log, or the column of a plain table.
        how: what is taken of a log's events within the window: `did` (0 or 1), `count`, `sum` (of the property), or
            `after` (days until the first one, missing where there was none).
    """

    column: str
    source: str
    how: Literal["did", "count", "sum", "after"]


class Metric(Definition):
    """What is compared between arms; the classes that derive from it say how.

    Attributes:
        called: another name for it in results; by default its value.
        where: a condition on the event's properties, such as `amount > 50`; logs only.
        better: whether more of it or less of it is what one wants.
        covariate: what is known of a unit before its exposure and adjusts the metric: for a table a column; for a log
            `before`, the same value over a window of the same length before the exposure.
    """

    verb: ClassVar[str]
    called: str | None = None
    where: str | None = None
    better: Literal["higher", "lower"] = "higher"
    covariate: str | None = None

    def __init__(self, value: Any = None, /, **fields: Any) -> None:
        super().__init__(**({} if value is None else {self.verb: value}), **fields)

    @property
    def value(self) -> str:
        """The event, `event.property` or column that is measured."""
        return str(getattr(self, self.verb))

    @property
    def name(self) -> str:
        """What results call it."""
        return self.called or self.value

    @property
    def values(self) -> tuple[str, ...]:
        """The sources of its values: one, or numerator and denominator of a ratio."""
        return (self.value,)

    def columns(self) -> tuple[Value, ...]:
        """The columns of values that it needs."""
        return (Value(self.name, self.value, _how(self.value)),)

    def __str__(self) -> str:
        return self.name


def _how(source: str) -> Literal["count", "sum"]:
    return "sum" if "." in source else "count"


class Mean(Metric):
    """The mean over units of a number: of a property's sum, or of a column."""

    verb: ClassVar[str] = "mean"
    mean: str

    def __init__(self, mean: str | None = None, /, **fields: Any) -> None:
        super().__init__(mean, **fields)


class Proportion(Metric):
    """The share of units to whom something happened."""

    verb: ClassVar[str] = "proportion"
    proportion: str

    def __init__(self, proportion: str | None = None, /, **fields: Any) -> None:
        super().__init__(proportion, **fields)

    def columns(self) -> tuple[Value, ...]:
        """The column of flags that it needs."""
        return (Value(self.name, self.value, "did"),)


class Count(Metric):
    """The mean over units of how often something happened."""

    verb: ClassVar[str] = "count"
    count: str

    def __init__(self, count: str | None = None, /, **fields: Any) -> None:
        super().__init__(count, **fields)

    def columns(self) -> tuple[Value, ...]:
        """The column of counts that it needs."""
        return (Value(self.name, self.value, "count"),)


class Revenue(Metric):
    """The mean over units of an amount with a long tail, raw and winsorised.

    `winsorised` is the quantile, over the units of all arms together, above which an amount counts as that quantile.
    """

    verb: ClassVar[str] = "revenue"
    revenue: str
    winsorised: Share = Fraction(99, 100)

    def __init__(self, revenue: str | None = None, /, **fields: Any) -> None:
        super().__init__(revenue, **fields)


class Ratio(Metric):
    """The ratio of two means over units, written `numerator / denominator`; its error by the delta method."""

    verb: ClassVar[str] = "ratio"
    ratio: str

    def __init__(self, ratio: str | None = None, /, **fields: Any) -> None:
        super().__init__(ratio, **fields)

    @model_validator(mode="after")
    def _has_two(self) -> Ratio:
        if self.ratio.count("/") != 1 or not all(self.values):
            raise ValueError(f"a ratio is written numerator/denominator, got {self.ratio!r}")
        return self

    @property
    def name(self) -> str:
        """What results call it."""
        return self.called or "/".join(self.values)

    @property
    def values(self) -> tuple[str, ...]:
        """The sources of numerator and denominator."""
        numerator, _, denominator = self.value.partition("/")
        return numerator.strip(), denominator.strip()

    def columns(self) -> tuple[Value, ...]:
        """The columns of numerator and denominator."""
        return tuple(
            Value(column, source, _how(source))
            for column, source in zip((self.name, f"{self.name}|per"), self.values, strict=True)
        )


class Quantile(Metric):
    """A quantile over units of a number; `at` says which, by default the median."""

    verb: ClassVar[str] = "quantile"
    quantile: str
    at: Share = Fraction(1, 2)

    def __init__(self, quantile: str | None = None, /, **fields: Any) -> None:
        super().__init__(quantile, **fields)

    @model_validator(mode="after")
    def _inside(self) -> Quantile:
        if not 0 < self.at < 1:
            raise ValueError("a quantile lies between 0% and 100%, neither of them included")
        return self


class TimeToEvent(Metric):
    """How long it took until something happened, for units that were followed for different times.

    What is compared is the mean time without the event within the window (the restricted mean survival time), so that
    less is better by default. In a table the value's column has days, missing where it never happened, and `followed`
    names the column with the days for which the unit was looked at.
    """

    verb: ClassVar[str] = "time_to"
    time_to: str
    followed: str = "followed"
    better: Literal["higher", "lower"] = "lower"

    def __init__(self, time_to: str | None = None, /, **fields: Any) -> None:
        super().__init__(time_to, **fields)

    def columns(self) -> tuple[Value, ...]:
        """The column of days that it needs."""
        return (Value(self.name, self.value, "after"),)


KINDS: Final[dict[str, type[Metric]]] = {
    kind.verb: kind for kind in (Mean, Proportion, Count, Revenue, Ratio, Quantile, TimeToEvent)
}
"""The kinds of metrics by the key that names them in a file."""


def _verb_of(data: Any) -> str | None:
    verbs = [key for key in data if key in KINDS] if isinstance(data, Mapping) else [getattr(data, "verb", "")]
    return verbs[0] if len(verbs) == 1 else None


AnyMetric = Annotated[
    Annotated[Mean, Tag("mean")]
    | Annotated[Proportion, Tag("proportion")]
    | Annotated[Count, Tag("count")]
    | Annotated[Revenue, Tag("revenue")]
    | Annotated[Ratio, Tag("ratio")]
    | Annotated[Quantile, Tag("quantile")]
    | Annotated[TimeToEvent, Tag("time_to")],
    Discriminator(
        _verb_of,
        custom_error_type="metric_kind",
        custom_error_message=f"a metric has one of {', '.join(KINDS)}, such as {{proportion: purchase}}",
    ),
]
"""A metric of any kind; in a file, told by its key."""

_PRESETS: Final = {
    "unsubscribed": ("proportion", "unsubscribed"),
    "complained": ("proportion", "complained"),
    "bounced": ("proportion", "bounced"),
    "mails": ("count", "sent"),
}


class Guardrail(Definition):
    """A metric that may not get worse by more than a margin: a one-sided test of non-inferiority.

    Made of a metric, or by name: `unsubscribed`, `complained`, `bounced` (shares of units) or `mails` (per unit), of
    all of which less is better; a metric of one's own says so by `better="lower"`.

    Attributes:
        guardrail: the metric.
        margin: how much worse an arm may be than the control, in the metric's unit (0.002 is 0.2 percentage points).

    >>> Guardrail("unsubscribed", margin=0.002).metric.name
    'unsubscribed'
    """

    guardrail: AnyMetric
    margin: float = Field(gt=0)

    def __init__(self, guardrail: Any = None, /, **fields: Any) -> None:
        super().__init__(**({} if guardrail is None else {"guardrail": guardrail}), **fields)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        name = data.get("guardrail") if isinstance(data, dict) else None
        if not isinstance(name, str):
            return data
        if name not in _PRESETS:
            raise ValueError(f"a guardrail is a metric or one of {', '.join(_PRESETS)}; got {name!r}")
        verb, value = _PRESETS[name]
        metric = {verb: value, "better": "lower", **({"called": name} if name != value else {})}
        return {**data, "guardrail": metric}

    @property
    def metric(self) -> Metric:
        """The metric that may not get worse."""
        return self.guardrail

    def data(self) -> dict[str, Any]:
        """The guardrail as it is written in a file."""
        return {"guardrail": self.metric.data(), "margin": self.margin}

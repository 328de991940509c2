"""What an experiment asks, declared before it starts: arms, metrics, guardrails, window, and when it is over.

An experiment is data, like a journey: a YAML or JSON file in Git, or made in Python.

```yaml
experiment: offer_test
question: Does a discount bring more purchases than a plain offer?
journey: trial_welcome.yaml
split: offer
control: plain
window: 14d
primary: {proportion: purchase, covariate: before}
secondary:
  - {revenue: purchase.amount}
guardrails:
  - {guardrail: unsubscribed, margin: 0.002}
stopping: {planned_n: 20000}
minimum_effect: 0.02
segments: [country]
```
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, StrictInt, model_validator

from journeylab.errors import DefinitionError, Fault, known, listed
from journeylab.journey import Definition, Journey, Name, Policy, Portfolio, PositiveDuration, Run, Share, Split
from journeylab.progress import Progress

from .metrics import AnyMetric, Guardrail, Metric

if TYPE_CHECKING:
    from typing import Self

    from .analysis import Analysis
    from .planning import Plan
    from .watching import Watch

__all__ = ["HOLDOUT", "POLICY_HOLDOUT", "Experiment", "Stopping"]

HOLDOUT: Final = "holdout"
"""The name that an experiment's `split` has for a journey against its holdout, and the arm of those held out."""
POLICY_HOLDOUT: Final = "policy_holdout"
"""The name that an experiment's `split` has for all that a policy may hold out of against the policy's holdout."""


def _looks(value: object) -> object:
    """Looks at equal distances for a number of them."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return tuple(Fraction(look, value) for look in range(1, value + 1))
    return value


class Stopping(Definition):
    """When an experiment is over, and what its intervals hold for before.

    Attributes:
        planned_n: the units, of all arms together, at which it is over.
        rule: `always_valid` (default): one may look at any time, and stop. `group_sequential`: at the planned looks,
            with the boundary that `spending` gives. `fixed`: once, at the end.
        looks: the shares of `planned_n` at which one looks, the last of them 1; or how many there are, at equal
            distances. Only for `group_sequential`.
        spending: how the error is spent over the looks (Lan and DeMets, 1983).

    >>> Stopping(planned_n=20_000, rule="group_sequential", looks=4).looks
    (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(1, 1))
    """

    planned_n: StrictInt = Field(ge=2)
    rule: Literal["always_valid", "group_sequential", "fixed"] = "always_valid"
    looks: Annotated[tuple[Share, ...], BeforeValidator(_looks)] = ()
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"

    @model_validator(mode="after")
    def _looks_rise(self) -> Stopping:
        if (self.rule == "group_sequential") != bool(self.looks):
            raise ValueError("`looks` go with `rule: group_sequential`, such as looks: 5")
        if self.looks and (list(self.looks) != sorted({*self.looks}) or not self.looks[0] > 0 or self.looks[-1] != 1):
            raise ValueError("`looks` rise to 100%, such as [25%, 50%, 75%, 100%]")
        return self


class Experiment(Definition):
    """What is asked of which arms, by which metrics, and when it is over.

    Made from a journey's split (`of_split`), from journeys that are compared (`of_journeys`), from a policy's holdout
    (`of_policy`), for a plain table (`of_table`), or from a file (`read`). It never changes; its `version` is the hash
    of what it says.

    Attributes:
        experiment: its name.
        question: what it is to answer, for people.
        journey: the journey with the split: its file, and after a `#` its name where the file has several, which then
            run together; with `split`, the node (in a part `NODE.NAME`), or `holdout` for the whole journey against
            its holdout. With `split: policy_holdout` the file of all that the policy may hold out of, or one journey
            of it.
        journeys: or the journeys that are compared, each an arm: their files. Whom they get is a keyed hash (rule 22).
        arm: or the column of a plain table that has the arms.
        shares: the probability of each arm; from the split where there is one, else equal.
        control: the arm that the others are held against.
        window: how long after its exposure a unit is looked at; only units looked at so long count. Not for a table.
        start_at: exposures before this instant do not count; a plan is made on history all the same.
        primary: the metric that decides.
        secondary: what is looked at besides; corrected as explorations.
        guardrails: what may not get worse.
        segments: for whom the effect is looked at: segments of the journey, attributes, or columns of the table.
        features: what a ranking of units by uplift, and a rule for whom to send what, may look at: attributes, or
            columns of the table.
        cluster: the column of a table that has the unit of assignment where several rows share it.
        exposed_at: the column of a table that has the instants of exposure.
        varies_time: whether arms are meant to differ in when they send, as those of a send-time policy.
        stopping: when it is over.
        alpha: the error: how often a difference may be found where there is none.
        power: how often the `minimum_effect` is to be found.
        minimum_effect: the least effect on the primary metric that is worth having, in its unit.

    >>> from journeylab.experiments import Proportion
    >>> Experiment.of_table("group", experiment="spring", shares={"a": "50%", "b": "50%"}, control="a",
    ...                     primary=Proportion("visit"), stopping=Stopping(planned_n=1000))
    Experiment('spring': b against a by visit, 1,000 units, version ...)
    """

    experiment: Name
    question: str = ""
    journey: str | None = None
    split: str | None = None
    journeys: dict[Name, str] = Field(default_factory=dict)
    arm: str | None = None
    shares: dict[str, Share] = Field(default_factory=dict)
    control: str
    window: PositiveDuration | None = None
    start_at: AwareDatetime | None = None
    primary: AnyMetric
    secondary: tuple[AnyMetric, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    segments: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    cluster: str | None = None
    exposed_at: str | None = None
    varies_time: bool = False
    stopping: Stopping
    alpha: float = Field(default=0.05, gt=0, lt=1)
    power: float = Field(default=0.8, gt=0, lt=1)
    minimum_effect: float | None = Field(default=None, gt=0)
    definitions: dict[str, Journey] = Field(default_factory=dict, exclude=True, repr=False)
    portfolio: Portfolio | None = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _sound(self) -> Experiment:
        given = [name for name in ("journey", "journeys", "arm") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                "an experiment has arms from one of `journey` with `split`, `journeys`, or `arm`, a table's column"
            )
        if bool(self.journey) != bool(self.split):
            raise ValueError("`journey` and `split` go together; `split: holdout` holds it against its holdout")
        if self.arm is None and self.window is None:
            raise ValueError("an experiment on journeys needs a `window`, such as 14d")
        if self.journeys and len(self.journeys) < 2:
            raise ValueError("`journeys` are two or more, each an arm, such as {old: old.yaml, new: new.yaml}")
        if self.split is not None and self.shares:
            raise ValueError("the journey has the shares of the arms; leave `shares` out")
        if self.shares and sum(self.shares.values()) != 1:
            raise ValueError("the shares of the arms do not add up to 100%")
        if self.shares and self.control not in self.shares:
            raise ValueError(f"no arm {self.control!r}; {known(self.control, self.shares, 'arms')}")
        if self.journeys and self.control not in self.journeys:
            raise ValueError(f"no arm {self.control!r}; {known(self.control, self.journeys, 'arms')}")
        if self.journeys and self.shares and {*self.shares} != {*self.journeys}:
            raise ValueError("`shares` and `journeys` name the same arms")
        names = [metric.name for metric in self.metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two metrics are named {twice[0]!r}; give one of them another name by `called`")
        return self

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The primary metric, the secondary ones, then those of the guardrails."""
        return (self.primary, *self.secondary, *(guardrail.metric for guardrail in self.guardrails))

    @property
    def is_of_table(self) -> bool:
        """Whether it is of a plain table and not of journeys."""
        return self.arm is not None

    @property
    def arms(self) -> dict[str, float]:
        """The probability of each arm, the control first; empty for a table whose shares are not declared.

        Those held out are an arm of a split besides (rule 23) where no message can come before it: behind one, who
        reaches the split depends on having had it. `exposures.split_exposures` looks, and has the shares then.
        """
        shares = {arm: float(share) for arm, share in self.shares.items()}
        if self.journeys and not shares:
            shares = dict.fromkeys(self.journeys, 1 / len(self.journeys))
        if self.split == POLICY_HOLDOUT and self.definitions:
            shares = _held_against(self._policy.holdout)
        elif self.journey is not None and self.journey in self.definitions:
            shares = _arms_of(self.definitions[self.journey], str(self.split))
        return dict(sorted(shares.items(), key=lambda one: (one[0] != self.control, one[0])))

    @property
    def _policy(self) -> Policy:
        return Policy() if self.portfolio is None else self.portfolio.policy

    @property
    def versions(self) -> dict[str, str]:
        """The version of each journey: of the one with the split under its name, of compared ones under their arms."""
        is_split = self.journey is not None
        return {journey.journey if is_split else arm: journey.version for arm, journey in self.definitions.items()}

    def canonical(self) -> dict[str, Any]:
        """What the experiment says, reduced to what decides: texts for people left out, versions instead of files."""
        said = self.data()
        for text in ("question", "journey", "journeys"):
            said.pop(text, None)
        said["primary"], said["secondary"] = self.primary.data(), [metric.data() for metric in self.secondary]
        said["guardrails"] = [guardrail.data() for guardrail in self.guardrails]
        said["versions"] = self.versions
        if policy := self._policy.data():
            said["policy"] = policy
        return said

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the canonical form, the journeys' versions in it."""
        text = json.dumps(self.canonical(), sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        others = ", ".join(arm for arm in self.arms if arm != self.control) or "all arms"
        return (
            f"Experiment({self.experiment!r}: {others} against {self.control} by {self.primary.name}, "
            f"{self.stopping.planned_n:,} units, version {self.version})"
        )

    __str__ = __repr__

    @classmethod
    def of_split(
        cls, journey: Journey, split: str, /, portfolio: Portfolio | None = None, **declared: Any
    ) -> Experiment:
        """The experiment on a journey's split; `holdout` is the whole journey against its holdout.

        Args:
            journey: the journey.
            split: the split's node; or `holdout`, or `policy_holdout` for the journey against the policy's holdout.
            portfolio: the journeys that it runs together with, itself among them, and their policy.
            declared: `experiment`, `control`, `window`, `primary`, `stopping` and the other attributes.

        Raises:
            DefinitionError: when the journey has no such split, or the control is none of its arms.
        """
        name = journey.journey
        return cls(journey=name, split=split, definitions={name: journey}, portfolio=portfolio, **declared)._with_arms()

    @classmethod
    def of_journeys(cls, journeys: Mapping[str, Journey], /, **declared: Any) -> Experiment:
        """The experiment that compares journeys: each is an arm, and each contact gets one of them (rule 22)."""
        names = {arm: journey.journey for arm, journey in journeys.items()}
        return cls(journeys=names, definitions=dict(journeys), **declared)

    @classmethod
    def of_policy(cls, portfolio: Portfolio, /, **declared: Any) -> Experiment:
        """The experiment on a policy's holdout (rule 23): all journeys that it may hold out of against sending nothing.

        Raises:
            DefinitionError: when the policy holds nobody out, or the control is neither `holdout` nor `treated`.
        """
        definitions = {journey.journey: journey for journey in portfolio.journeys}
        return cls(
            journey=", ".join(definitions), split=POLICY_HOLDOUT, definitions=definitions, portfolio=portfolio,
            **declared,
        )._with_arms()  # fmt: skip

    @classmethod
    def of_table(cls, arm: str, /, **declared: Any) -> Experiment:
        """The experiment whose exposed units a plain table has, one in a row, with the arms in a column."""
        return cls(arm=arm, **declared)

    @classmethod
    def is_in(cls, path: str | Path) -> bool:
        """Whether a file has an experiment and not journeys, whatever else is at fault in it."""
        from journeylab.journeyfile import text_of
        from journeylab.yamlsource import documents

        path = Path(path)
        read = documents(text_of(path).text, source=str(path), is_json=path.suffix == ".json")
        return any(isinstance(document.data, dict) and "experiment" in document.data for document in read)

    @classmethod
    def read(cls, path: str | Path) -> Experiment:
        """The experiment in a YAML or JSON file, with the journeys that it names, by their files beside it.

        Raises:
            DefinitionError: with every fault of the file and of the journeys, and where each stands.
        """
        from journeylab.journeyfile import read as read_journeys
        from journeylab.journeyfile import text_of
        from journeylab.journeyform import part_of
        from journeylab.yamlsource import Document, documents

        path = Path(path)
        found = documents(text_of(path).text, source=str(path), is_json=path.suffix == ".json")
        document, *more = found or [Document(source=str(path))]
        faults = [*document.faults, *(fault for other in more for fault in other.faults)]
        if more and not faults:
            faults = [Fault((), "a file has one experiment", str(path))]
        if faults:
            raise DefinitionError(faults)
        if not isinstance(document.data, dict) or "experiment" not in document.data:
            raise DefinitionError(
                [document.fault((), "there is no experiment here; it begins with `experiment: NAME`")]
            )
        made, faults = part_of(cls, document.data, document, (), "an experiment")
        if made is None:
            raise DefinitionError(faults)
        files = {made.journey: made.journey} if made.journey is not None else made.journeys
        definitions, portfolio = {}, None
        for arm, file in files.items():
            name, _, one = file.partition("#")
            try:
                read = read_journeys(path.parent / name)
                if made.split == POLICY_HOLDOUT and not one:
                    definitions = {journey.journey: journey for journey in read.journeys}
                else:
                    definitions[arm] = read.one(one or None)
            except DefinitionError as problem:
                faults += problem.faults
                continue
            has_policy = read.policy != Policy()
            if made.journey is not None:
                portfolio = read if has_policy or len(read.journeys) > 1 else None
            elif has_policy:
                says = "has a policy, and compared journeys are replayed without one; move the journey to its own file"
                faults.append(document.fault(("journeys", arm), f"{name} {says}"))
        if faults:
            raise DefinitionError(faults)
        return made.model_copy(update={"definitions": definitions, "portfolio": portfolio})._with_arms(str(path))

    def plan(self, source: Any, **options: Any) -> Plan:
        """What it can find, how long it takes, and how often it would be wrong; see `planning.plan_experiment`."""
        from .planning import plan_experiment

        return plan_experiment(self, source, **options)

    def analyze(self, source: Any, **options: Any) -> Analysis:
        """What it found in the log in which it ran, or in its table; see `analysis.analyze_experiment`."""
        from .analysis import analyze_experiment

        return analyze_experiment(self, source, **options)

    def watch(self, source: Any, *, looks: int = 40, progress: Progress = None, **options: Any) -> Watch:
        """The effect and the arms' ratio as units came in; see `watching.watch`, and `exposed.exposed_units`."""
        from .exposed import exposed_units
        from .watching import watch

        units = exposed_units(self, source, progress=progress, **options).units
        return watch(units, stopping=self.stopping, alpha=self.alpha, looks=looks, progress=progress)

    def _with_arms(self, source: str | None = None) -> Self:
        faults = [Fault(fault.path, fault.message, source) for fault in self._faults()]
        if faults:
            raise DefinitionError(faults)
        return self

    def _faults(self) -> Iterator[Fault]:
        """What does not fit the journey."""
        if self.journey is None:
            return
        if self.split == POLICY_HOLDOUT:
            if not any(self._policy.holdout_of(journey) for journey in self.definitions.values()):
                says = f"the policy holds nobody out of {listed(self.versions)}"
                yield Fault(("split",), f"{says}; give it a holdout, such as policy: {{holdout: 2%}}, before they run")
            elif self.control not in self.arms:
                yield Fault(("control",), f"no arm {self.control!r}; {known(self.control, self.arms, 'arms')}")
            return
        journey = self.definitions[self.journey]
        held = self._policy.holdout_of(journey)
        splits = _splits_of(journey)
        names = [*splits, *([HOLDOUT] if journey.holdout else []), *([POLICY_HOLDOUT] if held else [])]
        if self.split not in names:
            there = known(str(self.split), names, "splits")
            yield Fault(("split",), f"{journey.journey} has no split {self.split!r}; {there}")
            return
        arms = dict.fromkeys([*self.arms, *([HOLDOUT] if journey.holdout or held else [])])
        if self.control not in arms:
            yield Fault(("control",), f"no arm {self.control!r}; {known(self.control, arms, 'arms')}")


def _arms_of(journey: Journey, split: str) -> dict[str, float]:
    """The probability of each arm of a journey's split, among those who are not held out."""
    if split == HOLDOUT:
        return _held_against(journey.holdout)
    return _splits_of(journey).get(split, {})


def _splits_of(journey: Journey, before: str = "") -> dict[str, dict[str, float]]:
    """The arms of each split by its name, those of parts too, as `exposures.split_exposures` calls them."""
    found = {}
    for name, node in journey.nodes.items():
        if isinstance(node, Split):
            arms = {f"{before}{arm}": float(share) for arm, share in node.split.items() if share > 0}
            found[f"{before}{name}"] = arms
        elif isinstance(node, Run) and node.run in journey.parts:
            found |= _splits_of(journey.parts[node.run], f"{before}{name}.")
    return found


def _held_against(holdout: Fraction) -> dict[str, float]:
    """The arms of what is held against a holdout of a share."""
    return {"treated": 1 - float(holdout), HOLDOUT: float(holdout)}

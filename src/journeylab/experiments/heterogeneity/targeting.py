"""Who should be sent which arm: a rule only where it beats, beyond noise, doing the same to everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from journeylab.display import block, counted, plain_rows
from journeylab.display import table as html_table
from journeylab.errors import DataError, known
from journeylab.intervals import mean_and_error
from journeylab.language import formatted, say, sentences_text
from journeylab.policy.decisions import Faults, frame_of, numbers, require
from journeylab.progress import Progress, shown
from journeylab.resulttables import Tables
from journeylab.tablesource import Table

from .uplift import Learner, UpliftModel, later_parts, rows_of

if TYPE_CHECKING:
    from journeylab.offpolicy import Bools, Floats, Ints

__all__ = ["BY_CONTACT", "Recommendation", "recommend"]

BY_CONTACT = "by contact"
"""What the rule is called that sends each contact the arm from which the model expects most."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Recommendation(Tables):
    """Whom to send what, and what speaks for it.

    Attributes:
        choice: an arm, for everybody; or the name of a rule.
        is_rule: whether `choice` is a rule and not one arm for all.
        values: a row for each arm given to all and each rule: `policy` (text), `is_rule`, `value` (mean outcome less
            costs), `standard_error`, `low`, `high`, and for each arm `share of ARM`, to how many of the contacts
            the policy gives it.
        contrasts: paired over the same contacts: `policy`, `against`, `difference` (in value, above 0 where the policy
            is better), `standard_error`, `low`, `high`: each rule against each arm for all, and each arm against the
            control. Intervals are wide enough for all rules, or all arms, to hold at once.
        control: the arm of those who are sent nothing, or what they had before.
        n: contacts it was judged on, who taught the rule nothing before they were judged.
        level: of all intervals.
    """

    _table_names: ClassVar = ("values", "contrasts")

    choice: str
    is_rule: bool
    values: pd.DataFrame
    contrasts: pd.DataFrame
    control: str
    n: int
    level: float

    @property
    def sentence(self) -> str:
        """What to do, and why, in words."""
        if self.is_rule:
            least = self._least(self.choice)
            return say(
                "Send by the rule {rule!r}: it beats every arm for all, {arm!r} by {difference}, {level}.",
                rule=self.choice,
                arm=least["against"],
                difference=_figures(least),
                level=formatted(self.level, ".0%"),
            )
        if self.choice == self.control:
            what = say("Give all {arm!r}: no other arm is shown to be better.", arm=self.choice)
        else:
            mine = self.contrasts.query("policy == @self.choice and against == @self.control").iloc[0]
            what = say(
                "Send {arm!r} to all: better than {control!r} by {difference}, {level}.",
                arm=self.choice,
                control=self.control,
                difference=_figures(mine),
                level=formatted(self.level, ".0%"),
            )
        return sentences_text([what, *(self._on_rule(rule) for rule in self._rules())])

    def _on_rule(self, rule: str) -> str:
        least = self._least(rule)
        if least["low"] > 0:
            return say("The rule {rule!r} beats every arm for all, but another is better.", rule=rule)
        if least["standard_error"] == 0:
            return say("The rule {rule!r} gives all {arm!r}.", rule=rule, arm=least["against"])
        return say(
            "The rule {rule!r} is not shown to beat {arm!r} for all ({difference}): it is not recommended.",
            rule=rule,
            arm=least["against"],
            difference=_figures(least),
        )

    def _least(self, rule: str) -> pd.Series:
        """The contrast with the arm for all that the rule is the least sure to beat."""
        of_rule = self.contrasts[(self.contrasts["policy"] == rule) & ~self.contrasts["against"].isin(self._rules())]
        return of_rule.loc[of_rule["low"].idxmin()]

    def _rules(self) -> list[str]:
        return list(self.values.loc[self.values["is_rule"], "policy"])

    def __repr__(self) -> str:
        what = f"the rule {self.choice!r}" if self.is_rule else f"{self.choice!r} for all"
        return f"Recommendation({what}, judged on {counted(self.n, 'contact')})"

    def _repr_html_(self) -> str:
        names = ["policy", "value", "low", "high"]
        rows = [
            [policy, *(f"{one:.4g}" for one in rest)] for policy, *rest in self.values[names].itertuples(index=False)
        ]
        return block(self.sentence, html_table(names, rows))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "choice": self.choice, "is_rule": self.is_rule, "control": self.control, "n": self.n, "level": self.level,
            "sentence": self.sentence, "values": plain_rows(self.values), "contrasts": plain_rows(self.contrasts),
        }  # fmt: skip


def _figures(row: pd.Series) -> str:
    return say(
        "{effect} ({low} to {high})",
        effect=formatted(row["difference"], ".4g"),
        low=formatted(row["low"], ".4g"),
        high=formatted(row["high"], ".4g"),
    )


class _Experiment(NamedTuple):
    frame: pd.DataFrame
    arms: list[str]
    drawn: Ints
    outcome: Floats
    propensity: Floats
    costs: Floats
    flags: dict[str, Bools]


def recommend(
    frame: Table,
    *,
    features: Sequence[str],
    control: str,
    outcome: str,
    arm: str = "arm",
    arms: Sequence[str] | None = None,
    propensities: Mapping[str, float | str] | None = None,
    rules: Mapping[str, str] | None = None,
    cost: Mapping[str, float] | None = None,
    better: str = "higher",
    learner: Learner = "dr",
    n_parts: int = 5,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress = None,
) -> Recommendation:
    """Whom to send what by a randomised experiment, as a `Recommendation`: by default one arm for all.

    A model learns what each arm does to each contact, and its rule, `by contact`, gives each the arm from which most is
    expected, less its cost. Declared rules are judged beside it. All are judged on parts of the rows of which the model
    knew only earlier ones, by doubly robust scores, paired (see `uplift.later_parts`). A rule is recommended only if it
    beats *every* arm given to all, so none needs to be picked after the fact (the intersection-union test; Berger,
    R. L. (1982), Multiparameter hypothesis testing and acceptance sampling, Technometrics 24, 295-300), each with the
    level shared among the rules that were tried (Bonferroni); `by contact` only if it beats the declared rules that
    do so, too. Otherwise the arm with the highest value is given to all if it beats the control, the level shared among
    arms; or else the control.

    Args:
        frame: a table with a row for each contact, or whatever else arms were drawn for.
        features: columns of what was known of contacts before: numbers, flags or texts; may be missing.
        control: the arm of those who are sent nothing, or what they had before.
        outcome: the column of what came of it: numbers or flags; none missing.
        arm: the column of arms, none missing; numbers are named by their text.
        arms: which arms can be given; by default all in the column. Rows of others are none of its business.
        propensities: for each arm its probability: a number, or a column of them; by default the arms' shares, which
            is right where all contacts had the same chances.
        rules: declared rules: a column of flags, and the arm that those get for whom it holds; others get the control.
        cost: for arms, what one costs in units of the outcome; 0 for those not named.
        better: "higher" or "lower", which outcomes are better; with "lower" costs count as that much more.
        learner: of the uplift models, see `UpliftModel`.
        n_parts: into how many parts the rows are cut; all but the first are judged.
        level: of all intervals, together.
        seed: of all that is drawn.
        progress: `True` for a bar, or what to call with the parts done and in all; see `journeylab.progress`.

    Raises:
        DataError: for unknown columns or arms, missing values, probabilities that do not add up to 1, or too few rows.
        JourneyLabError: when LightGBM is missing.

    >>> rng = np.random.default_rng(1)
    >>> trial = pd.DataFrame({"is_new": rng.random(4000) < 0.5, "arm": rng.choice(["mail", "none"], 4000)})
    >>> effect = np.where(trial["is_new"], 0.2, -0.2) * (trial["arm"] == "mail")
    >>> trial["visit"] = rng.random(4000) < 0.4 + effect
    >>> recommend(trial, features=["is_new"], control="none", outcome="visit").sentence
    "Send by the rule 'by contact': it beats every arm for all, 'mail' by ...
    """
    if better not in ("higher", "lower"):
        raise DataError(f"better={better!r}: it is 'higher' or 'lower'")
    of = _read(frame_of(frame), control, outcome, arm, arms, propensities, rules or {}, cost or {}, better, n_parts)
    rows, scores, by_contact = [], [], []
    with shown(progress, "learning a rule") as tell:
        for before, now in later_parts(len(of.frame), n_parts, seed):
            expected, means = _learnt(of, before, now, features, learner, seed)
            rows.append(now)
            scores.append(_scores(of, now, means) - of.costs)
            by_contact.append(np.argmax(expected - of.costs, axis=1))
            tell(len(rows), n_parts - 1)
    judged = np.concatenate(rows)
    given = {one: np.full(len(judged), code) for code, one in enumerate(of.arms)}
    given |= {name: np.where(flags[judged], of.arms.index((rules or {})[name]), 0) for name, flags in of.flags.items()}
    given[BY_CONTACT] = np.concatenate(by_contact)
    return _recommended(of, given, np.concatenate(scores), 1.0 if better == "higher" else -1.0, level)


def _read(
    frame: pd.DataFrame,
    control: str,
    outcome: str,
    arm: str,
    arms: Sequence[str] | None,
    propensities: Mapping[str, float | str] | None,
    rules: Mapping[str, str],
    cost: Mapping[str, float],
    better: str,
    n_parts: int,
) -> _Experiment:
    require(frame, [("arm", arm), ("outcome", outcome), *(("rules", name) for name in rules)])
    there = sorted({str(one) for one in frame[arm].dropna().unique()}) if arms is None else list(arms)
    treatments = [one for one in there if one != control]
    names = [control, *treatments]
    rows = rows_of(frame, arm, names, n_parts).reset_index(drop=True)
    if not treatments:
        raise DataError(f"only {control!r} is there; a recommendation needs another arm to choose")
    for what, given in (("rules", set(rules.values())), ("cost", set(cost)), ("propensities", set(propensities or {}))):
        for one in sorted(given - set(names)):
            raise DataError(f"{what}: no arm {one!r}; {known(str(one), names, 'arms')}")
    for name in rules:
        if name in names or name == BY_CONTACT:
            raise DataError(f"the rule {name!r} is named like an arm or like the model's own; rename its column")
    faults = Faults(rows)
    y = numbers(rows, outcome, faults, missing="must give an outcome in every row; say 0 where nothing came of it")
    drawn = pd.Categorical(rows[arm], categories=names).codes.astype(np.int64)
    p = _propensities(rows, names, drawn, propensities, faults)
    flags = {
        name: numbers(rows, name, faults, missing="must say of every row whether the rule holds") for name in rules
    }
    for name, values in flags.items():
        faults.rows(name, ~np.isin(values, [0, 1]) & ~np.isnan(values), values, "must hold flags")
    faults.raise_if_any()
    costs = np.array([float(cost.get(name, 0.0)) for name in names])
    sign = 1.0 if better == "higher" else -1.0
    return _Experiment(rows, names, drawn, sign * y, p, costs, {name: values == 1 for name, values in flags.items()})


def _propensities(
    rows: pd.DataFrame,
    names: list[str],
    drawn: Ints,
    propensities: Mapping[str, float | str] | None,
    faults: Faults,
) -> Floats:
    """The probability of each arm: float64 (row, arm)."""
    if propensities is None:
        return np.tile(np.bincount(drawn, minlength=len(names)) / len(drawn), (len(drawn), 1))
    for name in names:
        if name not in propensities:
            raise DataError(f"propensities: none for arm {name!r}; give all, or none where all had the same chances")
    columns = []
    for name in names:
        given = propensities[name]
        if isinstance(given, str):
            require(rows, [("propensities", given)])
            values = numbers(rows, given, faults, missing="must give a probability in every row")
            faults.rows(given, values <= 0, values, "must lie above 0, so that every arm could have been drawn")
        else:
            values = np.full(len(rows), float(given))
            if not given > 0:
                raise DataError(f"propensities: {given} of arm {name!r} must lie above 0")
        columns.append(values)
    p = np.column_stack(columns)
    total = p.sum(axis=1)
    off = np.flatnonzero(np.abs(total - 1) > 1e-6)
    if len(off):
        raise DataError(
            f"the probabilities of the arms must add up to 1; in row {off[0]} they make {total[off[0]]:.6g}"
        )
    return p


def _learnt(
    of: _Experiment, before: Ints, now: Ints, features: Sequence[str], learner: Learner, seed: int
) -> tuple[Floats, Floats]:
    """What each arm adds to the control for each row now, and the outcome with each arm: both float64 (row, arm)."""
    known_rows = of.frame.iloc[before].assign(
        **{_ARM: np.array(of.arms)[of.drawn[before]], _OUTCOME: of.outcome[before]}
    )
    later = of.frame.iloc[now]
    expected, means = np.zeros((len(now), len(of.arms))), np.zeros((len(now), len(of.arms)))
    for code, treated in enumerate(of.arms[1:], start=1):
        two = of.propensity[before][:, [0, code]]
        model = UpliftModel(learner, seed=seed).fit(
            known_rows.assign(**{_CHANCE: two[:, 1] / two.sum(axis=1)}), features=features, arm=_ARM, treated=treated,
            control=of.arms[0], outcome=_OUTCOME, propensity=_CHANCE,
        )  # fmt: skip
        expected[:, code] = model.predict(later)
        outcomes = model.outcomes(later)
        means[:, code], means[:, 0] = outcomes["treated"], outcomes["control"]
    return expected, means


_ARM, _OUTCOME, _CHANCE = "arm (journeylab)", "outcome (journeylab)", "chance (journeylab)"


def _scores(of: _Experiment, now: Ints, means: Floats) -> Floats:
    """The outcome of each row with each arm, doubly robust: float64 (row, arm)."""
    scores = means.copy()
    row, drawn = np.arange(len(now)), of.drawn[now]
    scores[row, drawn] += (of.outcome[now] - means[row, drawn]) / of.propensity[now, drawn]
    return scores


def _recommended(of: _Experiment, given: dict[str, Ints], scores: Floats, sign: float, level: float) -> Recommendation:
    row = np.arange(len(scores))
    by_policy = {name: scores[row, codes] for name, codes in given.items()}
    rules = [name for name in given if name not in of.arms]
    control, treatments = of.arms[0], of.arms[1:]

    def contrast(policy: str, against: str, n_tried: int) -> dict[str, Any]:
        mean, error = mean_and_error(by_policy[policy] - by_policy[against])
        half = NormalDist().inv_cdf(1 - (1 - level) / 2 / n_tried) * error
        return {
            "policy": policy, "against": against, "difference": mean, "standard_error": error,
            "low": mean - half, "high": mean + half,
        }  # fmt: skip

    contrasts = pd.DataFrame(
        [contrast(rule, one, len(rules)) for rule in rules for one in of.arms]
        + [contrast(BY_CONTACT, rule, len(rules)) for rule in rules[:-1]]
        + [contrast(one, control, len(treatments)) for one in treatments]
    )
    low = contrasts.set_index(["policy", "against"])["low"]
    value = {name: float(found.mean()) for name, found in by_policy.items()}
    better = [rule for rule in rules if min(low[rule, one] for one in of.arms) > 0]
    declared = [rule for rule in better if rule != BY_CONTACT]
    if BY_CONTACT in better and all(low[BY_CONTACT, rule] > 0 for rule in declared):
        declared = [BY_CONTACT]
    best_arm = max((one for one in treatments if low[one, control] > 0), key=value.__getitem__, default=control)
    choice = max(declared, key=value.__getitem__, default=best_arm)
    return Recommendation(
        choice=choice,
        is_rule=bool(declared),
        values=_values(of, given, by_policy, sign, level),
        contrasts=contrasts,
        control=control,
        n=len(scores),
        level=level,
    )


def _values(
    of: _Experiment, given: dict[str, Ints], by_policy: dict[str, Floats], sign: float, level: float
) -> pd.DataFrame:
    z = NormalDist().inv_cdf(0.5 + level / 2)
    rows = []
    for name, codes in given.items():
        mean, error = mean_and_error(by_policy[name])
        shares = np.bincount(codes, minlength=len(of.arms)) / len(codes)
        rows.append({
            "policy": name, "is_rule": name not in of.arms, "value": sign * mean, "standard_error": error,
            "low": sign * mean - z * error, "high": sign * mean + z * error,
            **{f"share of {arm}": share for arm, share in zip(of.arms, shares, strict=True)},
        })  # fmt: skip
    return pd.DataFrame(rows)

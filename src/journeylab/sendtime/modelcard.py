"""The model card of send times, as Markdown; it names no contact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.display import counted
from journeylab.sendtimes import LEVELS, SendTimes

if TYPE_CHECKING:
    from .value import SendTimeValue
    from .watching import Watch

__all__ = ["card"]

_LIMITS = (
    "To say when people read: it says at which hour a send is answered more often, as far as drawn hours bear it out.",
    "Where no send went at a drawn hour, or hours could not be told apart: it then advises nothing beyond the evidence "
    "above, and what it shows is when people answered given when they were sent to.",
    "Opens as proof of reading: mail programs and scanners open by machine. Known ones are left out by the machine "
    "rules above; unknown ones are not. Judge by clicks or conversions where there are enough.",
    "One contact at a time: chances and gains are right over many sends. It is no record of when a person is awake or "
    "at work, and must not be used as one.",
    "Other messages, markets or hours than those it was fitted to, and long after: watch it, and keep a share of the "
    "sends exploring, or nothing new can be learned.",
)


def card(times: SendTimes, value: SendTimeValue | None = None, watch: Watch | None = None, data: str = "") -> str:
    """The model card of send times as Markdown: what they are, what they rest on, what they are worth, and are not for.

    Contacts are counted and never named.

    Args:
        times: the send times.
        value: what `evaluate` says of them.
        watch: what became of them since.
        data: what they were fitted to, in words.

    >>> import pandas as pd
    >>> print(card(SendTimes.of_hours(pd.DataFrame({"contact": ["ada"], "hour_of_week": [9]}))))
    # Send times
    <BLANKLINE>
    Hours of the week at which to send, for `at: best`: hours that were given, version `...`.
    <BLANKLINE>
    ...
    """
    about = times.about
    until = str(about.get("until", ""))[:10]
    lines = [
        "# Send times", "",
        f"Hours of the week at which to send, for `at: best`: {about.get('model', 'scores')}, version "
        f"`{times.version}`.",
        "", "## What they rest on", "",
        *([f"- Data: {data}"] if data else []),
        *([f"- Known until {until}; nothing later was looked at"] if until else []),
        *([f"- An answer is `{about['outcome']}`"] if "outcome" in about else []),
        *([f"- Machines are told from people by `{about['machine_rules']}`"] if "machine_rules" in about else []),
        *([f"- {about['n_sends']:,} sends, {about.get('n_random', 0):,} of them at hours that were drawn at random"]
          if "n_sends" in about else []),
        *([f"- Parameters: {_parameters(about['parameters'])}"] if about.get("parameters") else []),
        *([f"- Assumed: {about['assumed']}"] if "assumed" in about else []),
        "- Whether another hour can be said to change anything: " + _yes(about.get("is_causal")),
        *(f"- {note}" for note in about.get("notes", ())),
        "", "## Evidence by level", "",
        *_evidence(times),
        "", "## What they are expected to gain", "",
        *_expected(times),
        "", "## What they are worth", "",
        *(_worth(value) if value is not None else ["Not evaluated."]),
        *(_watched(watch) if watch is not None else []),
        "", "## What they must not be used for", "",
        *(f"- {one}" for one in _LIMITS),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _yes(is_causal: object) -> str:
    if is_causal is None:
        return "not said"
    return "yes, as far as the evidence below goes" if is_causal else "no"


def _parameters(parameters: dict[str, Any]) -> str:
    return ", ".join(f"`{name}` {value}" for name, value in parameters.items())


def _evidence(times: SendTimes) -> list[str]:
    n_of = np.bincount(times.level, minlength=len(LEVELS))
    contacts = {name: f"{n:,}" for name, n in zip(LEVELS, n_of.tolist(), strict=True)}
    rows = [
        (one["level"], f"{one['n_answers']:,}", _number(one["z"], ".2f"), _number(one["p_value"], ".2g"),
         _number(one["lift"], ".2f"), "yes" if one["is_used"] else "no", contacts.get(one["level"], "-"))
        for one in times.about.get("evidence", ())
    ]  # fmt: skip
    if not rows:
        return _markdown(("level", "contacts advised by it"), list(contacts.items()))
    rows.append(("fallback", "-", "-", "-", "-", "-", contacts["fallback"]))
    head = ("level", "answers at drawn hours", "z", "p", "lift", "is used", "contacts advised by it")
    return _markdown(head, rows)


def _expected(times: SendTimes) -> list[str]:
    known = times.gain[np.isfinite(times.gain).all(axis=1)].astype(float)
    if not len(known):
        return ["Nothing can be said."]
    mean, above = known.mean(axis=0), int((known[:, 1] > 0).sum())
    return [
        f"Over the best hour for everyone, by the model itself: {1000 * mean[0]:+.1f} answers per 1,000 sends "
        f"({1000 * mean[1]:+.1f} to {1000 * mean[2]:+.1f}), means over {counted(len(known), 'contact')}; for {above:,} "
        "of them the interval (90%) is above 0. A model's own promise: what counts is the evaluation."
    ]


def _worth(value: SendTimeValue) -> list[str]:
    since = "" if value.since is None else f" from {value.since:%Y-%m-%d} on"
    lines = [
        f"By {value.n_random:,} sends at drawn hours to {counted(value.n_contacts, 'contact')}{since}, an answer being "
        f"`{value.outcome}`, in blocks of {counted(value.slot_hours, 'hour')}:",
        "",
    ]
    if len(value.gains):
        rows = [
            (one.arm, one.against, _number(one.per_thousand, "+.1f"),
             f"{_number(one.per_thousand_low, '+.1f')} to {_number(one.per_thousand_high, '+.1f')}",
             "yes" if one.is_told else "no")
            for one in value.gains.itertuples()
        ]  # fmt: skip
        head = ("arm", "over", "answers per 1,000 sends", f"{value.level:.0%} interval", "can be told from 0")
        lines += [*_markdown(head, rows), ""]
    return [*lines, *(f"- {one}" for one in (*value.sentences, *value.notes))]


def _watched(watch: Watch) -> list[str]:
    lines = ["", f"## What became of them since {watch.since:%Y-%m-%d}", ""]
    lines += [f"- alarm: {alarm.sentence}" for alarm in watch.alarms] or ["- no alarm"]
    for one in watch.calibration[watch.calibration["period"] == "all"].itertuples():
        lines.append(
            f"- {one.n_sends:,} sends were answered {_number(one.ratio, '.2f')} times as often as the scores say "
            f"({watch.level:.0%} {_number(one.low, '.2f')} to {_number(one.high, '.2f')})"
        )
    lines += [f"- {one}" for one in watch.gain.sentences]
    return lines if watch.decision is None else [*lines, f"- {watch.decision}: {watch.reason}"]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def _markdown(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    line = tuple("---" if i == 0 else "--:" for i in range(len(head)))
    cells = [head, line, *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]

"""The send-time explorer: when people answer, how sure that is, and what sending by it would be worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.language import again, formatted, from_english, later, say, sentences_text
from journeylab.sendtime import HabitModel, SendTimeEstimator, evaluate_out_of_time, send_table
from journeylab.sendtime.judging import DRAWN, EVERYONE
from journeylab.sendtimedrawing import LEVEL_WORDS, gain_svg, level_svg, week_svg, week_words
from journeylab.sendtimeplots import are_chances, gain_table, hour_text, level_table, week_table
from journeylab.sendtimes import SendTimes
from journeylab.svgaxes import BLUE, Axes, Tick, drawn, pointed_at, ticks

from .controls import Choice, Control, Stepper
from .explorer import Explorer
from .samplepaths import pseudonym
from .views import SMALLEST, Picture, View

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.sendtime import SendTimeValue

__all__ = ["SendTimeExplorer"]

_EVERYONE, _CONTACT = "everyone", "contact"
_ARM = "own hours"
_MOST_GROUPS = 100
_ARMS = {EVERYONE: later("the best hour for everyone"), DRAWN: later("drawn hours")}
_MARKS = {"+": later("above the mean"), "-": later("below the mean")}


class SendTimeExplorer(Explorer):
    """Shows the hours of the week at which a segment or a contact answers, and what following them is worth.

    Its values are `of` ("everyone", "segment:NAME" or "contact") and, for contacts, `place`: which of them. Its tables
    are `week`, `gains` and `levels` where there are any, and `value`. Hours are local to each contact.

    >>> import pandas as pd
    >>> from journeylab.sendtimes import SendTimes
    >>> explorer = SendTimeExplorer(SendTimes.of_hours(pd.DataFrame({"contact": ["ada"], "hour_of_week": [9]})))
    >>> list(explorer.tables)
    ['week', 'levels']
    """

    def __init__(
        self,
        source: SendTimes | SendTimeEstimator | EventLog,
        *,
        value: SendTimeValue | None = None,
        language: str = "en",
    ) -> None:
        """Shows everyone, or the first contact where nothing is known for everyone.

        Args:
            source: send times; a fitted model, which also has the intervals of a contact's hours; or an event log, to
                which a `HabitModel` is fitted with the default options of `send_table`.
            value: what following them is worth, of `journeylab.sendtime.evaluate`; of a log with sends at drawn hours
                it is worked out.
            language: of the explorer, `en` or `pl`.

        Raises:
            DataError: when there is nothing to learn from, or no contact is known.
        """
        self._is_log = isinstance(source, EventLog)
        if isinstance(source, EventLog):
            sends = send_table(source)
            self._source: SendTimes | SendTimeEstimator = HabitModel().fit(sends)
            if value is None and sends.is_random.any():
                value = evaluate_out_of_time(sends, {_ARM: HabitModel()})
        else:
            self._source = source
        self._worth = value
        self._times = self._source if isinstance(self._source, SendTimes) else self._source.send_times()
        if self._times.fallback < 0 and not len(self._times.contacts):
            raise DataError("these send times know nobody, so there is nothing to show")
        n_gains = int(np.count_nonzero(~np.isnan(self._times.gain[:, 0])))
        self._n_groups = max(1, min(_MOST_GROUPS, n_gains // SMALLEST))
        self._gains, self._levels = gain_table(self._times, most=self._n_groups), level_table(self._times)
        names = [(pseudonym(one), k) for k, one in enumerate(self._times.contacts.to_pylist())]
        self._ordered = [k for _, k in sorted(names)]
        super().__init__({"of": _EVERYONE if self._times.fallback >= 0 else _CONTACT, "place": 0}, language=language)

    def title(self) -> str:
        return say("Send times")

    def controls(self, values: Mapping[str, Any]) -> Sequence[Control]:
        about = self._times.about
        segments = about.get("segments", []) if "segment" in about.get("levels", []) else []
        options = [
            *([(_EVERYONE, say("everyone"))] if self._times.fallback >= 0 else []),
            *((f"segment:{one}", say("segment {name}", name=one)) for one in segments),
            *([(_CONTACT, say("one contact"))] if self._ordered else []),
        ]
        is_one = values["of"] == _CONTACT
        one = Stepper(
            name="place",
            label=say("Which contact"),
            hint="" if is_one or not self._ordered else say("Choose the hours of one contact to go through them."),
            n=len(self._ordered) if is_one else 0,
        )
        return (Choice(name="of", label=say("Hours of"), options=options), one)

    def look(self, values: Mapping[str, Any]) -> View:
        of, about = values["of"], self._times.about
        row = self._ordered[values["place"]] if of == _CONTACT else None
        segment = of.removeprefix("segment:") if of.startswith("segment:") else None
        contact = None if row is None else self._times.contacts[row].as_py()
        week = week_table(self._source, contact=contact, segment=segment)
        who = pseudonym(contact) if row is not None else segment or "everyone"
        pictures = [_week_picture(week, who, about)]
        if (self._gains["gain"].abs() > 0).any():
            pictures.append(_gains_picture(self._gains))
        if len(self._times.contacts):
            pictures.append(_levels_picture(self._levels))
        if self._worth is not None:
            pictures.append(_value_picture(self._worth))
        notes = [say("Hours are local to each contact. Few answers say little: look at the marks and intervals.")]
        notes += [from_english(one) for one in about.get("notes", [])]
        if self._worth is not None:
            notes += [again(one) for one in self._worth.notes]
        worth = say(
            "What sending by it is worth is not known here: that takes sends at drawn hours, and an evaluation."
        )
        if self._worth is not None:
            worth = sentences_text([again(one) for one in self._worth.sentences])
        return View(
            finding=sentences_text([say("{title}.", title=week_words(week, who, about)[0]), worth]),
            pictures=pictures,
            notes=notes,
            code=self._code(row, segment, [one.name for one in pictures]),
        )

    def _code(self, row: int | None, segment: str | None, names: Sequence[str]) -> str:
        lines = [
            "import journeylab as jl",
            "from journeylab.sendtimeplots import gain_table, level_table, week_table",
            "",
        ]
        if self._is_log:
            lines += ["sends = jl.sendtime.send_table(log)", "model = jl.sendtime.HabitModel().fit(sends)"]
        else:
            lines += ["model = source  # what the explorer was given"]
        lines += ["times = model if isinstance(model, jl.SendTimes) else model.send_times()"]
        of = "" if segment is None else f", segment={segment!r}"
        lines += [f"week = week_table(model{of if row is None else f', contact=times.contacts[{row}].as_py()'})"]
        lines += [f"gains = gain_table(times, most={self._n_groups})"] if "gains" in names else []
        lines += ["levels = level_table(times)"] if "levels" in names else []
        if "value" in names and self._is_log:
            lines += [f"worth = jl.sendtime.evaluate_out_of_time(sends, {{{_ARM!r}: jl.sendtime.HabitModel()}})"]
        lines += [f"value = {'worth' if self._is_log else 'value'}.gains"] if "value" in names else []
        return "\n".join([*lines, ""])


def _week_picture(week: pd.DataFrame, who: str, about: dict[str, Any]) -> Picture:
    is_share = are_chances(about)
    return Picture(
        name="week",
        title=say("Hours of the week"),
        svg=week_svg(week, who, about),
        table=week,
        heads={"hour_of_week": say("Local hour"), "chance": say("Chance of an answer") if is_share else say("Score"),
               "low": say("from"), "high": say("to"), "mark": say("Beyond noise")},
        shares=["chance", "low", "high"] if is_share else ["low", "high"],
        texts={"hour_of_week": hour_text, "mark": lambda mark: say(_MARKS[mark]) if mark in _MARKS else ""},
        notes=[say("When people answer is not when they should be mailed: only sends at drawn hours tell what another "
                   "hour would change.")],
    )  # fmt: skip


def _gains_picture(gains: pd.DataFrame) -> Picture:
    return Picture(
        name="gains",
        title=say("What contacts gain by hours of their own"),
        svg=gain_svg(gains),
        table=gains,
        heads={"contact_share": say("Up to"), "n_contacts": say("Contacts"), "gain": say("Gain (points)"),
               "low": say("from"), "high": say("to")},
        hides={"n_contacts": ["gain", "low", "high"]},
        shares=["contact_share"],
        signed=["gain", "low", "high"],
        notes=[say("The greatest of many uncertain gains is smaller than it looks.")],
    )  # fmt: skip


def _levels_picture(levels: pd.DataFrame) -> Picture:
    return Picture(
        name="levels",
        title=say("Where the advice comes from"),
        svg=level_svg(levels),
        table=levels,
        heads={"level": say("Level"), "n_contacts": say("Contacts"), "contact_share": say("Share")},
        hides={"n_contacts": ["contact_share"]},
        shares=["contact_share"],
        texts={"level": lambda level: say(LEVEL_WORDS[level])},
    )


def _value_picture(value: SendTimeValue) -> Picture:
    title = say("What it is worth")
    columns = ("per_thousand", "per_thousand_low", "per_thousand_high")
    return Picture(
        name="value",
        title=title,
        svg=_value_svg(value.gains, title),
        table=value.gains,
        heads={"arm": say("Arm"), "against": say("Against"), columns[0]: say("Answers per 1,000 sends"),
               columns[1]: say("from"), columns[2]: say("to"), "is_told": say("Told from 0")},
        texts={"arm": _arm_text, "against": _arm_text},
        notes=[say("{level} intervals, by {n} sends at drawn hours.", level=formatted(value.level, ".0%"),
                   n=formatted(value.n_random))],
    )  # fmt: skip


def _arm_text(name: str) -> str:
    return say(_ARMS[name]) if name in _ARMS else name


def _value_svg(gains: pd.DataFrame, title: str) -> str:
    rows = [one for one in gains.itertuples() if one.per_thousand == one.per_thousand]
    if not rows:
        return ""
    ends = [x for one in rows for x in (one.per_thousand_low, one.per_thousand_high)]
    scale = ticks(min(0.0, *ends), max(0.0, *ends))
    labels = [say("{arm} over {against}", arm=_arm_text(one.arm), against=_arm_text(one.against)) for one in rows]
    left, height = min(430.0, 16 + 7.0 * max(map(len, labels))), 30.0 * len(rows)
    axes = Axes((scale[0], scale[-1]), (0, 1), left, 8, 680 - left, height)
    marks = [Tick(one, formatted(one, "+,.3g") if one else "0") for one in scale]
    parts = [*axes.grid(say("answers per 1,000 sends"), marks, []), axes.upright(0, "")]
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = axes.top + 30 * place + 15
        a, x, b = axes.places([row.per_thousand_low, row.per_thousand, row.per_thousand_high], np.zeros(3))[0]
        parts.append(f'<text x="{left - 10:.0f}" y="{y + 4:.0f}" text-anchor="end">{escape(label)}</text>')
        shape = (f'<path d="M{a:.1f} {y:.1f}H{b:.1f}" stroke="{BLUE}" stroke-width="2.5"/>'
                 f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{BLUE}"/>')  # fmt: skip
        low, gain, high = (
            formatted(one, "+.1f") for one in (row.per_thousand_low, row.per_thousand, row.per_thousand_high)
        )
        words = say("{label}: {gain} ({low} to {high})", label=label, gain=gain, low=low, high=high)
        parts.append(pointed_at(shape, words))
    return drawn(720, axes.top + height + 44, title, parts)

"""One page of send times: what they rest on, the hours of the week, expected gains, and whether predictions came true.

It opens without a network, reads without scripts and names nobody, as `report` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from .clock import microseconds
from .display import block
from .durations import duration_text, length_text, parse_duration
from .errors import DataError
from .language import (
    count_text,
    current,
    date_text,
    formatted,
    from_english,
    say,
    say_in,
    share_text,
    using,
    weekday_text,
)
from .pages import template
from .sendtimedrawing import LEVEL_WORDS, calibration_svg, gain_svg, level_svg, reliability_svg, week_svg
from .sendtimeplots import DAYS, calibration_table, gain_table, level_table, score_text, week_table

if TYPE_CHECKING:
    import pandas as pd

    from .sendtime.sends import SendTable
    from .sendtimes import SendTimes

__all__ = ["shown", "write_page"]

_MOST_SEGMENTS = 12
_SMALLEST = 5


class _Picture(NamedTuple):
    """A picture, what to know of it, and the table of its numbers: heads and rows of text."""

    heading: str
    note: str
    drawing: Markup
    head: list[str]
    rows: list[list[str]]


def write_page(
    times: SendTimes,
    path: str | Path,
    *,
    sends: SendTable | None = None,
    reliability: pd.DataFrame | None = None,
    language: str | None = None,
) -> Path:
    """Writes the page and returns its path.

    Args:
        times: the send times.
        path: the file to write; its folder is made when it does not exist.
        sends: a `send_table` of a later log, to hold what is predicted against what came after `about["until"]`.
        reliability: `Watch.reliability` of the same sends, to show it by week.
        language: the language of its words, "en" or "pl"; by default the current one of `language`.

    Raises:
        DataError: when the path is a folder, there is no such language, or no send is later than what the send times
            were learned from.
    """
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target} is a folder; name a file in it, such as {target / 'times.html'}")
    with using(language or current()):
        page = _page(times, sends, reliability)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


def shown(times: SendTimes) -> str:
    """Send times as HTML for notebooks: their line, the hours of everyone, expected gains and levels."""
    parts = [] if times.fallback < 0 else [week_svg(week_table(times), "everyone", times.about)]
    gains = gain_table(times)
    if (gains["gain"].abs() > 0).any():
        parts.append(gain_svg(gains))
    if len(times.contacts):
        parts.append(level_svg(level_table(times)))
    return block(repr(times), *parts)


def _page(times: SendTimes, sends: SendTable | None, reliability: pd.DataFrame | None) -> str:
    about = times.about
    pictures = [*_weeks(times), *_gains(times)]
    if sends is not None:
        pictures += _predicted(times, sends, reliability)
    figures = [(formatted(len(times.contacts)), say("contacts"))]
    figures += [
        (formatted(about[name]), what)
        for name, what in (("n_sends", say("sends")), ("n_random", say("sends at drawn hours")))
        if about.get(name) is not None
    ]
    return template("sendtimes.html.j2").render(
        about=about, version=times.version, figures=figures, pictures=pictures, evidence=_evidence(about),
        until=datetime.fromisoformat(about["until"]) if about.get("until") else None,
        within=length_text(parse_duration(about["within"])) if about.get("within") else None,
        notes=[from_english(one) for one in about.get("notes", [])],
        assumed=from_english(about["assumed"]) if about.get("assumed") else None,
        model=about.get("model") or say("scores"),
    )  # fmt: skip


def _weeks(times: SendTimes) -> Iterator[_Picture]:
    names: list[str | None] = [None] if times.fallback >= 0 else []
    if "segment" in times.about.get("levels", []):
        names += times.about.get("segments", [])[:_MOST_SEGMENTS]
    for name in names:
        week = week_table(times, segment=name)
        chance = [score_text(one, times.about) for one in week["chance"]]
        cells = np.array(chance, object) + week["mark"].replace(".", "").to_numpy(object)
        rows = [[f"{hour:02d}:00", *row] for hour, row in enumerate(cells.reshape(7, 24).T.tolist())]
        yield _Picture(
            say("When everyone answers") if name is None else say("When {segment} answers", segment=name),
            say("Hours are local to each contact. A mark: sends at this hour had more or fewer answers than if hours "
                "did not matter, beyond noise over all hours together; neighbouring hours and days of one kind count "
                "together."),
            Markup(week_svg(week, name or "everyone", times.about)),
            [say("hour"), *(weekday_text(day) for day in range(len(DAYS)))], rows,
        )  # fmt: skip


def _gains(times: SendTimes) -> Iterator[_Picture]:
    gains, levels = gain_table(times), level_table(times)
    if len(gains) and (gains["gain"].abs() > 0).any() and int(gains["n_contacts"].min()) >= _SMALLEST:
        rows = [
            [
                formatted(row.contact_share, ".0%"),
                formatted(row.n_contacts),
                *(formatted(100 * one, "+.2f") for one in (row.gain, row.low, row.high)),
            ]
            for row in gains.itertuples()
        ]
        yield _Picture(
            say("What contacts gain by hours of their own"),
            say("Contacts in groups by their expected gain, the greatest first. The greatest of many uncertain gains "
                "is smaller than it looks: judge the whole by an evaluation at drawn hours."),
            Markup(gain_svg(gains)),
            [say("up to"), say("contacts"), say("gain (points)"), _low(), _high()], rows,
        )  # fmt: skip
    if len(times.contacts):
        yield _Picture(
            say("Where the advice comes from"),
            say("The finest level whose hours are better than those of the level below beyond noise."),
            Markup(level_svg(levels)), [say("level"), say("contacts"), say("share")],
            [[say(LEVEL_WORDS[row.level]), count_text(row.n_contacts, _SMALLEST),
              "" if 0 < row.n_contacts < _SMALLEST else share_text(row.contact_share)]
             for row in levels.itertuples()],
        )  # fmt: skip


def _low() -> str:
    return say_in("of an interval", "low")


def _high() -> str:
    return say_in("of an interval", "high")


def _predicted(times: SendTimes, sends: SendTable, reliability: pd.DataFrame | None) -> Iterator[_Picture]:
    until = times.about.get("until")
    is_later = sends.at > (0 if until is None else microseconds(datetime.fromisoformat(until)))
    if not (is_later & sends.is_matured).any():
        raise DataError(
            f"no send of this log is later than {until or 'the start'} and could be looked at for "
            f"{duration_text(sends.within)}, so nothing can be held against what was predicted: give a later log"
        )
    table = calibration_table(times, sends.rows(is_later), before=sends.rows(~is_later))
    yield _Picture(
        say("Predicted and observed"),
        say("Sends since the send times were learned, in groups by the chance that they give them at the hour of "
            "sending."),
        Markup(calibration_svg(table)), [say("predicted"), say("observed"), _low(), _high(), say("sends")],
        [[*(share_text(one) for one in (row.predicted, row.observed, row.low, row.high)), formatted(row.n_sends)]
         for row in table.itertuples()],
    )  # fmt: skip
    if reliability is not None and len(reliability):
        yield _Picture(
            say("Predicted and observed over time"), say("The same by week: where the lines part, fit anew."),
            Markup(reliability_svg(reliability)),
            [say("week from"), say("predicted"), say("observed"), _low(), _high(), say("sends")],
            [[date_text(row.week),
              *(share_text(one) for one in (row.predicted_rate, row.observed_rate, row.low, row.high)),
              formatted(row.n_sends)] for row in reliability.itertuples()],
        )  # fmt: skip


def _evidence(about: dict[str, Any]) -> list[list[str]]:
    forms = {"z": ".1f", "p_value": ".2g", "lift": ".2f"}
    return [
        [
            say(LEVEL_WORDS.get(level := row["level"], level)), formatted(row["n_answers"]),
            *("" if row[name] is None else formatted(row[name], form) for name, form in forms.items()),
            say("used") if row["is_used"] else say("not used") if row["n_answers"] else say_in("of evidence", "none"),
        ]
        for row in about.get("evidence", [])
    ]  # fmt: skip

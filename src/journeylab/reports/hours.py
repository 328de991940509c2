"""The report of send times: when contacts answer, how many have hours of their own, and what came since."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from journeylab.disclosure import Cells, cells, coarse
from journeylab.errors import DataError
from journeylab.language import from_english, later, say, weekday_text
from journeylab.sendtimedrawing import LEVEL_WORDS, week_svg
from journeylab.sendtimeplots import are_chances, week_table
from journeylab.sendtimes import LEVELS

from .asking import Asking, joined, reading
from .flows import number_text, percent, share_of
from .page import Figure, Part, Report, Row

if TYPE_CHECKING:
    from journeylab.disclosure import Disclosed
    from journeylab.sendtime.sends import SendTable
    from journeylab.sendtimes import SendTimes

__all__ = ["hours_report"]

_BLOCK = 3
_ANSWERS = {
    "opened": later("opened"), "clicked": later("clicked"), "converted": later("converted after"),
}  # fmt: skip


class _Week(NamedTuple):
    """The hours of everyone, as coarse as the people allow, and the best of them."""

    table: pd.DataFrame
    best: list[str]


def hours_report(times: SendTimes, sends: SendTable, asking: Asking) -> Report:
    """The report of send times, with the sends of a log: those that they were learned from, or later ones."""
    frame = sends.rows(sends.is_matured).table()
    if frame.empty:
        raise DataError("no send of the log could be looked at for long enough to report on; give a longer log")
    since, until = asking.period(frame["sent_at"].min().to_pydatetime(), sends.until, "UTC")
    frame = frame[(frame["sent_at"] >= since) & (frame["sent_at"] < until)]
    frame = frame.assign(contact=frame["contact"].astype(str), answered=_answered(frame, sends.outcome))
    shown = asking.disclosed(
        [*_tables(times, frame)], f"send times {times.version}", (since, until), "UTC", sends.until
    )
    week = _week(times, shown)
    about = times.about
    answer = say(_ANSWERS.get(sends.outcome, sends.outcome))
    own = _own_share(shown)
    return Report(
        of="send_times",
        title=asking.title or say("When to send"),
        language=asking.language,
        data=asking.data,
        asked=[say("At which hour do contacts answer, and is it worth sending to each at an hour of their own?")],
        answer=joined(_answer(week, own, about)),
        figures=[
            *([Figure(number_text(shown.tables["levels"]["n_within"].iloc[0]), say("contacts with send times"))]
              if "levels" in shown.tables else []),
            *([Figure(own, say("have hours of their own"))] if own else []),
            *([Figure(week.best[0], say("the best hour for everyone"))] if week is not None and week.best else []),
        ],
        drawing="",
        parts=[*_parts(times, shown, week)],
        basis=[
            say("Observed: when mail was sent and whether people {answer} it; what machines do does not count.",
                answer=answer),
            say("Predicted: the chance of an answer at each hour, by the model “{model}”.",
                model=str(about.get("model") or say("scores"))),
            from_english(str(about["assumed"])) if about.get("assumed")
            else say("Assumed: that contacts keep their habits."),
        ],
        unknown=[
            *([] if about.get("is_causal") else
              [say("Whether the hour causes the answer: mail that went out at good hours may have been better mail.")]),
            say("What contacts do at hours at which nothing was ever sent."),
        ],
        next_steps=[
            say("Let a part of the sends explore (`explore: 10%`): only hours that were drawn tell what an hour does."),
            say("Hold the model against sends at drawn hours (`journeylab sendtime evaluate`) before relying on it."),
        ],
        reading=reading(shown, say("Hours are local to each contact.")),
        definition="",
        disclosed=shown,
        tables={**shown.tables, **({} if week is None else {"hours": week.table})},
    )  # fmt: skip


def _answered(frame: pd.DataFrame, outcome: str) -> pd.Series:
    return frame[f"{outcome}_after"].notna().map({True: "yes", False: "no"})


def _tables(times: SendTimes, frame: pd.DataFrame) -> Iterator[Cells]:
    """`levels`: contacts by where their advice comes from; `answers`: by hour of the day, who answered."""
    if len(times.contacts):
        level = pd.DataFrame({"contact": [str(one) for one in times.contacts.to_pylist()],
                              "level": [LEVELS[int(one)] for one in times.level]})  # fmt: skip
        yield cells(level, table="levels", by=["level"], levels={"level": list(LEVELS)})
    hour = frame["hour_of_week"].to_numpy() % 24 // _BLOCK
    names = [_block(place) for place in range(24 // _BLOCK)]
    rows = frame.assign(hours=np.array(names, object)[hour])
    yield cells(rows, table="answers", by=["hours", "answered"], within=["hours"], at="sent_at",
                levels={"hours": names, "answered": ["yes", "no"]})  # fmt: skip


def _block(place: int) -> str:
    return f"{_BLOCK * place:02d}:00-{_BLOCK * (place + 1):02d}:00"


def _week(times: SendTimes, shown: Disclosed) -> _Week | None:
    """The hours of everyone; none where they know nobody, or too few people are behind them."""
    answers = shown.tables.get("answers")
    n = pd.NA if answers is None else answers["n_within"].max()
    if times.fallback < 0 or pd.isna(n):
        return None
    week = week_table(times)
    known = week["chance"].notna()
    size = 1.0 if are_chances(times.about) else float(week["chance"].abs().max())
    week["chance"] = np.where(known, coarse(week["chance"].fillna(0), int(n), size), np.nan)
    order = week[known].sort_values("chance", ascending=False, kind="stable").head(3)
    if week["chance"].nunique() < 2:
        order = order.head(0)
    best = [f"{weekday_text(int(row.hour_of_week) // 24)} {int(row.hour):02d}:00" for row in order.itertuples()]
    return _Week(week[["hour_of_week", "day", "hour", "chance", "low", "high", "mark"]], best)


def _own_share(shown: Disclosed) -> str:
    levels = shown.tables.get("levels")
    if levels is None:
        return ""
    row = levels[levels["level"] == "person"].iloc[0]
    return "" if pd.isna(row["n_contacts"]) else percent(row["contact_share"])


def _answer(week: _Week | None, own: str, about: dict[str, object]) -> Iterator[str]:
    if week is None:
        yield say("These send times say nothing for everyone.")
    elif not week.best:
        yield say("All hours are alike: the log does not bear out that any of them is better for everyone.")
    else:
        yield say("Everyone is best written to at {hours}.", hours=say(" or ").join(week.best))
    if own:
        yield say("{share} of the contacts have hours of their own that the log bears out.", share=own)
    if not about.get("is_causal"):
        yield say(
            "None of this was learned from hours that were drawn by chance, so it may tell when people read mail and "
            "not when it pays to send."
        )


def _parts(times: SendTimes, shown: Disclosed, week: _Week | None) -> Iterator[Part]:
    if week is not None:
        about = {name: one for name, one in times.about.items() if not name.startswith("n_")}  # exact counts stay here
        picture = week_svg(week.table, "everyone", about)
        yield Part(
            say("The hours of the week"), "predicted",
            say("Darker is better; + and - mark hours that differ from the mean beyond noise."), drawing=picture,
        )  # fmt: skip
    table = shown.tables.get("answers")
    if table is not None:
        rows = []
        for _, row in table[table["answered"] == "yes"].iterrows():
            share, interval, bar = share_of(row["n_contacts"], row["n_within"])
            n, of = number_text(row["n_contacts"]), number_text(row["n_within"])
            rows.append(Row((row["hours"], of, n, share, interval), bar))
        yield Part(
            say("Who answered, by the hour of sending"), "observed",
            say("Contacts who were sent mail in these hours, and those of them who answered it."),
            head=[say("hours"), say("contacts"), say("answered"), say("share"), say("95% interval")], rows=rows,
        )  # fmt: skip
    levels = shown.tables.get("levels")
    if levels is not None:
        yield Part(
            say("Where the advice comes from"), "predicted", "",
            head=[say("level"), say("contacts"), say("share")],
            rows=[
                Row((say(LEVEL_WORDS[row["level"]]), number_text(row["n_contacts"]),
                     percent(row["contact_share"])), None)
                for _, row in levels.iterrows()
            ],
        )  # fmt: skip

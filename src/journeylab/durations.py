"""Durations and local times of day as they are written in journeys (rules 2 and 4)."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from .language import duration_words

__all__ = [
    "MICROSECOND_UNITS",
    "duration_text",
    "length_text",
    "parse_duration",
    "parse_time_of_day",
    "time_of_day_text",
]

MICROSECOND_UNITS = {
    "w": 7 * 86_400_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_PART = re.compile(r"(\d+)(us|ms|w|d|h|m|s)")
_WHOLE = re.compile(r"-?(?:\d+(?:us|ms|w|d|h|m|s))+")
_LONGEST = timedelta(days=36_525)
_LONGEST_TEXT = 60
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


def parse_duration(value: object, *, signed: bool = False) -> timedelta:
    """The exact elapsed time that a text such as `"90m"`, `"3d"`, `"2w"` or `"1d12h"` means (rule 2: a day has 24 h).

    A `timedelta` passes as it is. A negative one is refused unless `signed`.

    Raises:
        ValueError: for a bare number, a month or year, or anything else that is no duration.

    >>> parse_duration("3d")
    datetime.timedelta(days=3)
    >>> parse_duration("30")
    Traceback (most recent call last):
    ...
    ValueError: a duration needs a unit, got '30'; write "30d", "12h", "90m", "45s" or "2w"
    """
    if isinstance(value, timedelta):
        result = value
    elif isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f'a duration is a text such as "3d", got {value!r}')
    else:
        text = str(value).strip()
        if re.fullmatch(r"-?[\d.]+", text):
            raise ValueError(f'a duration needs a unit, got {text!r}; write "{text}d", "12h", "90m", "45s" or "2w"')
        if re.fullmatch(r"-?[\d.]+\s*(mo|mon|month|months|y|yr|year|years)", text):
            raise ValueError(f'months and years have no fixed length, got {text!r}; write days, such as "30d"')
        if not _WHOLE.fullmatch(text):
            raise ValueError(
                f'{text!r} is no duration; write a whole number with w, d, h, m, s, ms or us, such as "3d" or "1d12h"'
            )
        if len(text) > _LONGEST_TEXT:
            raise ValueError(f"a duration of {len(text)} characters is no time that anybody waits, got {text[:20]!r}…")
        total = sum(int(n) * MICROSECOND_UNITS[unit] for n, unit in _PART.findall(text))
        if total > _LONGEST // timedelta(microseconds=1):
            raise ValueError(f"a duration has at most {duration_text(_LONGEST)}, a hundred years, got {text!r}")
        result = timedelta(microseconds=-total if text.startswith("-") else total)
    if result < timedelta(0) and not signed:
        raise ValueError(f"a duration here cannot be negative, got {duration_text(result)!r}")
    return result


def duration_text(value: timedelta) -> str:
    """The canonical text of a duration: the largest unit that divides it exactly.

    >>> duration_text(timedelta(hours=48)), duration_text(timedelta(minutes=90)), duration_text(timedelta(0))
    ('2d', '90m', '0s')
    """
    total = value // timedelta(microseconds=1)
    sign, total = ("-", -total) if total < 0 else ("", total)
    if total == 0:
        return "0s"
    for unit, size in MICROSECOND_UNITS.items():
        if total % size == 0 and (unit != "w" or total // size > 1):
            return f"{sign}{total // size}{unit}"
    raise AssertionError("microseconds divide every timedelta")


def length_text(value: timedelta) -> str:
    """A duration of a definition for people: in English as files write it, in other languages in words.

    >>> length_text(timedelta(days=3))
    '3d'
    """
    return duration_words(value, duration_text(value))


def parse_time_of_day(value: object, *, end: bool = False) -> int:
    """The microseconds after midnight of a local time such as `"09:00"` or `"21:30:15"`; `"24:00"` only as an `end`.

    >>> parse_time_of_day("09:00")
    32400000000
    >>> parse_time_of_day("9am")
    Traceback (most recent call last):
    ...
    ValueError: '9am' is no local time; write hours and minutes with two digits each, such as "09:00"
    """
    if end and value == "24:00":
        return MICROSECOND_UNITS["d"]
    found = _time_of_day(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'{value!r} is no local time; write hours and minutes with two digits each, such as "09:00"')
    return found


@lru_cache
def _time_of_day(text: str) -> int | None:
    found = _TIME.fullmatch(text)
    if not found:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return (hours * 3600 + minutes * 60 + seconds) * 1_000_000


def time_of_day_text(microseconds: int) -> str:
    """The text of a local time: `"09:00"`, with seconds only where they are not zero.

    >>> time_of_day_text(32400000000), time_of_day_text(86400000000)
    ('09:00', '24:00')
    """
    seconds = microseconds // 1_000_000
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    return text + (f":{seconds % 60:02d}" if seconds % 60 else "")

"""What people read, said in the current language: texts, counts, numbers, dates and durations.

English stands in the code, as gettext has it, and is what is said by default; the other languages are catalogues in
`languages/`, such as `pl.po`, which `make words` brings up to date and which are read only when they are asked for.
What belongs to a journey's definition (verbs, names of nodes, branches, events and arms) is never translated.

    with using("pl"):                                        everything below is said in Polish
        current()                                            "pl"
        say("Still at {node}.", node="read")                 a whole sentence with values in it
        say_in("of an interval", "low")                      the same word where its meaning needs telling
        plural("{n} entry", "{n} entries", 5)                by the language's forms; `{n}` is the number, as text
        later("held")                                        marks a constant for the catalogue: `say(CONSTANT)` says it
        again(sentence)                                      says anew what was said before in another language
        from_english(note)                                   the same for what a file has kept, as far as it is known
        formatted(1234.5, ",.1f")                            a number by Python's format, with the language's signs
        count_text(3, smallest=5), share_text(0.123)         "<5", "12,3%"
        date_text(at), instant_text(at), weekday_text(0)     dates; instants are in UTC and say so
        duration_words(timedelta(hours=30))                  "30 godz."
        list_text(["a", "b", "c"])                           "a, b i c"

All return plain text that remembers how it came about, so that a sentence which a result has kept can be said `again`
in the language of a page. Whoever adds a text writes it in English with `say`, runs `make words` and translates what
is new in the catalogue. Sentences are whole: languages put words in another order and decline them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from string import Formatter
from typing import TYPE_CHECKING, Any, Final

from .errors import DataError, known

if TYPE_CHECKING:
    from babel import Locale
    from babel.messages.catalog import Catalog

__all__ = [
    "LANGUAGES", "again", "checked", "count_text", "current", "date_text", "duration_words", "formatted",
    "from_english", "instant_text", "later", "list_text", "plural", "plural_of", "say", "say_in", "sentences_text",
    "separators", "share_text", "translation", "using", "weekday_text",
]  # fmt: skip

LANGUAGES: Final = ("en", "pl")
"""The languages that there are, by their codes (ISO 639-1), the one that stands in the code first."""

_CURRENT: ContextVar[str] = ContextVar("language", default="en")
_DAY: Final = 86_400
_NUMBER: Final = re.compile(r"[+\-\N{MINUS SIGN}<>]?\d[\d,]*(?:\.\d+)?%?")
_LEAST_LETTERS: Final = 8
_PLURALS: Final = ("zero", "one", "two", "few", "many", "other")
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


# The current language -----------------------------------------------------------------------------------------------


def checked(language: str) -> str:
    """The language, when there is such.

    Raises:
        DataError: for a language that there is not, with the nearest.

    >>> checked("pl")
    'pl'
    """
    if language not in LANGUAGES:
        raise DataError(f"language {language!r}: {known(language, LANGUAGES, 'languages')}")
    return language


@contextmanager
def using(language: str) -> Iterator[None]:
    """While it is entered, everything is said in this language, in this thread or task.

    Raises:
        DataError: for a language that there is not, with the nearest.

    >>> with using("pl"):
    ...     formatted(0.5, ".1%")
    '50,0%'
    >>> with using("polish"):
    ...     pass
    Traceback (most recent call last):
    ...
    journeylab.errors.DataError: language 'polish': Known languages: en, pl.
    """
    before = _CURRENT.set(checked(language))
    try:
        yield
    finally:
        _CURRENT.reset(before)


def current() -> str:
    """The code of the language in which things are said now.

    >>> current()
    'en'
    """
    return _CURRENT.get()


# Texts --------------------------------------------------------------------------------------------------------------


class _Said(str):
    """A text that remembers how it came about, to be said again in another language."""

    how: tuple[Callable[..., str], tuple[Any, ...], dict[str, Any]]

    def __reduce__(self) -> tuple[Any, ...]:
        return _said, (str(self), *self.how)


def _said(text: str, function: Callable[..., str], given: tuple[Any, ...], named: dict[str, Any]) -> str:
    said = _Said(text)
    said.how = function, given, named
    return said


def say(message: str, /, **values: object) -> str:
    """A text in the current language, with values in it.

    Args:
        message: the text in English, with the names of values in braces; in the code as a constant, so that the
            catalogue has it.
        values: the values by their names. Numbers come as text, by `formatted` and the like.

    >>> say("Still at {node}.", node="read")
    'Still at read.'
    """
    return _said(translation(message).format(**values), say, (message,), values)


def say_in(context: str, message: str, /, **values: object) -> str:
    """As `say`, for a text that has several meanings, which languages may tell apart.

    >>> say_in("of an interval", "low")
    'low'
    """
    return _said(translation(message, context).format(**values), say_in, (context, message), values)


def plural(one: str, many: str, n: float, /, **values: object) -> str:
    """A text about a number, in the form that the language has for it; `{n}` is the number with separated thousands.

    Args:
        one: the English text for 1.
        many: the English text for any other number.
        n: the number.
        values: further values by their names.

    >>> plural("{n} entry", "{n} entries", 1), plural("{n} entry", "{n} entries", 1200)
    ('1 entry', '1,200 entries')
    """
    return _said(plural_of(one, many, n).format(**{"n": formatted(n), **values}), plural, (one, many, n), values)


def later(message: str, /) -> str:
    """The text as it is: marks a constant for the catalogue, which `say` says where it is shown.

    >>> later("held")
    'held'
    """
    return message


def again(text: str) -> str:
    """A text in the current language that was said in any; one that did not come from here as it is.

    >>> kept = say("In {place}.", place="Kraków")
    >>> again(kept), again("as it is")
    ('In Kraków.', 'as it is')
    """
    if not isinstance(text, _Said):
        return text
    function, given, named = text.how
    return function(
        *(again(one) if isinstance(one, str) else one for one in given),
        **{name: again(one) if isinstance(one, str) else one for name, one in named.items()},
    )


def from_english(text: str) -> str:
    """A text that was kept in English, as in a file or a database, in the current language; as it is if nothing fits.

    Whatever the catalogue has is recognised, with values in it, which are said again when they are numbers or texts of
    the catalogue themselves.

    >>> from_english("Nothing says this.")
    'Nothing says this.'
    """
    language = _CURRENT.get()
    if language == LANGUAGES[0]:
        return text
    if _NUMBER.fullmatch(text):
        return text.translate(_signs(language))
    for pattern, function, given in _patterns(language):
        if found := pattern.fullmatch(text):
            values = {name: from_english(value) for name, value in found.groupdict().items()}
            if function is plural:
                return plural(given[0], given[1], int(found["n"].replace(",", "")), **values)
            return function(*given, **values)
    return text


@lru_cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], Callable[..., str], tuple[str, ...]]]:
    """What English texts of the catalogue look like, those that leave the least open first, and how each is said."""
    found: list[tuple[int, re.Pattern[str], Callable[..., str], tuple[str, ...]]] = []
    for one in _messages(language):
        if not isinstance(one.id, str):
            found += [(*_pattern(form, r"\d[\d,]*"), plural, tuple(one.id)) for form in one.id]
        elif one.id:
            n_letters, pattern = _pattern(one.id, r".+?")
            if n_letters < _LEAST_LETTERS:
                continue
            if one.context is None:
                found.append((n_letters, pattern, say, (one.id,)))
            else:
                found.append((n_letters, pattern, say_in, (one.context, one.id)))
    found.sort(key=lambda one: -one[0])
    return [(pattern, function, given) for _, pattern, function, given in found]


def _pattern(message: str, n: str) -> tuple[int, re.Pattern[str]]:
    """How many letters of a message are its own, and what it looks like with values in it; `n` is what a number is."""
    parts, names, n_letters = list[str](), set[str](), 0
    for literal, name, _, conversion in Formatter().parse(message):
        parts.append(re.escape(literal))
        n_letters += len(literal)
        if name is not None:
            value = f"(?P={name})" if name in names else f"(?P<{name}>{n if name == 'n' else '.+?'})"
            parts.append(f"'{value}'" if conversion == "r" else value)
            names.add(name)
    return n_letters, re.compile("".join(parts), re.DOTALL)


def translation(message: str, context: str | None = None) -> str:
    """The text of a message in the current language, with its braces; in English where the catalogue lacks it.

    >>> translation("Still at {node}.")
    'Still at {node}.'
    """
    language = _CURRENT.get()
    if language == LANGUAGES[0]:
        return message
    return str(_catalogue(language).get((context, message), message))


def plural_of(one: str, many: str, n: float) -> str:
    """The form of a message for a number in the current language, with its braces.

    >>> plural_of("{n} entry", "{n} entries", 2)
    '{n} entries'
    """
    language = _CURRENT.get()
    forms: Sequence[str] = (one, many)
    if language != LANGUAGES[0]:
        forms = _catalogue(language).get((None, one), forms)
    if len(forms) == 2:
        return forms[n != 1]
    rule = _locale(language).plural_form
    # The catalogue has its forms in this order; a fraction, which has none there, takes the last.
    names = [name for name in _PLURALS if name in rule.tags]
    form = rule(abs(n))
    return forms[min(names.index(form) if form in names else len(forms) - 1, len(forms) - 1)]


@lru_cache
def _messages(language: str) -> Catalog:
    from importlib.resources import files

    from babel.messages.pofile import read_po

    with (files(__package__) / "languages" / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


@lru_cache
def _catalogue(language: str) -> dict[tuple[str | None, str], Any]:
    """The messages of a language by context and English text; those with a number have a tuple of forms."""
    return {
        (one.context, one.id if isinstance(one.id, str) else one.id[0]): one.string
        for one in _messages(language)
        if one.id and (all(one.string) if isinstance(one.string, tuple) else one.string)
    }


@lru_cache
def _locale(language: str) -> Locale:
    from babel import Locale

    return Locale.parse(language)


# Numbers ------------------------------------------------------------------------------------------------------------


def formatted(value: float, form: str = ",") -> str:
    """A number by one of Python's formats, with the decimal and thousands signs of the current language.

    >>> formatted(1234567), formatted(0.1234, "+.1%")
    ('1,234,567', '+12.3%')
    >>> with using("pl"):
    ...     formatted(1234567.5).replace(chr(160), "_")
    '1_234_567,5'
    """
    text = format(value, form)
    if _CURRENT.get() != LANGUAGES[0] and math.isfinite(value):
        text = text.translate(_signs(_CURRENT.get()))
    return _said(text, formatted, (value, form), {})


def separators() -> str:
    """The decimal and the thousands sign, one after the other, as plotly takes them.

    >>> separators()
    '.,'
    """
    if _CURRENT.get() == LANGUAGES[0]:
        return ".,"
    signs = _signs(_CURRENT.get())
    return f"{signs[ord('.')]}{signs[ord(',')]}"


@lru_cache
def _signs(language: str) -> dict[int, str]:
    symbols = _locale(language).number_symbols["latn"]
    return {ord(","): symbols["group"], ord("."): symbols["decimal"]}


def count_text(n: int, smallest: int = 1) -> str:
    """A count with separated thousands; one below `smallest`, which could single people out, as "<5".

    >>> count_text(12345), count_text(3, smallest=5), count_text(0, smallest=5)
    ('12,345', '<5', '0')
    """
    return _said(f"<{smallest}", count_text, (n, smallest), {}) if 0 < n < smallest else formatted(n)


def share_text(share: float) -> str:
    """A share as a percentage with one decimal; an en dash when it is missing.

    >>> share_text(0.1234), share_text(1.0), share_text(0.0), share_text(0.0002)
    ('12.3%', '100%', '0%', '<0.1%')
    """
    if math.isnan(share):
        return "\N{EN DASH}"
    if share in (0, 1):
        return formatted(share, ".0%")
    if share < 0.0005:
        return _said(f"<{formatted(0.001, '.1%')}", share_text, (share,), {})
    if share >= 0.9995:
        return _said(f">{formatted(0.999, '.1%')}", share_text, (share,), {})
    return formatted(share, ".1%")


def list_text(names: Sequence[str]) -> str:
    """Names as an enumeration.

    >>> list_text(["a", "b", "c"]), list_text(["a"]), list_text([])
    ('a, b and c', 'a', '')
    """
    if len(names) < 2:
        return "".join(names)
    return say("{first} and {last}", first=", ".join(names[:-1]), last=names[-1])


def sentences_text(sentences: Sequence[str]) -> str:
    """Sentences after each other.

    >>> sentences_text(["It is so.", "It was so."])
    'It is so. It was so.'
    """
    return _said(" ".join(sentences), _sentences_text, tuple(sentences), {})


def _sentences_text(*sentences: str) -> str:
    return sentences_text(sentences)


# Dates and durations ------------------------------------------------------------------------------------------------


def date_text(at: date) -> str:
    """A date in figures; of an instant with a time zone, the date in UTC.

    >>> date_text(date(2026, 3, 2))
    '2026-03-02'
    >>> with using("pl"):
    ...     date_text(date(2026, 3, 2))
    '2.03.2026'
    """
    day = _in_utc(at)
    language = _CURRENT.get()
    if language == LANGUAGES[0]:
        text = f"{day:%Y-%m-%d}"
    else:
        from babel.dates import format_date

        text = format_date(day, "short", _locale(language))
    return _said(text, date_text, (at,), {})


def instant_text(at: datetime, *, is_long: bool = False) -> str:
    """An instant in UTC, to the minute, which it says.

    Args:
        at: the instant; one without a time zone is taken as UTC.
        is_long: with the month in words.

    >>> instant_text(datetime(2026, 3, 2, 9, tzinfo=UTC))
    '2026-03-02 09:00 UTC'
    >>> with using("pl"):
    ...     instant_text(datetime(2026, 3, 2, 9, tzinfo=UTC)), instant_text(datetime(2026, 3, 2, 9), is_long=True)
    ('2.03.2026, 09:00 UTC', '2 marca 2026, 09:00 UTC')
    """
    when = _in_utc(at)
    language = _CURRENT.get()
    if language == LANGUAGES[0]:
        text = f"{when.day} {when:%B %Y, %H:%M} UTC" if is_long else f"{when:%Y-%m-%d %H:%M} UTC"
    else:
        from babel.dates import format_date

        text = f"{format_date(when, 'long' if is_long else 'short', _locale(language))}, {when:%H:%M} UTC"
    return _said(text, instant_text, (at,), {"is_long": is_long})


def _in_utc(at: Any) -> Any:
    return at.astimezone(UTC) if isinstance(at, datetime) and at.tzinfo is not None else at


def weekday_text(place: int) -> str:
    """The short name of a day of the week; 0 is Monday.

    >>> weekday_text(0), weekday_text(6)
    ('Mon', 'Sun')
    """
    language = _CURRENT.get()
    english = _WEEKDAYS[place]
    name = english if language == LANGUAGES[0] else str(_locale(language).days["format"]["abbreviated"][place])
    return _said(name, weekday_text, (place,), {})


def duration_words(length: timedelta, written: str | None = None) -> str:
    """A duration for people, in the unit that suits it; the words are such that other words may stand around them.

    Args:
        length: the duration.
        written: how a definition writes it, such as "76h": that is said in English, and elsewhere the duration is not
            rounded.

    >>> duration_words(timedelta(days=4)), duration_words(timedelta(hours=30)), duration_words(timedelta(minutes=1))
    ('4 days', '30 hours', '60 s')
    >>> with using("pl"):
    ...     duration_words(timedelta(hours=76)), duration_words(timedelta(hours=76), "76h")
    ('3,2 dnia', '76 godz.')
    """
    if written is not None and _CURRENT.get() == LANGUAGES[0]:
        text = written
    else:
        text = _length(length.total_seconds(), is_exact=written is not None)
    return _said(text, duration_words, (length, written), {})


def _length(seconds: float, *, is_exact: bool) -> str:
    if seconds == _DAY:
        return say("1 day")
    for size, digits in ((_DAY, 1), (3_600, 1), (60, 0)):
        if seconds < 2 * size or (is_exact and seconds % size):
            continue
        n = formatted(seconds / size, f".{digits}f").removesuffix(".0").removesuffix(",0")
        if size == _DAY:
            return say("{n} days", n=n) if n.isdecimal() else say_in("a fraction", "{n} days", n=n)
        return say("{n} hours", n=n) if size == 3_600 else say("{n} min", n=n)
    return say("{n} s", n=formatted(seconds, "g" if is_exact else ".0f"))

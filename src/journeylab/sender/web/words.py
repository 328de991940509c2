"""The languages in which the pages are said, and which of them a reader would rather have."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["LANGUAGES", "Language", "language_in", "preferred"]

Language: TypeAlias = Literal["en", "pl"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "pl")


def language_in(tag: object) -> Language | None:
    """The language of a tag such as `pl` or `pl-PL`; None where the pages do not speak it."""
    main = str(tag or "").strip().lower().replace("_", "-").partition("-")[0]
    return next((one for one in LANGUAGES if one == main), None)


def preferred(accept_language: str) -> Language | None:
    """The language that a browser would rather have (RFC 9110, 12.5.4), of those that the pages speak.

    >>> preferred("de, pl;q=0.8, en;q=0.9"), preferred("de"), preferred("pl;q=0")
    ('en', None, None)
    """
    found: list[tuple[float, int, Language]] = []
    for place, part in enumerate(accept_language[:500].split(",")):
        tag, _, weight = part.partition(";")
        language = language_in(tag)
        try:
            quality = float(weight.strip().lower().removeprefix("q=") or 1)
        except ValueError:
            continue
        if language is not None and quality > 0:
            found.append((-quality, place, language))
    return min(found)[2] if found else None

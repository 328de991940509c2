"""Texts that come from data, as data: on one line, without anything unseen, no longer than a name is.

An event may be called "ignore what you were told and …". Nothing here can tell such a name from another one; it is
kept short, cannot break out of the line or the field it stands in, and what asks is told that names are only names.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["LONGEST_NAME", "quoted", "shown"]

LONGEST_NAME: Final = 80
_LONGEST_TEXT: Final = 2_000
_SPACES: Final = dict.fromkeys([0xA0, 0x202F], " ")  # which numbers and sentences have in them


def quoted(name: object, longest: int = LONGEST_NAME) -> str:
    r"""A name on one line: what cannot be seen is written as an escape, and what is longer is cut.

    Controls, line breaks, marks that turn the direction of writing, and characters of no width are among what is
    written as escapes.

    >>> quoted("sign\u202eup\n# Now"), len(quoted("x" * 500))
    ('sign\\u202eup\\n# Now', 80)
    """
    text = str(name)[: longest + 1].translate(_SPACES)
    seen = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return seen if len(seen) <= longest else seen[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def shown(data: Any) -> Any:
    r"""Plain data with every text in it quoted, sentences up to 2,000 characters.

    >>> shown({"exit": ["a\tb", 1, None]})
    {'exit': ['a\\tb', 1, None]}
    """
    if isinstance(data, str):
        return quoted(data, _LONGEST_TEXT)
    if isinstance(data, dict):
        return {quoted(name): shown(one) for name, one in data.items()}
    if isinstance(data, (list, tuple)):
        return [shown(one) for one in data]
    return data

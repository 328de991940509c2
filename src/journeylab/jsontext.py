"""JSON texts from outside as plain data: whatever is wrong with one is a ValueError, and nothing else is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

__all__ = ["DEEPEST", "data_of"]

DEEPEST: Final = 100
"""How deep lists and objects may lie in each other: far more than anything has that is meant."""
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")


def data_of(
    text: str | bytes, *, made: Callable[[list[tuple[str, Any]]], Any] | None = None, halves: bool = False
) -> Any:
    r"""The data in a JSON text (RFC 8259), bytes as UTF-8.

    Stricter than Python's reader: there is no NaN and no infinity, no half of a surrogate pair, which no database and
    no file can hold, and no more than a hundred levels, on which what comes after could run out of stack.

    Args:
        text: the text.
        made: makes an object of its pairs, instead of `dict`.
        halves: whether halves of surrogate pairs are let in, for whoever refuses only the part that has one.

    Raises:
        ValueError: for anything else, saying in a few words what is wrong.

    >>> data_of('{"a": [1, "x"]}')
    {'a': [1, 'x']}
    >>> data_of("[" * 5000)
    Traceback (most recent call last):
    ...
    ValueError: it is nested more than 100 levels deep
    """
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        data = json.loads(plain, parse_constant=_no_number, object_pairs_hook=made)
        if not halves and (_HALF.search(plain) or not plain.isascii()):
            json.dumps(data, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair in it, which is no text") from None
    except json.JSONDecodeError:
        raise
    except ValueError as problem:
        said = str(problem)
        raise ValueError(said if "JSON" in said else "it has a number of more than 4,300 digits") from None
    _check(data)
    return data


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _check(data: Any) -> None:
    """Refuses what is nested too deeply, and numbers beyond what a float holds, which are read as infinite."""
    level = [data]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
            elif isinstance(one, float) and one in (float("inf"), float("-inf")):
                raise ValueError("it has a number beyond 1.8e308")
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")

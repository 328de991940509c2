"""Templates of HTML pages, which say things in the current language as `language` does.

In a template `say`, `say_in` and `plural` take texts that may have tags in them, and values, which are escaped;
`current()` is the language for `lang`. What is given to a page has been said already and is escaped as a whole.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from .language import (
    count_text,
    current,
    date_text,
    duration_words,
    formatted,
    instant_text,
    plural_of,
    share_text,
    translation,
)

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup

__all__ = ["template"]


def template(name: str, package: str = "journeylab") -> Template:
    """The template of this name among those of a package.

    >>> template("charts.html.j2").environment.globals["say"]("<b>{n}</b>", n="<5")
    Markup('<b>&lt;5</b>')
    """
    return _environment(package).get_template(name)


@lru_cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        say=_say, say_in=_say_in, plural=_plural, current=current, formatted=formatted, count_text=count_text,
        share_text=share_text, date_text=date_text, instant_text=instant_text, duration_words=duration_words,
    )  # fmt: skip
    return environment


def _say(message: str, /, **values: object) -> Markup:
    return _markup(translation(message), values)


def _say_in(context: str, message: str, /, **values: object) -> Markup:
    return _markup(translation(message, context), values)


def _plural(one: str, many: str, n: float, /, **values: object) -> Markup:
    return _markup(plural_of(one, many, n), {"n": formatted(n), **values})


def _markup(message: str, values: dict[str, object]) -> Markup:
    from markupsafe import Markup

    return Markup(message).format(**values)

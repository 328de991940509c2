"""Templates of HTML pages, which say things in the current language as `language` does.

In a template `say`, `say_in` and `plural` take texts that may have tags in them, and values, which are escaped;
`current()` is the language for `lang`. What is given to a page has been said already and is escaped as a whole.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError
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

__all__ = ["RestyledPage", "template"]


def template(name: str, package: str = "journeylab") -> Template:
    """The template of this name among those of a package.

    >>> template("charts.html.j2").environment.globals["say"]("<b>{n}</b>", n="<5")
    Markup('<b>&lt;5</b>')
    """
    return _environment(package).get_template(name)


class RestyledPage:
    """The template of this name in a folder, or else ours, which those there may extend as `journeylab/NAME`.

    What stands in the folder is somebody else's: it runs in Jinja2's sandbox, and its faults are said with their place.
    """

    def __init__(self, name: str, folder: Path | str | None) -> None:
        from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, PrefixLoader
        from jinja2.sandbox import SandboxedEnvironment

        if folder is not None and not Path(folder).is_dir():
            raise DataError(f"{folder} is no folder of templates")
        ours = PackageLoader("journeylab")
        theirs = [] if folder is None else [FileSystemLoader(folder)]
        self._name = name
        self._environment = _said_in(
            SandboxedEnvironment(
                loader=ChoiceLoader([*theirs, ours, PrefixLoader({"journeylab": ours})]),
                **_OPTIONS,
                undefined=_strict(),
            )
        )

    def render(self, **given: object) -> str:
        """The page.

        Raises:
            DataError: when a template is at fault.
        """
        import traceback

        from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

        try:
            return self._environment.get_template(self._name).render(**given)
        except TemplateSyntaxError as problem:
            raise DataError(f"{problem.filename or problem.name}, line {problem.lineno}: {problem.message}") from None
        except TemplateNotFound as problem:
            raise DataError(f"there is no template {problem.name}, neither in the folder nor among ours") from None
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as problem:
            frames = [
                one for one in traceback.extract_tb(problem.__traceback__) if one.filename.endswith((".j2", ".css"))
            ]
            place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else f"template {self._name}"
            raise DataError(f"{place}: {problem}") from None


_OPTIONS: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}


def _strict() -> Any:
    from jinja2 import StrictUndefined

    return StrictUndefined


@lru_cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader

    return _said_in(Environment(loader=PackageLoader(package), undefined=_strict(), **_OPTIONS))


def _said_in(environment: Environment) -> Environment:
    """The environment with what its templates say things by."""
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

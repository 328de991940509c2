"""How templates are read and run: Jinja2's sandbox, in which what is missing never becomes text in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import FunctionLoader, StrictUndefined, Undefined, pass_context
from jinja2.exceptions import UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

__all__ = ["MARKUP", "Missing", "environment"]

MARKUP = (".html", ".mjml")
"""The endings of templates in which values are escaped."""


class _Unknown(StrictUndefined):
    """A name that nobody gives; the error it raises holds the name, and nothing where that might be a value."""

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name or "") if self._undefined_obj is missing else ""


class Missing(Undefined):
    """A declared value that this contact does not have: it can be tested and given a default, but not be written.

    It is false, equals nothing, and `is defined` and `default` take it for undefined.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)

    def __str__(self) -> str:
        self._fail_with_undefined_error()

    def __iter__(self) -> Iterator[Any]:
        self._fail_with_undefined_error()

    def __len__(self) -> int:
        self._fail_with_undefined_error()

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return id(self)


@pass_context  # which keeps Jinja2 from computing constants, however large, while it compiles
def _written(_context: Context, value: Any) -> Any:
    if value is None:
        raise UndefinedError
    if isinstance(value, Undefined):
        str(value)
    return value


def environment(sources: Mapping[str, str]) -> ImmutableSandboxedEnvironment:
    """The environment of some templates by file name.

    Values are escaped in HTML and MJML, names must be known, None is never written, and nothing is left to chance.
    """

    def source(name: str) -> tuple[str, str, None] | None:
        return (sources[name], name, None) if name in sources else None

    env = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(source),
        undefined=_Unknown,
        autoescape=lambda name: name is not None and name.endswith(MARKUP),
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
        optimized=False,
    )
    del env.filters["random"], env.globals["lipsum"]
    env.tests["none"] = lambda value: value is None or isinstance(value, Missing)
    return env

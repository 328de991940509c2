"""The journey canvas: a journey drawn and edited in marimo, JupyterLab and VS Code, and read-only in a plain page.

`Canvas` is the widget (`journey.edit()` makes one), `page` writes a read-only picture as one HTML file. What is drawn
is always the definition: `canvas.journey` is the journey, `canvas.to_yaml()` its text with the comments that it had.

The browser's part is in `static/`, built from `js/` by `make widgets`. It draws plain data: what options there are is
said by `forms`, what is at fault by `drafts`, what names there are by `vocabulary`, and numbers are laid over by
`layers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journeylab.errors import JourneyLabError

if TYPE_CHECKING:
    from .pages import page
    from .widget import Canvas

__all__ = ["Canvas", "page"]


def __getattr__(name: str) -> Any:
    if name == "Canvas":
        try:
            from .widget import Canvas
        except ModuleNotFoundError as error:
            if error.name not in ("anywidget", "ipywidgets", "traitlets"):
                raise
            raise JourneyLabError('the canvas needs anywidget: pip install "journeylab[notebook]"') from None
        return Canvas
    if name == "page":
        from .pages import page

        return page
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

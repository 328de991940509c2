"""A journey on a plain page: the canvas, read-only, in one HTML file that needs no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from journeylab.language import checked as checked_language
from journeylab.language import using
from journeylab.pages import template

from .drafts import draft_of
from .layers import Over, laid
from .views import STATIC, still

if TYPE_CHECKING:
    from journeylab.journey import Journey

__all__ = ["page", "page_text"]


def page(journey: Journey, path: str | Path, *over: Over, height: int = 640, language: str = "en") -> Path:
    """Writes a page that shows a journey and can be moved about and enlarged, and returns its path.

    It is the canvas that notebooks have, read-only; it opens without a network and asks nobody for anything.

    Args:
        journey: what is shown.
        path: the file to write; its folder is made when it does not exist.
        *over: results on it to choose from as layers; see `Canvas.lay`. They are aggregates, and small ones are shown:
            for a page that may leave the house, make a report.
        height: of the drawing, in pixels.
        language: `en` or `pl`.

    Raises:
        DataError: when there is no such language, or a number of the journey is not exact in a browser.
    """
    html = page_text(journey, *over, height=height, language=language)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(html, encoding="utf-8")
    return target


def page_text(journey: Journey, *over: Over, height: int = 640, language: str = "en") -> str:
    """The HTML of such a page."""
    with using(checked_language(language)):
        shown = still(draft_of(journey), laid(journey, over), height)
        return template("canvas.html.j2").render(
            title=journey.title or journey.journey,
            style=Markup((STATIC / "canvas.css").read_text(encoding="utf-8")),
            bundle=Markup((STATIC / "canvas.js").read_text(encoding="utf-8")),
            shown=Markup(json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c")),
        )

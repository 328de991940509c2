"""What the browser is told: the draft, its faults, names and forms, as the traits of the widget and of a page."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from journeylab.language import current

from .forms import forms, words
from .vocabulary import of_journey, of_log

if TYPE_CHECKING:
    from .drafts import Draft

__all__ = ["STATIC", "as_sent", "checked", "still"]

STATIC = files("journeylab.canvas") / "static"
"""Where the bundles are."""


def as_sent(value: dict[str, Any]) -> dict[str, Any]:
    """Plain data: what was said by `language` as mere text, which every notebook's own encoding knows."""
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


def checked(draft: Draft) -> dict[str, Any]:
    """What the library says of a draft: `faults`, `facts` of nodes, `triggers`, and the `version` of a sound one."""
    return {
        "faults": [{"journey": name, "path": list(one.path), "message": one.message} for name, one in draft.faults],
        "facts": draft.facts(),
        "triggers": draft.triggers(),
        "version": None if draft.faults or draft.stand_in is None else draft.stand_in.version,
    }


def still(draft: Draft, layers: dict[str, Any], height: int) -> dict[str, Any]:
    """All that the browser needs to show a draft that nobody edits."""
    return {
        "document": draft.document(),
        "checked": checked(draft),
        "layers": layers,
        "forms": forms(),
        "vocabulary": {**of_journey(draft.stand_in, of_log(None)), "timezones": []},
        "words": words(),
        "language": current(),
        "read_only": True,
        "height": height,
        "selected": "",
    }

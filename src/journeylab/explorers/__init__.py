"""Explorers: widgets with controls at the left and answers at the right, in marimo, JupyterLab and VS Code alike.

    jl.explorers.ReplayExplorer(journey, log) a slider for every number of a journey, and what comes of it
    jl.explorers.SegmentExplorer(log)        who a condition finds: size over time, overlap, what distinguishes them

Every picture has its table (`explorer.tables`), every finding is a sentence, and each explorer gives the code that
gives the same in Python (`explorer.code`) and writes itself as one HTML page (`explorer.save`). What is shown is
counted in Python; the browser's part is in `static/`, built from `js/` by `make widgets`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from journeylab.errors import JourneyLabError

if TYPE_CHECKING:
    from .contrasts import attribute_contrasts
    from .replayexplorer import ReplayExplorer
    from .samplepaths import sample_paths
    from .segmentexplorer import SegmentExplorer

__all__ = ["ReplayExplorer", "SegmentExplorer", "attribute_contrasts", "sample_paths"]

_MODULE_OF = {
    "ReplayExplorer": "replayexplorer",
    "SegmentExplorer": "segmentexplorer",
    "attribute_contrasts": "contrasts",
    "sample_paths": "samplepaths",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in ("anywidget", "ipywidgets", "traitlets"):
            raise
        raise JourneyLabError('explorers need anywidget: pip install "journeylab[notebook]"') from None


def __dir__() -> list[str]:
    return __all__

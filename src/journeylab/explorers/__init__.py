"""Explorers: widgets with controls at the left and answers at the right, in marimo, JupyterLab and VS Code alike.

    jl.explorers.ReplayExplorer(journey, log) a slider for every number of a journey, and what comes of it
    jl.explorers.PathExplorer(result)         one contact under a pseudonym: each step of a replay, and why
    jl.explorers.SegmentExplorer(log)         who a condition finds: size over time, overlap, what distinguishes them
    jl.explorers.SendTimeExplorer(times)      when people answer, and what sending by it is worth
    jl.explorers.ExperimentWatcher(e, log)    what an experiment said as of any day
    jl.explorers.ReleaseMonitor(store)        what runs, its forecast beside what has come, what stands still

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
    from .experimentwatcher import ExperimentWatcher
    from .pathexplorer import PathExplorer
    from .releasemonitor import ReleaseMonitor, release_tables
    from .replayexplorer import ReplayExplorer
    from .samplepaths import sample_paths
    from .segmentexplorer import SegmentExplorer
    from .sendtimeexplorer import SendTimeExplorer
    from .steps import contact_path

__all__ = [
    "ExperimentWatcher", "PathExplorer", "ReleaseMonitor", "ReplayExplorer", "SegmentExplorer", "SendTimeExplorer",
    "attribute_contrasts", "contact_path", "release_tables", "sample_paths",
]  # fmt: skip

_MODULE_OF = {
    "ExperimentWatcher": "experimentwatcher",
    "PathExplorer": "pathexplorer",
    "ReleaseMonitor": "releasemonitor",
    "ReplayExplorer": "replayexplorer",
    "SegmentExplorer": "segmentexplorer",
    "SendTimeExplorer": "sendtimeexplorer",
    "attribute_contrasts": "contrasts",
    "contact_path": "steps",
    "release_tables": "releasemonitor",
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

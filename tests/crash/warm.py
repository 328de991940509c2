"""Everything that a runner imports, and the machine compiled: loaded once, by the process that forks the runners."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

from journeylab.sender.live.ticks import tick
from journeylab.sender.process import WhatRuns

from . import runner  # noqa: F401
from .world import SETTINGS, feed, promoted


def _warm() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = promoted(f"sqlite:///{Path(folder) / 'warm.db'}")
        feed(store, 1)
        tick(store, WhatRuns(SETTINGS))
        store.close()
    gc.collect()
    gc.freeze()  # what is never looked at again is never copied to the forked processes


_warm()

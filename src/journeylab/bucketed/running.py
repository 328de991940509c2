"""Work on each bucket of a log, in as many processes as the budget of memory holds, resumed where it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.logcache import cache_folder
from journeylab.progress import Tell

from .budget import said
from .log import BucketedLog

__all__ = ["Work", "each_bucket", "kept"]

R = TypeVar("R")
Work: TypeAlias = Callable[[EventLog, int, Path], R]
"""What is done with a bucket: called with it, its number, and the folder for files that are kept with the results.

Work that has `plain` and `made`, from a result to JSON and, with the bucket's number and the folder, back, is kept.
"""

WORTH_PROCESSES: Final = 500_000
"""With fewer events than this, starting processes takes longer than the work."""
_KEPT_NS: Final = 7 * 86_400 * 10**9


@contextmanager
def kept(log: BucketedLog, key: object) -> Iterator[Path]:
    """A folder for what is found in each bucket; who is stopped finds it again, who ends well leaves nothing.

    `key` is what the results rest on beside the log, as JSON; with None nothing is found again.
    """
    if key is None:
        with tempfile.TemporaryDirectory(prefix="journeylab-") as temporary:
            yield Path(temporary)
        return
    named = hashlib.sha256(json.dumps([log.identity, key], sort_keys=True, default=str).encode()).hexdigest()[:32]
    folder = cache_folder() / ".buckets" / named
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    _drop_forgotten(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _drop_forgotten(folder: Path) -> None:
    """Removes what was kept a week before this folder was last used and has not been asked for since."""
    last = folder.stat().st_mtime_ns - _KEPT_NS
    for other in folder.parent.iterdir():
        with suppress(OSError):  # another process does the same
            if other.stat().st_mtime_ns < last:
                shutil.rmtree(other)


def each_bucket(log: BucketedLog, work: Work[R], folder: Path, tell: Tell) -> list[R]:
    """What the work makes of each bucket, in order; what `folder` has already is not done again.

    Buckets are worked on in processes of their own, as many as there are processors and as the log's budget of memory
    holds; in this one where it holds one only.

    Raises:
        DataError: when the budget does not hold a single bucket, or a process ended before its work was done.
    """
    found = {k: one for k in range(log.n_buckets) if (one := _found(work, k, folder)) is not None}
    todo = [k for k in range(log.n_buckets) if k not in found]
    tell(len(found), log.n_buckets)
    n = min(log.n_processes(), len(todo))
    alone = n <= 1 or log.n_events < WORTH_PROCESSES
    for k, result in _one_by_one(log, work, folder, todo) if alone else _beside(log, work, folder, todo, n):
        found[k] = result
        tell(len(found), log.n_buckets)
    return [found[k] for k in range(log.n_buckets)]


def _one_by_one(log: BucketedLog, work: Work[R], folder: Path, todo: list[int]) -> Iterator[tuple[int, R]]:
    for k in todo:
        yield k, _done(log, work, k, folder)


def _beside(log: BucketedLog, work: Work[R], folder: Path, todo: list[int], n: int) -> Iterator[tuple[int, R]]:
    from concurrent.futures import as_completed

    from loky import ProcessPoolExecutor
    from loky.process_executor import TerminatedWorkerError

    pool = ProcessPoolExecutor(n, timeout=60, initializer=_begin, initargs=(log, work, folder))
    try:
        places = {pool.submit(_in_process, k): k for k in todo}
        for future in as_completed(places):
            yield places[future], future.result()
    except TerminatedWorkerError:
        raise DataError(
            f"{log.folder}: a process ended before its bucket was done, most likely for want of memory; the budget is "
            f"{said(log.memory)}, give less: what is done already is kept"
        ) from None
    finally:
        pool.shutdown(kill_workers=True)


_begun: list[tuple[BucketedLog, Work[Any], Path]] = []
"""What this process was started for."""


def _begin(log: BucketedLog, work: Work[Any], folder: Path) -> None:
    _begun.append((log, work, folder))


def _in_process(k: int) -> Any:
    log, work, folder = _begun[-1]
    return _done(log, work, k, folder)


def _done(log: BucketedLog, work: Work[R], k: int, folder: Path) -> R:
    """What the work makes of a bucket, kept as a whole or not at all."""
    result = work(log.bucket(k), k, folder)
    if hasattr(work, "plain"):
        new = folder / f".{k}-{os.getpid()}"
        new.write_text(json.dumps(work.plain(result)), encoding="utf-8")
        new.replace(_result_file(folder, k))
    return result


def _found(work: Work[R], k: int, folder: Path) -> R | None:
    """What is kept of a bucket; None where nothing is."""
    if not hasattr(work, "made") or not _result_file(folder, k).exists():
        return None
    made: R = work.made(json.loads(_result_file(folder, k).read_text(encoding="utf-8")), k, folder)
    return made


def _result_file(folder: Path, k: int) -> Path:
    return folder / f"bucket-{k:04}.json"

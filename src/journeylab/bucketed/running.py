"""Work on each bucket of a log, in as many processes as the budget of memory holds, resumed where it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
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
"""What is done with a bucket: called with it, its number, and the folder for files that are kept with the results."""

WORTH_PROCESSES: Final = 500_000
"""With fewer events than this, starting processes takes longer than the work."""
_WORK: Final = "work"
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
    todo = [k for k in range(log.n_buckets) if not _result_file(folder, k).exists()]
    n_done = log.n_buckets - len(todo)
    tell(n_done, log.n_buckets)
    n = min(log.n_processes(), len(todo))
    alone = n <= 1 or log.n_events < WORTH_PROCESSES
    for _ in _one_by_one(log, work, folder, todo) if alone else _beside(log, work, folder, todo, n):
        n_done += 1
        tell(n_done, log.n_buckets)
    return [_read(_result_file(folder, k)) for k in range(log.n_buckets)]


def _one_by_one(log: BucketedLog, work: Work[Any], folder: Path, todo: list[int]) -> Iterator[None]:
    for k in todo:
        _keep(_result_file(folder, k), work(log.bucket(k), k, folder))
        yield


def _beside(log: BucketedLog, work: Work[Any], folder: Path, todo: list[int], n: int) -> Iterator[None]:
    from concurrent.futures import as_completed

    import cloudpickle
    from loky import ProcessPoolExecutor
    from loky.process_executor import TerminatedWorkerError

    (folder / _WORK).write_bytes(cloudpickle.dumps((log, work)))
    pool = ProcessPoolExecutor(n, timeout=60)
    try:
        futures = [pool.submit(_in_process, str(folder), k) for k in todo]
        for future in as_completed(futures):
            future.result()
            yield
    except TerminatedWorkerError:
        raise DataError(
            f"{log.folder}: a process ended before its bucket was done, most likely for want of memory; the budget is "
            f"{said(log.memory)}, give less: what is done already is kept"
        ) from None
    finally:
        pool.shutdown(kill_workers=True)


@lru_cache(1)
def _work_in(folder: str) -> tuple[BucketedLog, Work[Any]]:
    """The log and the work that a process was started for."""
    found: tuple[BucketedLog, Work[Any]] = pickle.loads((Path(folder) / _WORK).read_bytes())
    return found


def _in_process(folder: str, k: int) -> None:
    log, work = _work_in(folder)
    _keep(_result_file(Path(folder), k), work(log.bucket(k), k, Path(folder)))


def _result_file(folder: Path, k: int) -> Path:
    return folder / f"bucket-{k:04}.done"


def _keep(path: Path, result: object) -> None:
    """Keeps a result as a whole or not at all."""
    import cloudpickle

    new = path.with_suffix(f".{os.getpid()}")
    new.write_bytes(cloudpickle.dumps(result))
    new.replace(path)


def _read(path: Path) -> Any:
    return pickle.loads(path.read_bytes())

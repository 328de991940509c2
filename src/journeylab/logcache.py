"""Prepared logs on disk, so that the next session starts at once.

An entry is a folder of `.npy` and Arrow files, which are mapped into memory when they are read. Its name is a hash of
everything that it was made from, so an entry is never stale; the least recently used go when there is too much. A
cache that cannot be written is no error: the log is then prepared again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .eventindex import Occurrences
from .logreading import Prepared, Properties

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Entry", "cache_folder", "entry_for", "finish_writing", "load", "save"]

_FORMAT = 1
_MOST_BYTES = 5_000_000_000
_DAY_NS = 86_400 * 10**9
# One thread: entries are written in the order in which they were made, beside the work that goes on.
_writer = ThreadPoolExecutor(1, thread_name_prefix="journeylab-cache")
_pending: list[Future[None]] = []


def cache_folder() -> Path:
    """The folder of all entries: `JOURNEYLAB_CACHE`, else the user's cache folder of the platform."""
    if named := os.environ.get("JOURNEYLAB_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "journeylab" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "journeylab"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "journeylab"


def finish_writing() -> None:
    """Waits until everything given to the cache so far is on disk."""
    while _pending:
        _pending.pop().result()


@dataclass(frozen=True)
class Entry:
    """One prepared log on disk, whether it is there already or not."""

    path: Path

    @property
    def is_there(self) -> bool:
        """Whether the entry is complete; one that is counts as used now."""
        finish_writing()
        if not (self.path / "meta.json").exists():
            return False
        with contextlib.suppress(OSError):
            os.utime(self.path)
        return True

    def meta(self) -> dict[str, Any]:
        """What was written beside the arrays."""
        found: dict[str, Any] = json.loads((self.path / "meta.json").read_text(encoding="utf-8"))
        return found

    def array(self, name: str) -> NDArray[Any]:
        """An array, mapped into memory; what is written to it stays in memory."""
        mapped: NDArray[Any] = np.asarray(np.load(self.path / f"{name}.npy", mmap_mode="c", allow_pickle=False))
        return mapped

    def table(self, name: str) -> pa.Table:
        """A table, mapped into memory."""
        import pyarrow as pa

        with pa.memory_map(str(self.path / f"{name}.arrow")) as file:
            return pa.ipc.open_file(file).read_all()

    def arrays(self, name: str) -> list[NDArray[Any]] | None:
        """Arrays that were added later, or `None`."""
        if not (self.path / f"{name}.0.npy").exists():
            return None
        n = len(list(self.path.glob(f"{name}.*.npy")))
        return [self.array(f"{name}.{i}") for i in range(n)]

    def write(
        self, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], tables: Mapping[str, pa.Table]
    ) -> None:
        """Writes the entry in the background, all of it or nothing."""

        def write(folder: Path) -> None:
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
            for name, table in tables.items():
                _write_table(folder / f"{name}.arrow", table)
            (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")

        self._in_background(write)

    def add(self, name: str, arrays: Sequence[NDArray[Any]]) -> None:
        """Adds arrays to the entry in the background."""

        def write(folder: Path) -> None:
            for i, array in enumerate(arrays):
                np.save(folder / f"{name}.{i}.npy", array, allow_pickle=False)

        self._in_background(write)

    def _in_background(self, write: Callable[[Path], None]) -> None:
        def work() -> None:
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.path.parent))
                try:
                    write(new)
                    self._install(new)
                finally:
                    shutil.rmtree(new, ignore_errors=True)
                _drop_oldest(self.path.parent, _MOST_BYTES)

        _pending.append(_writer.submit(work))

    def _install(self, new: Path) -> None:
        if (new / "meta.json").exists():
            if not self.path.exists():
                new.rename(self.path)
        elif self.path.exists():
            # The first of several arrays is what `arrays` looks for: it comes last.
            for file in sorted(new.iterdir(), reverse=True):
                file.replace(self.path / file.name)


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _drop_oldest(folder: Path, most: int) -> None:
    """Removes the least recently used entries until the folder holds no more than `most` bytes.

    What a process left unfinished that was stopped while it wrote goes, too, a day before the newest entry.
    """
    entries = [
        (one.stat().st_mtime_ns, one) for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")
    ]
    sizes = {one: sum(file.stat().st_size for file in one.iterdir()) for _, one in entries}
    total = sum(sizes.values())
    newest = max(entries)[0] if entries else 0
    for unfinished in folder.glob(".new-*"):
        if unfinished.stat().st_mtime_ns < newest - _DAY_NS:
            shutil.rmtree(unfinished, ignore_errors=True)
    for _, one in sorted(entries)[:-1]:
        if total <= most:
            return
        shutil.rmtree(one, ignore_errors=True)
        total -= sizes[one]


def entry_for(sources: Sequence[Any], arguments: Mapping[str, Any], cache: bool | str | Path | None) -> Entry | None:
    """The entry for files as they are now, read with certain arguments; `None` when some are no local files.

    `cache` is `False` for no cache, a folder, or else `cache_folder()` is used.
    """
    files = []
    for source in sources:
        if source is None:
            continue
        if not isinstance(source, str | Path) or "://" in str(source):
            return None
        path = Path(source).expanduser()
        files += sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if cache is False or not files or not all(file.is_file() for file in files):
        return None
    folder = Path(cache) if isinstance(cache, str | Path) else cache_folder()
    states = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    text = json.dumps([_FORMAT, states, sources[-1] is None, dict(arguments)], sort_keys=True)
    return Entry(folder / hashlib.sha256(text.encode()).hexdigest()[:32])


def save(entry: Entry, prepared: Prepared, properties: Properties | None) -> None:
    """Writes a prepared log in the background; `properties` only where reading them again would take long."""
    import pyarrow as pa

    arrays = dict(prepared.occurrences._asdict())
    if prepared.keep is not None:
        arrays["keep"] = prepared.keep
    tables = {
        "contacts": pa.table({"contact": prepared.contact_ids}),
        "attributes": prepared.attributes,
        "rejects": prepared.rejects,
    }
    meta: dict[str, Any] = {
        "event_names": prepared.event_names,
        "has_received": prepared.has_received,
        "span": prepared.span,
    }
    if properties is not None:
        received = ["received_at"] if prepared.has_received else []
        names = [*properties.names, *received]
        tables["properties"] = properties.read_table(names)
        meta |= {"properties": properties.names, "source": properties.source}
    entry.write(meta, arrays, tables)


def load(entry: Entry) -> tuple[Prepared, Properties | None]:
    """A prepared log, mapped into memory, with its properties if they were written, too."""
    meta = entry.meta()
    ids = entry.table("contacts")["contact"]
    occurrences = Occurrences(*(entry.array(name) for name in Occurrences._fields))
    prepared = Prepared(
        event_names=meta["event_names"],
        contact_ids=ids.combine_chunks() if ids.num_chunks != 1 else ids.chunk(0),
        occurrences=occurrences,
        attributes=entry.table("attributes"),
        rejects=entry.table("rejects"),
        has_received=meta["has_received"],
        keep=entry.array("keep") if (entry.path / "keep.npy").exists() else None,
        span=(meta["span"][0], meta["span"][1]),
    )
    if "properties" not in meta:
        return prepared, None
    table = entry.table("properties")
    return prepared, Properties(meta["properties"], table.select, meta["source"])

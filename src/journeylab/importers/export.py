"""What another system has exported: data whose every part knows its place, and what of it was read.

A part is asked for what it must have, in the type that it must have; what is missing or of another type is a fault with
its place. What nobody has asked for is known at the end (`unread`), so that no setting is dropped in silence.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from journeylab.errors import DefinitionError, Fault, known
from journeylab.jsontext import data_of

__all__ = ["Export", "Malformed", "Part", "Place", "read_export"]

Place: TypeAlias = tuple[str | int, ...]
MOST_BYTES: Final = 50 * 2**20
"""How large an export may be, unpacked: far more than any journey is."""
_NEEDED: Final = object()


class Malformed(Exception):
    """Ends the reading of one part; `fault` says where and why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Export:
    """An export that is being read.

    Attributes:
        data: it as plain data.
        source: the file's name, in messages.
        files: the data of further files that came with it, by name.
        faults: what is wrong with it, as far as it was read.
        timezone: the zone that the caller has said its local times are of, where the export does not say; or None.
        attributes: the attributes of contacts that stand for what it names, by what that is.
    """

    def __init__(
        self,
        data: Any,
        source: str = "the export",
        *,
        timezone: str | None = None,
        files: Mapping[str, Any] | None = None,
    ) -> None:
        self.data, self.source, self.timezone, self.files = data, source, timezone, dict(files or {})
        self.faults: list[Fault] = []
        self.attributes: dict[Hashable, str] = {}
        self._parts: dict[Place, Part] = {}

    @property
    def top(self) -> Part:
        """The export as one object.

        Raises:
            DefinitionError: when it is none.
        """
        return self.part_of(self.data, ())

    def part_of(self, data: Any, place: Place) -> Part:
        """A part of the export from its data.

        Raises:
            Malformed: when it is no object.
        """
        if not isinstance(data, dict):
            raise self.malformed(place, f"there must be an object here, not {_kind(data)}")
        return self._parts.setdefault(place, Part(self, data, place))

    def malformed(self, place: Place, message: str) -> Malformed:
        """A fault, to be raised."""
        return Malformed(Fault(place, message, self.source))

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes a fault of what is read inside, and goes on after it, so that all faults are told at once."""
        try:
            yield
        except Malformed as problem:
            self.faults.append(problem.fault)

    def check(self) -> None:
        """Ends the reading where anything was at fault.

        Raises:
            DefinitionError: with every fault that was noted.
        """
        if self.faults:
            raise DefinitionError(self.faults)

    def unread(self) -> Iterator[tuple[Place, Any]]:
        """What nobody has looked at, with its place, but for what is empty."""
        for part in self._parts.values():
            for key, value in part.data.items():
                if key not in part.seen and value not in (None, "", [], {}, False):
                    yield (*part.place, key), value


class Part:
    """An object of an export. Every method notes which key it looked at; `key` names one of them.

    Attributes:
        data: the object.
        place: where it is, from the top of the export.
        seen: the keys that were looked at.
    """

    def __init__(self, export: Export, data: Mapping[str, Any], place: Place) -> None:
        self.export, self.data, self.place = export, data, place
        self.seen: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Whether there is a value, which may be false but is not null."""
        return self.data.get(key) is not None

    def raw(self, key: str, default: Any = None) -> Any:
        """The value as it is, with all that is in it."""
        self.seen.add(key)
        found = self.data.get(key)
        return default if found is None else found

    def text(self, key: str, default: Any = _NEEDED) -> str:
        """A text; a whole number counts as one, as ids are written both ways."""
        found = self._get(key, default)
        if isinstance(found, str) or (isinstance(found, int) and not isinstance(found, bool)):
            return str(found)
        raise self._refused(key, found, "a text")

    def optional(self, key: str) -> str | None:
        """A text, or None where there is none or an empty one."""
        return self.text(key, "") or None

    def number(self, key: str, default: Any = _NEEDED) -> float:
        """A number; one that is written as a text counts."""
        found = self._get(key, default)
        if isinstance(found, str):
            try:
                found = float(found)
            except ValueError:
                raise self._refused(key, found, "a number") from None
        if isinstance(found, int | float) and not isinstance(found, bool) and isfinite(found):
            return found
        raise self._refused(key, found, "a number")

    def whole(self, key: str, default: Any = _NEEDED) -> int:
        """A whole number."""
        found = self.number(key, default)
        if found != int(found):
            raise self.malformed(f"there must be a whole number here, not {found}", key)
        return int(found)

    def flag(self, key: str, default: bool | object = _NEEDED) -> bool:
        """True or false, also as the texts and numbers that exports write for them."""
        found = self._get(key, default)
        said = {"true": True, "false": False, "1": True, "0": False}.get(str(found).lower())
        if said is None:
            raise self._refused(key, found, "true or false")
        return said

    def choice(self, key: str, of: Iterable[str], what: str, default: Any = _NEEDED) -> str:
        """One of some texts; `what` is what they are, in the plural."""
        found, of = self.text(key, default), list(of)
        if found not in of and found != default:
            raise self.malformed(f"{found!r} is none of the {what} that are known; {known(found, of, what)}", key)
        return found

    def part(self, key: str) -> Part:
        """An object that must be there."""
        return self.export.part_of(self._get(key, _NEEDED), (*self.place, key))

    def optional_part(self, key: str) -> Part | None:
        """An object, or None where there is none."""
        self.seen.add(key)
        return self.part(key) if self.data.get(key) not in (None, [], "") else None

    def parts(self, key: str, *, needed: bool = False) -> list[Part]:
        """The objects of a list; none where there is no list, unless one is needed."""
        found = self._get(key, _NEEDED if needed else [])
        if not isinstance(found, list):
            raise self.malformed(f"there must be a list here, not {_kind(found)}", key)
        return [self.export.part_of(one, (*self.place, key, i)) for i, one in enumerate(found)]

    def values(self, key: str) -> list[Any]:
        """The texts, numbers and flags of a list; a single one counts as a list of one."""
        found = self._get(key, [])
        listed = found if isinstance(found, list) else [found]
        for i, one in enumerate(listed):
            if not isinstance(one, str | int | float):
                raise self.export.malformed(
                    (*self.place, key, i), f"there must be a text or a number here, not {_kind(one)}"
                )
        return listed

    def skip(self, *keys: str) -> None:
        """Notes keys that say nothing about what a journey does: ids, dates of edits, places on a screen."""
        self.seen.update(keys)

    def malformed(self, message: str, key: str | None = None) -> Malformed:
        """A fault of this part, to be raised."""
        return self.export.malformed(self.place if key is None else (*self.place, key), message)

    def _get(self, key: str, default: Any) -> Any:
        self.seen.add(key)
        found = self.data.get(key)
        if found is None and default is _NEEDED:
            raise self.malformed("this is missing", key)
        return default if found is None else found

    def _refused(self, key: str, found: Any, wanted: str) -> Malformed:
        return self.malformed(f"there must be {wanted} here, not {_kind(found)}", key)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "a flag", type(None): "nothing"}
    return names.get(type(value)) or repr(value)[:60]


def read_export(path: str | Path, *, timezone: str | None = None) -> Export:
    """The export in a JSON file, or in a ZIP archive that has one; others in the archive are its `files`.

    Args:
        path: the file.
        timezone: the zone of its local times, where it does not say.

    Raises:
        DefinitionError: when there is no such file, or it is none.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            _refuse(path, f"it has more than {MOST_BYTES // 2**20} MB, which no journey needs")
        files = _archive(path) if zipfile.is_zipfile(path) else {path.name: path.read_bytes()}
    except OSError as problem:
        _refuse(path, f"cannot be read: {problem.strerror or problem}")
    found: dict[str, Any] = {}
    for name, text in files.items():
        try:
            found[name] = data_of(text)
        except ValueError as problem:
            where = "" if name == path.name else f"{name}: "
            _refuse(path, f"{where}it is no JSON: {str(problem)[:200]}")
    if not found:
        _refuse(path, "there is no JSON file in this archive")
    name, *others = found
    return Export(found[name], str(path), timezone=timezone, files={other: found[other] for other in others})


def _archive(path: Path) -> dict[str, bytes]:
    """The JSON files of an archive, by name, as far as all of them together are small enough."""
    files: dict[str, bytes] = {}
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            for one in archive.infolist():
                if not one.filename.lower().endswith(".json"):
                    continue
                with archive.open(one) as file:
                    text = file.read(left + 1)
                left -= len(text)
                if left < 0:
                    _refuse(path, f"it unpacks to more than {MOST_BYTES // 2**20} MB, which no journey needs")
                files[one.filename] = text
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as problem:
        _refuse(path, f"the archive cannot be unpacked: {str(problem)[:100]}")
    return files


def _refuse(path: Path, message: str) -> NoReturn:
    raise DefinitionError([Fault((), message, str(path))])

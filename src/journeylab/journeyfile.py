"""Journey files: reading YAML and JSON into checked journeys, and writing them back without touching what is the same.

A file holds one journey; or `journeys:`, a list, with an optional `policy:` and shared `segments:`; or several YAML
documents of these forms. A journey that `run` names is in the same file or in NAME.yaml, .yml or .json beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml.nodes import Node

from .check import faults_of, segment_faults
from .errors import DefinitionError, Fault, known
from .journey import Journey, Policy, Portfolio, Run, Segment
from .journeyform import Form, form_of, part_of, segments_of
from .journeytext import block_text, child, rewritten, text_of_journey, with_text
from .yamlsource import Document, documents
from .yamlsource import Path as Place

__all__ = ["fault_at", "holding", "journey_from_data", "read", "read_texts", "save", "to_json"]

SUFFIXES = (".yaml", ".yml", ".json")


def journey_from_data(data: Mapping[str, Any], source: str | None = None) -> Journey:
    """The journey that plain data describes, as `Journey.data` gives it; its meaning is not checked.

    Raises:
        DefinitionError: with every fault of the form.

    >>> journey_from_data({"journey": "hello", "trigger": {"event": "signup"}, "nodes": {"done": {"exit": "seen"}}})
    Journey('hello', 1 nodes, on signup, version ...)
    """
    form = form_of(data, Document(source=source))
    if form.faults or form.journey is None:
        raise DefinitionError(form.faults)
    return form.journey


def to_json(journey: Journey) -> str:
    """The JSON text of a journey; its parts and shared segments are not in it."""
    return json.dumps(journey.data(), indent=2, ensure_ascii=False) + "\n"


def read(path: str | Path) -> Portfolio:
    """The checked journeys of a YAML or JSON file, with the parts they run and the segments they share.

    Raises:
        DefinitionError: with every fault of the file and of the files of its parts, and where each stands.
    """
    return _portfolio(_Reading(), Path(path))


def _portfolio(reading: _Reading, path: Path) -> Portfolio:
    file = reading.file(path)
    journeys = [reading.checked(file, entry) for entry in file.entries]
    if reading.faults or None in journeys:
        raise DefinitionError(sorted(reading.faults, key=_place_order))
    return Portfolio(journeys=tuple(one for one in journeys if one is not None), policy=file.policy)


def read_texts(texts: Mapping[str, str], name: str) -> Portfolio:
    """The checked journeys of one of some texts, each by the name of a file; no file is read.

    Args:
        texts: YAML, or JSON where the name ends in .json, of one folder; parts are looked for in them alone.
        name: the text to read.

    Raises:
        DefinitionError: with every fault of the text and of those of its parts, and where each stands; when there is
            no text of that name.

    >>> hello = "{journey: hello, trigger: {event: signup}, nodes: {done: {exit: seen}}}"
    >>> read_texts({"hello.yaml": hello}, "hello.yaml").journeys
    (Journey('hello', 1 nodes, on signup, version ...),)
    """
    if name not in texts:
        raise DefinitionError([Fault((), f"no such file; {known(name, texts, 'journey files there')}", name)])
    return _portfolio(_Reading({Path(one): text for one, text in texts.items()}), Path(name))


def save(journey: Journey, path: str | Path) -> None:
    """Writes a journey to a YAML or JSON file, the kind told by the suffix.

    In a file that exists the journey of that name is changed where it differs, and nothing else: comments, order,
    blanks and quotes stay, and an unchanged file is not written at all.

    Raises:
        DefinitionError: when the file exists and does not hold this journey, or is at fault itself.
    """
    path = Path(path)
    if not path.exists():
        new = to_json(journey) if path.suffix == ".json" else text_of_journey(journey)
        path.write_bytes(new.encode())
        return
    before = text_of(path)
    after = _changed_text(before.text, journey, path)
    if after != before.text:
        path.write_bytes(before.encoded(after))


@dataclass
class _Entry:
    """One journey of a file: its document, where it lies in it, and its form."""

    document: Document
    prefix: Place
    form: Form
    node: Node | None = None

    @property
    def name(self) -> str | None:
        """The name as it is written, whatever else of the journey is at fault."""
        written = self.form.data.get("journey") if isinstance(self.form.data, Mapping) else None
        return written if isinstance(written, str) else None


@dataclass
class _File:
    """One journey file: its journeys, and what they share."""

    path: Path
    text: str = ""
    entries: list[_Entry] = field(default_factory=list)
    shared: dict[str, Segment] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    faults: list[Fault] = field(default_factory=list)


class _FileText(NamedTuple):
    """The text of a file with plain line ends; and its own line ends and byte order mark, to write it back alike."""

    text: str
    line_end: str
    mark: str

    def encoded(self, text: str) -> bytes:
        """Another text as the bytes of this file."""
        return (self.mark + text.replace("\n", self.line_end)).encode()


def text_of(path: Path) -> _FileText:
    """The text of a journey file.

    Raises:
        DefinitionError: when there is no such file, or it cannot be read as UTF-8.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        beside = path.parent.glob("*") if path.parent.is_dir() else ()
        names = known(path.name, [other.name for other in beside if other.suffix in SUFFIXES], "journey files there")
        raise DefinitionError([Fault((), f"no such file; {names}", str(path))]) from None
    except OSError as error:
        raise DefinitionError([Fault((), f"cannot be read: {error.strerror}", str(path))]) from None
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DefinitionError([Fault((), "a journey file is UTF-8 text, and this is not", str(path), line)]) from None
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    line_end = "\r\n" if "\r\n" in text else "\n"
    return _FileText(text.removeprefix(mark).replace("\r\n", "\n"), line_end, mark)


def _file_of(text: str, path: Path) -> _File:
    """The form of every journey in a text, with all faults of the text and the forms."""
    file = _File(path, text)
    for document in documents(text, source=str(path), is_json=path.suffix == ".json"):
        at_fault = {fault.path for fault in document.faults}
        file.faults += document.faults
        if document.node is not None and () not in at_fault:
            found = list(_forms(file, document))
            file.faults += [fault for fault in found if fault.path not in at_fault]
    if not file.entries and not file.faults:
        file.faults.append(Fault((), "there is no journey in this file", str(path)))
    file.faults += _twice(file)
    return file


def _forms(file: _File, document: Document) -> Iterator[Fault]:
    """Adds what one document holds to the file, and gives the faults of its form."""
    data = document.data
    if not isinstance(data, Mapping) or ("journey" not in data and "journeys" not in data):
        yield document.fault((), "a journey file begins with `journey: NAME`, or lists several under `journeys:`")
        return
    if "journeys" not in data:
        form = form_of(data, document)
        file.entries.append(_Entry(document, (), form, document.node))
        yield from form.faults
        return
    keys = ("journeys", "policy", "segments")
    for key in data:
        if key not in keys:
            message = f"beside `journeys` there is no {key!r}; {known(key, keys, 'keys')}"
            yield document.fault((key,), message, at_key=True)
    listed = data["journeys"]
    if not isinstance(listed, list) or not listed:
        yield document.fault(("journeys",), "journeys is a list of journeys, each beginning with `- journey: NAME`")
        listed = []
    for i, one in enumerate(listed):
        form = form_of(one, document, ("journeys", i))
        file.entries.append(_Entry(document, ("journeys", i), form, child(child(document.node, "journeys"), i)))
        yield from form.faults
    shared, faults = segments_of(data.get("segments", {}), document, ("segments",))
    file.shared |= shared
    yield from faults
    if not faults:
        yield from (document.fault(f.path, f.message) for f in segment_faults(shared, file.shared))
    policy, faults = part_of(Policy, data.get("policy", {}), document, ("policy",), "policy")
    file.policy = policy or file.policy
    yield from faults


def _twice(file: _File) -> Iterator[Fault]:
    names: set[str] = set()
    for entry in file.entries:
        if entry.name in names:
            yield entry.document.fault((*entry.prefix, "journey"), f"two journeys are named {entry.name!r}")
        names |= {entry.name} if entry.name else set()


class _Reading:
    """The reading of a file and of the files of its parts, each once; from a folder, or from texts that are at hand."""

    def __init__(self, texts: Mapping[Path, str] | None = None) -> None:
        self._texts = texts
        self.faults: list[Fault] = []
        self._files: dict[Path, _File] = {}
        self._checked: set[int] = set()

    def file(self, path: Path) -> _File:
        """The file at a path; its faults are taken over."""
        if path not in self._files:
            try:
                file = _file_of(text_of(path).text if self._texts is None else self._texts[path], path)
            except DefinitionError as error:
                file = _File(path, faults=list(error.faults))
            self._files[path] = file
            self.faults += file.faults
        return self._files[path]

    def checked(self, file: _File, entry: _Entry, around: tuple[str, ...] = ()) -> Journey | None:
        """The journey of an entry, with its parts; the faults of its meaning are taken over."""
        if entry.form.journey is None:
            return None
        journey = entry.form.journey
        parts: dict[str, Journey] = {}
        within = (*around, journey.journey)
        unread: set[Place] = set()
        for name, node in journey.nodes.items():
            if isinstance(node, Run) and node.run not in parts and node.run not in within:
                part = self._part(file, entry, ("nodes", name, "run"), node.run, within)
                parts |= {node.run: part} if part is not None else {}
                unread |= {("nodes", name, "run")} if part is None else set()
        journey = journey.model_copy(update={"parts": parts, "shared": file.shared})
        if entry.node is not None and file.path.suffix != ".json":
            text = block_text(file.text, entry.node)
            journey = journey if text is None else with_text(journey, text)
        if id(entry) not in self._checked:
            self._checked.add(id(entry))
            for fault in faults_of(journey, unclear=entry.form.unclear, around=around):
                # A part's own faults are told where the part is written; one that cannot be read was told already.
                if fault.path[0] != "parts" and fault.path not in unread:
                    self.faults.append(entry.document.fault((*entry.prefix, *fault.path), fault.message))
        return journey

    def _part(self, file: _File, entry: _Entry, place: Place, name: str, around: tuple[str, ...]) -> Journey | None:
        """The journey that `run` names, in the same file or beside it; a fault where there is none."""
        of_name = [file.path.with_name(name + suffix) for suffix in SUFFIXES]
        beside = [path for path in of_name if (path.is_file() if self._texts is None else path in self._texts)]
        for path in (file.path, *beside):
            there = self.file(path)
            for other in there.entries:
                if other.name == name:
                    return self.checked(there, other, around)
            if there.faults and path != file.path:
                return None
        names = [other.name for other in file.entries if other.name] + [
            path.stem for path in self._beside(file.path) if path.suffix in SUFFIXES and path != file.path
        ]
        message = f"no journey {name!r} in this file or in {name}.yaml beside it; {known(name, names, 'journeys')}"
        self.faults.append(entry.document.fault((*entry.prefix, *place), message))
        return None

    def _beside(self, path: Path) -> Iterable[Path]:
        return path.parent.iterdir() if self._texts is None else self._texts


def _place_order(fault: Fault) -> tuple[str, int, int]:
    return fault.source or "", fault.line or 0, fault.column or 0


def holding(name: str, path: Path) -> Path:
    """The file that holds a journey, or is to hold it: that at a path, or the one of its name beside it."""
    beside = [path.with_name(name + suffix) for suffix in SUFFIXES]
    for file in (path, *beside):
        if file.is_file() and any(one.name == name for one in _file_of(text_of(file).text, file).entries):
            return file
    return beside[0]


def fault_at(path: Path, name: str, place: Place, message: str) -> Fault:
    """A fault in a journey of a file, with its line; what is below `parts` is looked for in the part's own file.

    Raises:
        DefinitionError: when the file cannot be read.
    """
    if place[:1] == ("parts",):
        part = str(place[1])
        return fault_at(holding(part, path), part, place[2:], message)
    entries = _file_of(text_of(path).text, path).entries
    places = [(one.document, (*one.prefix, *place)) for one in entries if one.name == name]
    if place[:1] == ("segments",):  # which may be the surrounding file's
        places = [*places, *((one.document, place) for one in entries)]
        places = [one for one in places if one[1] in one[0].values] or places
    return places[0][0].fault(places[0][1], message) if places else Fault(place, message, str(path))


def _changed_text(text: str, journey: Journey, path: Path) -> str:
    """The text of a file with one of its journeys changed."""
    file = _file_of(text, path)
    entry = next((one for one in file.entries if one.name == journey.journey), None)
    if file.faults:
        raise DefinitionError([*file.faults, Fault((), "not written over, as it is at fault itself", str(path))])
    if entry is None or entry.form.journey is None or entry.node is None:
        names = known(journey.journey, [one.name for one in file.entries], "journeys in it")
        raise DefinitionError(
            [Fault((), f"not written over, as it holds no journey {journey.journey!r}; {names}", str(path))]
        )
    before, after = entry.form.journey.data(), journey.data()
    if before == after and list(before["nodes"]) == list(after["nodes"]):
        return text
    if path.suffix == ".json":
        return _changed_json(text, entry, after)
    new = rewritten(text, lambda one: _node_of(one, path, journey.journey), before, after)
    changed = _entry(new, path, journey.journey)
    written = changed.form.journey if changed is not None else None
    if written is None or written.data() != after or list(written.nodes) != list(journey.nodes):
        raise DefinitionError([Fault((), "cannot be changed in place; save the journey to a new file", str(path))])
    return new


def _node_of(text: str, path: Path, name: str) -> Node | None:
    entry = _entry(text, path, name)
    return entry.node if entry is not None else None


def _entry(text: str, path: Path, name: str) -> _Entry | None:
    """The journey of that name in a text."""
    return next((one for one in _file_of(text, path).entries if one.name == name), None)


def _changed_json(text: str, entry: _Entry, after: dict[str, Any]) -> str:
    """The JSON text with a journey changed; keys keep the order they have there."""
    whole = json.loads(text)
    around = whole
    for key in entry.prefix[:-1]:
        around = around[key]
    if entry.prefix:
        around[entry.prefix[-1]] = _in_order(after, around[entry.prefix[-1]])
    else:
        whole = _in_order(after, whole)
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _in_order(after: Any, before: Any, key: str = "") -> Any:
    """A value with the keys of its mappings in the order of another; the order of `nodes` means something and stays."""
    if not isinstance(after, dict) or not isinstance(before, dict):
        return after
    names = (
        list(after) if key == "nodes" else [*(n for n in before if n in after), *(n for n in after if n not in before)]
    )
    return {name: _in_order(after[name], before.get(name), name) for name in names}

"""Whether a notebook that was saved with its outputs tells of people: in tables, tracebacks, metadata and code."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final, Literal

from journeylab.errors import DataError
from journeylab.jsontext import data_of

from .addresses import has_address, holding
from .marks import without_marked
from .thresholds import FEWEST

__all__ = ["Finding", "check_notebook"]

_IDS: Final = {"contact", "contact_id", "email", "e_mail", "address", "pseudonym"}
_COUNTS: Final = {"n", "count", "counts", "size", "contacts", "entries", "visits", "sends", "events", "exits", "units"}
_SESSION: Final = re.compile(r'"session":\s*(?=\{)')
_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a notebook that tells of people.

    Attributes:
        place: where it is, such as "cell 3, output 1, text/html"; cells and outputs count from 1.
        kind: "rows" (a table with a row for each contact), "few" (counts of 1 to 9 in a table that did not come
            through the gate), "address", or "canary".
        sentence: what was found and what to do about it; it repeats nothing of what was found.
    """

    place: str
    kind: Literal["rows", "few", "address", "canary"]
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


def check_notebook(path: Path | str, *, canaries: Sequence[str] = ()) -> list[Finding]:
    """What a saved notebook tells of people, in the order of its cells; nothing where it may leave.

    It reads Jupyter's notebooks (.ipynb), marimo's sessions (.json) and pages exported from either (.html). What shows
    itself as `Disclosed` bears a mark with a fingerprint and is passed over as long as nothing in it was changed; the
    mark keeps off mistakes, not a forger. Of anything else a table with a column of ids, and counts of 1 to 9 under a
    heading that begins with `n_` or names what is counted, are findings; addresses and canaries are found anywhere,
    tracebacks, metadata and code included, also where they are encoded or hashed. Pictures are not looked into, and a
    count in a sentence is not known from any other number: a person still has to look.

    Args:
        path: the file.
        canaries: texts that must not be there, such as the values of a contact that was planted.

    Raises:
        DataError: when the file cannot be read, or is of another kind.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        parts = list(_parts(path, text))
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise DataError(
            f"{path}: no notebook; bring an .ipynb file, a marimo session (.json) or a page (.html)"
        ) from None
    found: dict[tuple[str, str], Finding] = {}
    for place, value in parts:
        is_code = place.endswith("code")
        try:
            for finding in _in_value(place, value, canaries, is_code=is_code):
                found.setdefault((finding.place, finding.kind), finding)
        except AssertionError:  # how Python's reader of HTML says that a declaration is none
            raise DataError(f"{path}: {place}: its HTML cannot be read; clear the output") from None
    return list(found.values())


def _parts(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """The parts of a notebook by their places: strings, or data as JSON has them."""
    if path.suffix.lower() in (".html", ".htm"):
        yield "page", text
        for start in _SESSION.finditer(text):
            _, end = json.JSONDecoder().raw_decode(text[start.end() :])
            session = data_of(text[start.end() :][:end])
            yield from _cells(session["cells"])
        return
    if path.suffix.lower() not in (".ipynb", ".json"):
        raise DataError(f"{path}: no notebook; bring an .ipynb file, a marimo session (.json) or a page (.html)")
    notebook = data_of(text)
    yield from _cells(notebook["cells"])
    yield "metadata", notebook.get("metadata", {})


def _cells(cells: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for n, cell in enumerate(cells, 1):
        yield f"cell {n}, code", _joined(cell.get("source", ""))
        for kind in ("outputs", "console"):
            for m, output in enumerate(cell.get(kind) or [], 1):
                where = f"cell {n}, {'output' if kind == 'outputs' else 'console'} {m}"
                for mime, value in (output.get("data") or {}).items():
                    yield f"{where}, {mime}", _joined(value)
                yield where, {name: _joined(value) for name, value in output.items() if name != "data"}
        yield f"cell {n}, metadata", {name: cell[name] for name in ("metadata", "attachments") if name in cell}


def _joined(value: Any) -> Any:
    """Jupyter keeps texts as lists of lines."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return "".join(value)
    return value


def _in_value(place: str, value: Any, canaries: Sequence[str], *, is_code: bool) -> Iterator[Finding]:
    if isinstance(value, str):
        yield from _in_text(place, value, canaries, is_code=is_code)
        return
    yield from _in_text(place, json.dumps(value, ensure_ascii=False), canaries, is_code=True)
    for rows in _records(value):
        yield from _in_rows(place, rows)


def _in_text(place: str, text: str, canaries: Sequence[str], *, is_code: bool) -> Iterator[Finding]:
    left = without_marked(text)
    read = {left, html.unescape(html.unescape(left))}
    if any(has_address(one) for one in read):
        yield Finding(place, "address", "has an e-mail address; clear it")
    if n := len({token for one in read for token in holding(one, canaries)}):
        yield Finding(place, "canary", f"has what must not be there ({n} of them); clear it")
    if is_code:
        return
    for rows in (*_html_tables(left), *_text_table(left)):
        yield from _in_rows(place, rows)


def _in_rows(place: str, rows: Sequence[_Row]) -> Iterator[Finding]:
    names = {_plain(name): name for row in rows[:1] for name in row}
    if ids := sorted(_IDS & names.keys()):
        yield Finding(
            place,
            "rows",
            f"has a table with {ids[0]}: a row for each person; clear the output, or show counts by disclose",
        )
    counting = [name for plain, name in names.items() if plain.startswith("n_") or plain in _COUNTS]
    if any(_is_few(row.get(name)) for row in rows for name in counting):
        yield Finding(
            place, "few", f"has counts below {FEWEST} that did not come through the gate; show them by disclose"
        )


def _plain(name: object) -> str:
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _is_few(value: object) -> bool:
    try:
        number = float(str(value).replace(",", ""))
    except ValueError:
        return False
    return 0 < number < FEWEST and number.is_integer()


def _records(value: Any) -> Iterator[list[_Row]]:
    """Tables in plain data: lists of objects, and objects of lists of one length, as deep as they lie."""
    if isinstance(value, dict):
        columns = {name: one for name, one in value.items() if isinstance(one, list) and one}
        if columns:
            n = max(len(one) for one in columns.values())
            yield [{name: one[at] for name, one in columns.items() if at < len(one)} for at in range(n)]
        for one in value.values():
            yield from _records(one)
    elif isinstance(value, list):
        rows = [one for one in value if isinstance(one, dict)]
        if rows:
            yield rows
        for one in value:
            yield from _records(one)


class _Tables(HTMLParser):
    """The tables of a page, and the data that elements have in their attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[list[str]]] = []
        self.data: list[Any] = []
        self._is_in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self._is_in_cell = True
        for _, value in attrs:
            if value and value[:1] in '"[{':
                self.data.append(_loaded(value))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_in_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_in_cell and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data


def _loaded(text: str) -> Any:
    """Data in a text, also where it is a text in JSON once more; the text itself where it is none."""
    try:
        value = data_of(text)
    except ValueError:
        return text
    return _loaded(value) if isinstance(value, str) else value


def _html_tables(text: str) -> Iterator[list[_Row]]:
    if "<" not in text:
        return
    parser = _Tables()
    parser.feed(text)
    for table in parser.tables:
        lines = [line for line in table if line]
        if lines:
            yield _rows(lines[0], lines[1:])
    for value in parser.data:
        yield from _records(value)


def _text_table(text: str) -> Iterator[list[_Row]]:
    """A frame as text: headings, then lines that begin with the row's number or label."""
    if "<table" in text:
        return
    lines = [re.split(r"\s+|[│|┆]", line.strip("│| \t")) for line in text.splitlines() if line.strip()]
    for at, line in enumerate(lines):
        head = [one for one in line if one]
        if any(_plain(one) in _IDS or one.startswith("n_") for one in head):
            body = [[one for one in row if one] for row in lines[at + 1 :]]
            yield _rows(head, [row for row in body if len(head) <= len(row) <= len(head) + 1])
            return


def _rows(head: Iterable[str], body: Iterable[Sequence[str]]) -> list[_Row]:
    """Rows by their headings; a row with one cell more begins with a label."""
    names = list(head)
    rows = [
        dict(zip(names, row[len(row) - len(names) :] if len(row) > len(names) else row, strict=False)) for row in body
    ]
    return rows or [dict.fromkeys(names)]

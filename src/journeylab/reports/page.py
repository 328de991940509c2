"""A report as one file: HTML that opens without a network and reads without scripts, or the same as PDF.

A company restyles it by a folder of templates (Jinja2): a `report.css` there takes the place of ours, and so does a
`report.html.j2`, which may extend `journeylab/report.html.j2` and override its blocks. A template is given the texts of
a `Report`, so it can say no more than went through the gate, and it runs in Jinja2's sandbox.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from markupsafe import Markup

from journeylab.disclosure.marks import marked
from journeylab.display import block
from journeylab.errors import DataError
from journeylab.language import again, using
from journeylab.pages import RestyledPage

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.disclosure import Disclosed

__all__ = ["Basis", "Figure", "Part", "Report", "Row", "file_of"]

MOST_BYTES = 400_000
_STYLES = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_POLICY = "@policy@"
_FLUID = ' style="max-width:100%;height:auto"'

Basis = Literal["observed", "predicted", "assumed", "chosen"]
"""What a number rests on: the log, a model, an assumption, or what the definition itself says."""


class Figure(NamedTuple):
    """A number that stands at the top, with what it is of."""

    number: str
    what: str
    note: str = ""


class Row(NamedTuple):
    """A row of a table: its cells as text, and for a bar the share with its interval (0..1), where there is one."""

    cells: tuple[str, ...]
    bar: tuple[float, float, float] | None = None


class Part(NamedTuple):
    """A part of a report: what it rests on, a table or a picture or both, and what is to be said of it."""

    heading: str
    basis: Basis
    note: str = ""
    sentences: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Row] = ()
    drawing: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """What a reader is told: the question, the answer, the numbers with what they rest on, and what to do next.

    All texts are in `language`. Every number in them has gone through `disclose`.

    Attributes:
        of: what it reports, such as "replay".
        title: the heading.
        language: "en" or "pl".
        data: what the data is, such as "Akacja, a simulated shop"; empty where nothing was said.
        asked: what was asked, in sentences.
        answer: the answer, one paragraph.
        figures: the numbers at the top.
        drawing: the journey with its numbers, as SVG; empty without a journey.
        parts: the tables and pictures.
        basis: what is observed, predicted and assumed, in sentences.
        unknown: what cannot be known from this.
        next_steps: what to do next.
        reading: how the numbers are to be read.
        definition: the journey as it is written; empty without one.
        disclosed: the numbers as the gate gave them.
        tables: the tables behind the page, by name: those of `disclosed`, with the estimates that are shown beside.
    """

    of: str
    title: str
    language: str
    data: str
    asked: Sequence[str]
    answer: str
    figures: Sequence[Figure]
    drawing: str
    parts: Sequence[Part]
    basis: Sequence[str]
    unknown: Sequence[str]
    next_steps: Sequence[str]
    reading: Sequence[str]
    definition: str
    disclosed: Disclosed
    tables: Mapping[str, pd.DataFrame]

    def html(self, *, templates: Path | str | None = None) -> str:
        """The report as one HTML file.

        Its content security policy allows no scripts, nothing from elsewhere, and of styles those alone that stand in
        it, by their hashes.

        Args:
            templates: a folder of templates that take the place of ours.

        Raises:
            DataError: when a template is at fault, or the file would be larger than 400 KB.
        """
        with using(self.language):
            page = RestyledPage("report.html.j2", templates).render(report=self._texts(), policy=_POLICY)
        page = page.replace(_FLUID, "")  # pictures bring it for notebooks; here the sheet says it
        hashes = dict.fromkeys(
            base64.b64encode(sha256(style.encode()).digest()).decode() for style in _STYLES.findall(page)
        )
        styles = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
        page = page.replace(
            _POLICY,
            f"default-src 'none'; style-src {styles}; img-src data:; base-uri 'none'; form-action 'none'",
        )
        if (n_bytes := len(page.encode())) > MOST_BYTES:
            raise DataError(
                f"the report would have {n_bytes / 1000:,.0f} KB, and a report has at most {MOST_BYTES / 1000:.0f} KB: "
                "report one journey in it, or take what is large out of the templates"
            )
        return page

    def _texts(self) -> SimpleNamespace:
        """What a template is given: texts and pictures, and nothing that could write or read a file."""
        named = (
            "of", "title", "language", "data", "asked", "answer", "figures", "drawing", "parts", "basis", "unknown",
            "next_steps", "reading", "definition",
        )  # fmt: skip
        return SimpleNamespace(days=self.disclosed.days, **{name: getattr(self, name) for name in named})

    def write(self, path: Path | str, *, templates: Path | str | None = None) -> Path:
        """Writes the report, HTML or PDF by the end of the path's name, and returns the path; its folder is made.

        PDF takes `pip install "journeylab[pdf]"`.

        Raises:
            DataError: when the path is a folder or ends otherwise, PDF is not installed, or `html` raises.
        """
        target = file_of(path)
        page = self.html(templates=templates)
        written = page.encode() if target.suffix.lower() == ".html" else _pdf(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A reader, or a process that is ended meanwhile, never finds half a report.
        beside = target.with_name(f".{target.name}.part")
        beside.write_bytes(written)
        beside.replace(target)
        return target

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON: its texts, and its tables with None for what is hidden."""
        from journeylab.display import plain_rows

        return {
            "of": self.of, "title": self.title, "language": self.language, "asked": [*self.asked],
            "answer": self.answer, "basis": [*self.basis], "unknown": [*self.unknown],
            "next_steps": [*self.next_steps],
            "from": self.disclosed.period.from_at.isoformat(), "until": self.disclosed.period.until_at.isoformat(),
            "tables": {
                name: plain_rows(one.astype(object).where(one.notna(), None)) for name, one in self.tables.items()
            },
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Report({self.of}: {self.title}; {self.disclosed.n_shown} numbers, {self.disclosed.n_hidden} hidden)"

    def _repr_html_(self) -> str:
        return marked(block(again(self.title), f"<p>{Markup.escape(self.answer)}</p>", self.drawing))


def file_of(path: Path | str) -> Path:
    """The path, when a report may be written there; to be asked before a ledger counts its numbers as shown.

    Raises:
        DataError: when it is a folder, or ends in neither .html nor .pdf.
    """
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target} is a folder; name a file in it, such as {target / 'report.html'}")
    if target.suffix.lower() not in (".html", ".pdf"):
        raise DataError(f"{target}: a report is written as .html or as .pdf")
    return target


def _pdf(page: str) -> bytes:
    """The page as PDF; nothing is fetched for it."""
    try:
        from weasyprint import HTML
    except ImportError:
        raise DataError('PDF takes the extra pdf: pip install "journeylab[pdf]"; or write .html') from None
    except OSError as problem:  # Pango, which is not Python's
        raise DataError(f"PDF takes Pango, which is not installed (libpango-1.0-0 in Debian): {problem}") from None

    def nothing(url: str, *_: object, **__: object) -> Any:
        raise ValueError(f"a report fetches nothing, and asks for {url}")

    written: bytes = HTML(string=page, url_fetcher=nothing).write_pdf(pdf_variant="pdf/ua-1")
    return written

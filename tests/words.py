"""The texts of the code and the catalogues of their translations: `python -m words` brings these up to date."""

import io
import re
from html import unescape
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

SOURCES = Path(__file__).resolve().parent.parent / "src" / "journeylab"
CATALOGUES = sorted((SOURCES / "languages").glob("*.po"))
KEYWORDS = {"say": None, "plural": (1, 2), "say_in": ((1, "c"), 2), "later": None}
_METHODS = [("**.py", "python"), ("**/templates/**.j2", "jinja2")]
# Who translated what, and when, is in the project's history.
_PASSING = re.compile(
    r'^"(?:Project-Id-Version|Report-Msgid-Bugs-To|POT-Creation-Date|PO-Revision-Date|Last-Translator|Language-Team'
    r'|Generated-By): .*"\n',
    flags=re.MULTILINE,
)


def texts() -> Catalog:
    """Every text in the code that is said in the current language."""
    found = Catalog()
    for file, _, message, _, context in extract_from_dir(SOURCES, _METHODS, keywords=KEYWORDS):
        found.add(message, locations=[(f"src/journeylab/{file}", 0)], context=context)
    return found


def translations(path: Path) -> Catalog:
    """The catalogue of a language, which its file is named for."""
    with path.open("rb") as file:
        return read_po(file, locale=path.stem)


def messages(catalogue: Catalog) -> dict[tuple, Message]:
    """The messages of a catalogue by context and English text."""
    return {(one.context, one.id): one for one in catalogue if one.id}


def english_in(page: str) -> list[str]:
    """The English texts of the Polish catalogue, of some length and without values, that a page says."""
    [path] = (one for one in CATALOGUES if one.stem == "pl")
    plain = [one for one in messages(translations(path)).values() if isinstance(one.id, str) and one.id != one.string]
    whole = [one.id for one in plain if len(one.id) >= 12 and "{" not in one.id]
    shown = unescape(page)
    return [text for text in whole if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", shown)]


def updated(catalogue: Catalog) -> str:
    """The file of a catalogue with all texts of the code and no others, translations kept."""
    catalogue.update(texts(), no_fuzzy_matching=True)
    written = io.BytesIO()
    write_po(written, catalogue, width=0, ignore_obsolete=True, include_lineno=False, sort_by_file=True)
    return _PASSING.sub("", written.getvalue().decode()).lstrip()


if __name__ == "__main__":
    for one in CATALOGUES:
        one.write_text(updated(translations(one)), encoding="utf-8")

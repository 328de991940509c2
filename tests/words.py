"""The texts of the code and the catalogues of their translations: `python -m words` brings these up to date."""

import io
import re
from pathlib import Path

from babel.messages.catalog import Catalog
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


def updated(catalogue: Catalog) -> str:
    """The file of a catalogue with all texts of the code and no others, translations kept."""
    catalogue.update(texts(), no_fuzzy_matching=True)
    written = io.BytesIO()
    write_po(written, catalogue, width=0, ignore_obsolete=True, include_lineno=False, sort_by_file=True)
    return _PASSING.sub("", written.getvalue().decode()).lstrip()


if __name__ == "__main__":
    for one in CATALOGUES:
        one.write_text(updated(translations(one)), encoding="utf-8")

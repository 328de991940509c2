"""The maps of exports in docs/importing-events.md: `python -m exportmaps` writes them as the code has them."""

from __future__ import annotations

from pathlib import Path

from journeylab.importers.events import adapter_of, section
from journeylab.importers.events.catalogue import BUILT_IN

PAGE = Path(__file__).resolve().parent.parent / "docs" / "importing-events.md"
BEGIN = "<!-- maps: written from the code -->"


def main() -> None:
    before = PAGE.read_text().partition(BEGIN)[0]
    maps = "\n\n".join(section(adapter_of(name)) for name in BUILT_IN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{maps}\n")


if __name__ == "__main__":
    main()

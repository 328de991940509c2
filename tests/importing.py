"""The exports of other systems in `journeyexports`: NAME.json, what is expected of its journeys, and its loss report.

`NAME.tests.yaml` are cases as `journeylab test` takes them, written by hand from what the other system's documentation
says; `NAME.losses.txt` is the loss report, read line by line when it changes: `python -m importing SYSTEM` in this
folder writes those that differ anew, for the reader of the change. `python -m importing page` writes the tables of node
types into docs/importing-journeys.md.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from journeylab.cases import CaseResult, read_cases, run_case
from journeylab.importers import Imported, import_journeys
from journeylab.importers.systems import BUILT_IN, node_table, system_of

EXPORTS = Path(__file__).parent / "journeyexports"
PAGE = Path(__file__).parent.parent / "docs" / "importing-journeys.md"


def exports(system: str = "*") -> list[Path]:
    """The exports of a system, or of all, in their order."""
    return sorted(path for path in EXPORTS.glob(f"{system}/*") if path.suffix in (".json", ".zip"))


def imported(path: Path) -> Imported:
    """The journeys of an export."""
    return import_journeys(path, path.parent.name)


def losses_file(path: Path) -> Path:
    return path.with_suffix(".losses.txt")


def loss_report(made: Imported) -> str:
    """A loss report as its file has it."""
    return "".join(f"{'.'.join(map(str, one.place)) or 'whole'}: {one}\n" for one in made.losses.outcomes)


def results(path: Path, folder: Path) -> Iterator[CaseResult]:
    """What came of each case beside an export, run over the journeys that it becomes."""
    target = folder / f"{path.stem}.yaml"
    imported(path).save(target)
    shutil.copy(path.with_suffix(".tests.yaml"), folder)
    suite = read_cases(target)
    return (run_case(case, suite.portfolio) for case in suite.cases)


def page(text: str) -> str:
    """The page with the tables of node types as they are now, each after the comment that names its system."""
    for system in BUILT_IN:
        mark = f"<!-- node types: {system} -->\n"
        before, found, rest = text.partition(mark)
        assert found, mark
        after = rest[re.match(r"(\|.*\n)*", rest).end() :]
        text = before + mark + "".join(f"{line}\n" for line in node_table(system_of(system))) + after
    return text


if __name__ == "__main__":
    if sys.argv[1:] == ["page"]:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        sys.exit()
    for one in [path for system in sys.argv[1:] or ["*"] for path in exports(system)]:
        report, file = loss_report(imported(one)), losses_file(one)
        if not file.exists() or file.read_text(encoding="utf-8") != report:
            file.write_text(report, encoding="utf-8")
            sys.stdout.write(f"{file.relative_to(EXPORTS)}\n")

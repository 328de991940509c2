"""The journeys that an assistant may ask about: the files of one folder, by name, and texts that it writes itself.

A name is looked up among those that are there; no path is ever made of what an assistant says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from journeylab.errors import DataError, DefinitionError, Fault, known
from journeylab.journey import Portfolio
from journeylab.journeyfile import SUFFIXES, read_texts, text_of

__all__ = ["DRAFT", "LONGEST_TEXT", "JourneyFolder"]

DRAFT: Final = "text"
"""What a text of the assistant's own is called in faults."""
LONGEST_TEXT: Final = 200_000
_MOST_FILES: Final = 1_000
_CASES: Final = ".tests"


class JourneyFolder:
    """The journey files below a folder: YAML and JSON, but for cases, hidden ones and what leads out of the folder.

    Args:
        folder: the folder.

    Raises:
        DataError: when there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder of journeys")
        self._folder = folder.resolve()

    def files(self) -> dict[str, Path]:
        """Where each file is, by its name below the folder, with / between folders.

        Raises:
            DataError: when there are more than a thousand.
        """
        found: dict[str, Path] = {}
        for place, folders, names in os.walk(self._folder):  # which follows no links to folders
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            for name in sorted(names):
                path = Path(place) / name
                is_one = path.suffix in SUFFIXES and not path.stem.endswith(_CASES)
                if name.startswith(".") or not is_one or not self._is_inside(path):
                    continue
                found[path.relative_to(self._folder).as_posix()] = path
                if len(found) > _MOST_FILES:
                    raise DataError(f"there are more than {_MOST_FILES:,} journey files; name a smaller folder")
        return found

    def _is_inside(self, path: Path) -> bool:
        real = path.resolve()
        return real.is_file() and real.is_relative_to(self._folder)

    def read(self, name: str) -> Portfolio:
        """The journeys of a file, with the parts that they run, from the same folder.

        Raises:
            DefinitionError: when there is no such file, or with every fault.
        """
        files = self.files()
        if name not in files:
            raise DefinitionError([Fault((), f"there is no journey file {name!r}; {known(name, files, 'files')}")])
        return read_texts(self._texts(files, PurePosixPath(name).parent, name), name)

    def draft(self, text: str) -> Portfolio:
        """The journeys of a text; the parts that they run are in it, or files of the folder.

        Raises:
            DefinitionError: with every fault.
        """
        if len(text) > LONGEST_TEXT:
            raise DefinitionError([Fault((), f"a text has at most {LONGEST_TEXT:,} characters; got {len(text):,}")])
        return read_texts({**self._texts(self.files(), PurePosixPath()), DRAFT: text}, DRAFT)

    @staticmethod
    def _texts(files: Mapping[str, Path], folder: PurePosixPath, needed: str | None = None) -> dict[str, str]:
        """The texts of the files right in a folder; one that cannot be read is left out, unless it is needed."""
        texts = {}
        for name, path in files.items():
            if PurePosixPath(name).parent != folder:
                continue
            try:
                if path.stat().st_size > LONGEST_TEXT:
                    raise DefinitionError([Fault((), f"it has more than {LONGEST_TEXT:,} bytes", name)])
                texts[name] = text_of(path).text
            except (DefinitionError, OSError) as problem:
                if name != needed:
                    continue
                why = problem.faults[0].message if isinstance(problem, DefinitionError) else str(problem.strerror)
                raise DefinitionError([Fault((), why, name)]) from None
        return texts

"""The demo: the bundled journeys replayed over the bundled data, one of them real and one simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import datasets
from .language import later

if TYPE_CHECKING:
    from .eventlog import EventLog
    from .progress import Progress
    from .replay import Replay

__all__ = ["DEMOS", "Demo", "next_commands", "save_picture", "write_demo_page", "write_report"]


@dataclass(frozen=True)
class Demo:
    """One half of the demo: a bundled file of journeys, the log it is replayed over, and what that `data` is.

    `telling` names the branches that say most, as (journey, node, branch).
    """

    journey_file: str
    log: Callable[[], EventLog]
    data: str
    telling: Sequence[tuple[str, str, str]]

    def replay(self, progress: Progress = None) -> Replay:
        """What the journeys would have seen and done."""
        from .journeyfile import read
        from .replay import replay

        return replay(read(datasets.journey_file(self.journey_file)), self.log(), progress=progress)


DEMOS = (
    Demo(
        "cdnow_winback",
        datasets.cdnow,
        later("CDNOW, real purchases of 1997 and 1998"),
        [
            ("cdnow_winback", "active", "else"),
            ("cdnow_winback", "answer", "then"),
            ("cdnow_winback", "last_chance", "then"),
        ],
    ),
    Demo(
        "shop_portfolio",
        datasets.shop,
        later("Akacja, a simulated shop"),
        [
            ("trial_welcome", "read", "then"),
            ("trial_welcome", "value", "keen"),
            ("winback", "wait_first", "back"),
        ],
    ),
)


def next_commands() -> list[str]:
    """Three commands to try next, without the program's name; paths are as short as they can be from here."""
    folder = datasets.fixtures()
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    journey = folder / "journeys" / "trial_welcome.yaml"
    shop = f"--events {folder / 'shop' / 'events.parquet'} --contacts {folder / 'shop' / 'contacts.parquet'}"
    return [f"draw {journey}", f"test {journey}", f"replay {journey} {shop}"]


def write_report(result: Replay, path: Path, language: str = "en") -> Path:
    """Writes the report of the welcome for readers, and returns its path; nothing is kept of what it shows.

    The people of the bundled shop are made up, so what is shown of them twice tells of nobody.
    """
    from tempfile import TemporaryDirectory

    from .disclosure import Ledger, LedgerKey
    from .language import say, using
    from .reports import report

    with TemporaryDirectory() as folder, using(language):
        ledger = Ledger(Path(folder) / "ledger", LedgerKey(bytes(32)))
        made = report(result, ledger=ledger, journey="trial_welcome", data=say(DEMOS[1].data), language=language)
        return made.write(path)


def write_demo_page(results: Sequence[Replay], path: Path, language: str = "en") -> Path:
    """Writes one page of all demos for analysts, what each data is said in it, and returns its path."""
    from .language import say, using
    from .replaypage import write_page

    with using(language):
        title = say("JourneyLab's demo: three journeys, two event logs")
        return write_page(results, path, title=title, data=[say(one.data) for one in DEMOS])


def save_picture(path: str | Path) -> None:
    """Writes the picture of the README: the welcome of the simulated shop, drawn with what its replay counted."""
    Path(path).write_text(DEMOS[1].replay().draw("trial_welcome") + "\n", encoding="utf-8")

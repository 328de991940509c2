"""The canvas as a widget: an anywidget, which marimo, JupyterLab and VS Code show alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from journeylab.errors import DataError, DefinitionError, JourneyLabError
from journeylab.language import checked as checked_language
from journeylab.language import using

from .drafts import MAIN, Draft, blank, draft_of
from .forms import forms, words
from .layers import Over, laid, waiting_layer
from .views import STATIC, as_sent, checked
from .vocabulary import of_journey, of_log

if TYPE_CHECKING:
    from journeylab.eventlog import EventLog
    from journeylab.journey import Journey
    from journeylab.replay import Replay

__all__ = ["Canvas"]


class Canvas(anywidget.AnyWidget):
    """A journey that is drawn: nodes by verb, branches as lines, options as forms, faults where they lie.

    With a log, the journey is replayed over it after every change that leaves no fault, and each line shows its visits,
    share and interval; conditions complete the log's names.

    >>> from journeylab import datasets
    >>> from journeylab.journey import Journey
    >>> canvas = Canvas(Journey.read(datasets.journey_file("trial_welcome")))
    >>> canvas.journey
    Journey('trial_welcome', 13 nodes, on signup, version ...)
    """

    _esm = Path(str(STATIC / "canvas.js"))
    _css = Path(str(STATIC / "canvas.css"))

    document = traitlets.Unicode().tag(sync=True)
    checked = traitlets.Dict().tag(sync=True)
    layers = traitlets.Dict().tag(sync=True)
    forms = traitlets.Dict().tag(sync=True)
    vocabulary = traitlets.Dict().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    read_only = traitlets.Bool(default_value=False).tag(sync=True)
    height = traitlets.Int(560).tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        journey: Journey | str = "my_journey",
        *,
        log: EventLog | None = None,
        compared: Journey | None = None,
        read_only: bool = False,
        height: int = 560,
        language: str = "en",
        **replaying: Any,
    ) -> None:
        """Shows a journey.

        Args:
            journey: what is drawn; or the name of a new one, which a sign-up leads straight to its exit.
            log: the event log over which it is replayed.
            compared: another version, from which the difference is shown as a layer.
            read_only: whether nothing can be changed.
            height: of the drawing, in pixels.
            language: of the canvas, `en` or `pl`.
            **replaying: further arguments of `journeylab.replay`.

        Raises:
            DataError: when there is no such language, or a number of the journey is not exact in a browser.
        """
        self._language = checked_language(language)
        self._log, self._compared, self._replaying = log, compared, replaying
        self._known = of_log(log)
        self._draft = draft_of(blank(journey) if isinstance(journey, str) else journey)
        self._replay: Replay | None = None
        with using(self._language):
            super().__init__(forms=as_sent(forms()), words=as_sent(words()), read_only=read_only, height=height)
        self._show(self._draft)
        self.document = self._draft.document()

    @traitlets.validate("document")
    def _readable(self, proposal: Any) -> str:
        try:
            self._draft.drawn(proposal["value"])
        except DataError as error:
            raise traitlets.TraitError(str(error)) from None
        return str(proposal["value"])

    @traitlets.observe("document")
    def _drawn(self, change: Any) -> None:
        if change["new"] != self._draft.document():
            self._show(self._draft.drawn(change["new"]))

    def _show(self, draft: Draft) -> None:
        """Takes a draft, and tells the browser what is known of it."""
        self._draft = draft
        self._replay = None
        with using(self._language):
            said = checked(draft)
            layers = {} if self._log is None else {"counts": waiting_layer()}
            if not said["faults"]:
                journey = draft.journeys[MAIN]["journey"]
                try:
                    layers = self._layers(draft.journey())
                except DefinitionError as error:
                    names = {journey: MAIN, **{part: part for part in draft.journeys if part}}
                    said = {**said, "version": None, "faults": [
                        {"journey": names.get(str(name), MAIN), "path": path, "message": one.message}
                        for one in error.faults for name, *path in [one.path]
                    ]}  # fmt: skip
                except JourneyLabError as error:
                    said = {**said, "faults": [{"journey": MAIN, "path": [], "message": str(error)}]}
            self.vocabulary = as_sent(of_journey(draft.stand_in, self._known))
        self.checked, self.layers = as_sent(said), as_sent(layers)

    def _layers(self, journey: Journey) -> dict[str, Any]:
        over: list[Over] = []
        if self._log is not None:
            from journeylab.replay import replay

            self._replay = replay(journey, self._log, **self._replaying)
            over.append(self._replay)
        return laid(journey, over if self._compared is None else [*over, self._compared])

    @property
    def journey(self) -> Journey:
        """The journey as it is drawn now.

        Raises:
            DefinitionError: with every fault that the drawing has.
        """
        return self._draft.journey()

    @property
    def replay(self) -> Replay | None:
        """The replay of what is drawn; None without a log, or while the drawing has faults."""
        return self._replay

    def to_yaml(self, part: str = MAIN) -> str:
        """The YAML text of what is drawn, faults and all, or of a part; comments and order of its file are kept.

        Raises:
            DefinitionError: when the text cannot be changed in place.
            DataError: when there is no such part.
        """
        return self._draft.to_yaml(part)

    def save(self, path: str | Path) -> None:
        """Writes the drawn journey to a YAML or JSON file; see `Journey.save`.

        Raises:
            DefinitionError: with every fault that the drawing has, or when the file holds something else.
        """
        self.journey.save(path)

    def load(self, journey: Journey) -> None:
        """Draws another journey in place of what is drawn; undo brings that back."""
        self._show(draft_of(journey))
        self.document = self._draft.document()

    def lay(self, *over: Over) -> Canvas:
        """Lays results over what is drawn, until it changes, and returns the canvas.

        Args:
            *over: replays (visits, shares, intervals), simulations (with prediction intervals), support maps (what the
                log can tell), or another version of the journey (the difference).
        """
        with using(self._language):
            self.layers = {**self.layers, **as_sent(laid(self.journey, over))}
        return self

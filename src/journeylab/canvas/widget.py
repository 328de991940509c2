"""The canvas as a widget: an anywidget, which marimo, JupyterLab and VS Code show alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from journeylab.drawing import draw_table, svg
from journeylab.errors import DataError, DefinitionError, Fault, JourneyLabError, known
from journeylab.journeyfile import holding
from journeylab.language import checked as checked_language
from journeylab.language import using

from .drafts import MAIN, Draft, blank, draft_of
from .forms import forms, words
from .layers import Over, laid, waiting_layer
from .pages import page_text
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
    Journey('trial_welcome', 14 nodes, on signup, version ...)
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
    language = traitlets.Unicode("en").tag(sync=True)
    dials: traitlets.List[Any] = traitlets.List().tag(sync=True)
    outcome = traitlets.Dict().tag(sync=True)

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
            journey: what is drawn; or the name of a new one, which leads from a sign-up (or the log's first kind of
                event, where it has none) straight to its exit.
            log: the event log over which it is replayed.
            compared: another version, from which the difference is shown as a layer.
            read_only: whether nothing can be changed.
            height: of the drawing, in pixels.
            language: of the canvas, `en` or `pl`.
            **replaying: further arguments of `journeylab.replay`.

        Raises:
            DataError: when there is no such language, or a number of the journey is not exact in a browser.
        """
        self._log, self._compared, self._replaying = log, compared, replaying
        self._known = of_log(log)
        self._draft = draft_of(blank(journey, list(self._known["events"])) if isinstance(journey, str) else journey)
        self._replay: Replay | None = None
        with using(checked_language(language)):
            said = {"forms": as_sent(forms()), "words": as_sent(words())}
        super().__init__(language=language, read_only=read_only, height=height, **said)
        self._show(self._draft)
        self.document = self._draft.document()
        self.on_msg(self._asked)

    @traitlets.validate("document")
    def _readable(self, proposal: Any) -> str:
        try:
            self._draft.drawn(proposal["value"])
        except DataError as error:
            raise traitlets.TraitError(str(error)) from None
        return str(proposal["value"])

    @traitlets.validate("language")
    def _spoken(self, proposal: Any) -> str:
        try:
            return checked_language(proposal["value"])
        except DataError as error:
            raise traitlets.TraitError(str(error)) from None

    @traitlets.observe("language")
    def _speaks(self, _: Any) -> None:
        if self.document:  # else the canvas is still being made
            with using(self.language):
                self.forms, self.words = as_sent(forms()), as_sent(words())
            self._show(self._draft)

    @traitlets.observe("document")
    def _drawn(self, change: Any) -> None:
        if change["new"] != self._draft.document():
            self._show(self._draft.drawn(change["new"]))

    def _show(self, draft: Draft) -> None:
        """Takes a draft, and tells the browser what is known of it."""
        self._draft = draft
        self._replay = None
        with using(self.language):
            said = checked(draft)
            layers = {} if self._log is None else {"counts": waiting_layer()}
            if not said["faults"] and draft.stand_in is not None:
                try:
                    layers = self._layers(draft.stand_in)
                except DefinitionError as error:
                    said = {**said, "version": None, "faults": [self._placed(one) for one in error.faults]}
                except JourneyLabError as error:
                    said = {**said, "faults": [{"journey": MAIN, "path": [], "message": str(error)}]}
            self.vocabulary = as_sent(of_journey(draft.stand_in, self._known))
        self.checked, self.layers = as_sent(said), as_sent(layers)

    def _placed(self, fault: Fault) -> dict[str, Any]:
        """A fault that was found against the log, whose path begins with the journey it is of."""
        name, *path = fault.path or (MAIN,)
        part = str(name) if name in self._draft.journeys else MAIN
        return {"journey": part, "path": path, "message": fault.message}

    def _layers(self, journey: Journey) -> dict[str, Any]:
        if self._log is not None:
            from journeylab.replay import replay

            self._replay = replay(journey, self._log, **self._replaying)
        return laid(journey, self._over())

    def _over(self) -> list[Over]:
        """The results that are laid over the drawing."""
        return [one for one in (self._replay, self._compared) if one is not None]

    def _asked(self, _: Any, content: Any, __: Any) -> None:
        """Answers the browser with a file, or with the fault for which there is none."""
        if not isinstance(content, dict) or content.get("ask") != "file":
            return
        try:
            with using(self.language):
                self.send({"file": self._file(str(content.get("kind")))})
        except JourneyLabError as error:
            self.send({"fault": str(error)})

    def _file(self, kind: str) -> dict[str, str]:
        """What a person takes along: the text of a file, its name and type; for a PNG the drawing it is made of."""
        stem = str(self._draft.journeys[MAIN].get("journey", "journey"))
        if kind == "yaml":
            return {"kind": kind, "name": f"{stem}.yaml", "type": "text/yaml", "text": self.to_yaml()}
        journey, counts = self.journey, None if self._replay is None else self._replay.counts
        made: dict[str, tuple[str, str, Callable[[], str]]] = {
            "html": ("html", "text/html", lambda: page_text(journey, *self._over(), language=self.language)),
            "png": ("png", "image/png", lambda: svg(journey, counts)),
            "csv": ("csv", "text/csv", lambda: draw_table(journey, counts).to_csv(index=False)),
            "code": ("py", "text/x-python", self.code),
        }
        if kind not in made:
            raise DataError(f"no file of kind {kind!r}; {known(kind, [*made, 'yaml'], 'kinds')}")
        suffix, mime, make = made[kind]
        return {"kind": kind, "name": f"{stem}.{suffix}", "type": mime, "text": make()}

    def code(self) -> str:
        """The Python code that gives the same journey, and over a `log` the same counts, without a canvas."""
        replaying = "".join(f", {name}={value!r}" for name, value in self._replaying.items())
        lines = ["import journeylab as jl", "", f"journey = {_code_of(self.journey)}"]
        if self._log is not None:
            lines += [f"result = jl.replay(journey, log{replaying})", "result.branches"]
        return "\n".join(lines) + "\n"

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
        """Writes the drawn journey to a YAML or JSON file, and parts that were changed to theirs; see `Journey.save`.

        A part is written to this file where it holds it, else to NAME.yaml beside it, as `Journey.read` looks for it.

        Raises:
            DefinitionError: with every fault that the drawing has, or when a file holds something else.
        """
        self.journey.save(path)
        for name, part in self._draft.changed_parts():
            part.save(holding(name, Path(path)))

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
        with using(self.language):
            self.layers = {**self.layers, **as_sent(laid(self.journey, over))}
        return self


def _code_of(journey: Journey) -> str:
    """The expression that gives a journey with its parts; the segments of its file are among its own."""
    data = journey.model_copy(update={"segments": journey.known_segments}).data()
    made = f"jl.Journey.from_data({pformat(data, width=100, sort_dicts=False)})"
    if not journey.parts:
        return made
    parts = ", ".join(f"{name!r}: {_code_of(part)}" for name, part in journey.parts.items())
    return f'{made}.model_copy(update={{"parts": {{{parts}}}}})'

"""The frame of all explorers: controls, their values both ways, and one answer at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

from journeylab.canvas.views import as_sent
from journeylab.errors import DefinitionError, JourneyLabError
from journeylab.language import LANGUAGES, say, using
from journeylab.language import checked as checked_language
from journeylab.resulttables import ResultTables, Tables

from .controls import Again, Choice, Control, ControlError, Kept, Several, Slider, Stepper, checked_values
from .views import STATIC, View, page_of

__all__ = ["Explorer"]

_NAMES = {"en": "English", "pl": "Polski"}


_OURS: Final = ("values", "language", "shown_controls", "vocabulary", "words", "view", "answer", "page")


class Explorer(Tables, anywidget.AnyWidget):
    """A widget with controls at the left and what they lead to at the right.

    Whoever makes one says its `title`, its `controls` and how it answers: `look`. The browser has at most one question
    on its way and then asks what is wanted by then. What cannot be answered is said in a sentence, and what was seen
    last stays.

    Attributes:
        values: what is chosen, by the names of the controls; set it, in whole or in part, to choose from Python.
        language: of all that people read, `en` or `pl`.
    """

    _esm = Path(str(STATIC / "explorer.js"))
    _css = Path(str(STATIC / "explorer.css"))

    values = traitlets.Dict().tag(sync=True)
    language = traitlets.Unicode("en").tag(sync=True)
    shown_controls: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    vocabulary = traitlets.Dict().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True)
    page = traitlets.Dict().tag(sync=True)

    def __init__(self, values: Mapping[str, Any], *, language: str = "en") -> None:
        """Answers to the first values.

        Args:
            values: what is chosen at first, by the names of the controls.
            language: `en` or `pl`.

        Raises:
            JourneyLabError: what `look` raises for these values.
        """
        self._is_telling = True
        super().__init__(language=checked_language(language))
        self._is_telling = False
        self._seen = self._looked(values, language)
        self._tell(None)

    # What each explorer says of itself.

    def title(self) -> str:
        """What it explores, in the current language."""
        raise NotImplementedError

    def controls(self, values: Mapping[str, Any]) -> Sequence[Control]:
        """The controls, in the current language; what they offer may hang on the values."""
        raise NotImplementedError

    def look(self, values: Mapping[str, Any]) -> View:
        """What is seen with these values, in the current language.

        Raises:
            JourneyLabError: what a person can mend; a fault of a definition leads to its control by `place_of`.
        """
        raise NotImplementedError

    def names(self, values: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The names that conditions may use, as `canvas.vocabulary` gives them; none by default."""
        return {}

    def place_of(self, path: Sequence[str | int], values: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """The control that a fault at this path of a definition comes from; None when it is no single one."""
        return None

    # What people do with one.

    @property
    def finding(self) -> str:
        """What is found, in one sentence."""
        return str(self._seen[1].finding)

    @property
    def code(self) -> str:
        """Python that gives the same tables, each under its name; the log is called `log` in it."""
        return self._seen[1].code

    @property
    def tables(self) -> ResultTables:
        """The frames behind the pictures by name, whole: small counts are left out only of what is shown."""
        frames = {one.name: one.table for one in self._seen[1].pictures}
        return ResultTables(type(type(self).__name__, (), dict(frames))(), tuple(frames))

    def save(self, path: str | Path) -> Path:
        """Writes what is seen as one HTML page without scripts, and returns its path.

        Its folder is made when it does not exist. Counts of fewer than ten people are left out.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self._page(), encoding="utf-8")
        return target

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.finding})"

    def _page(self) -> str:
        values, view = self._seen
        with using(self.language):
            chosen = [(one.label, _words_of(one, values[one.name])) for one in self._offered]
            return page_of(view, self.title(), [pair for pair in chosen if pair[1]])

    # Both ways.

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Takes what a browser sets: its questions; what is said of them here no browser changes."""
        super().set_state({name: value for name, value in sync_data.items() if name not in _OURS})

    def _looked(self, values: Mapping[str, Any], language: str) -> tuple[dict[str, Any], View]:
        with using(checked_language(language)):
            offered = self.controls(values)
            fit = checked_values(offered, values)
            view = self.look(fit)
            self._offered = offered
            return fit, view

    def _tell(self, n: str | None, faults: Sequence[dict[str, Any]] = ()) -> None:
        """Tells the browser what was seen last, or what is at fault with what it asked by the number `n`."""
        values, view = self._seen
        self._is_telling = True
        try:
            with using(self.language):
                if not faults:
                    self.words = as_sent(_words(self.title()))
                    self.shown_controls = [as_sent(one.sent()) for one in self._offered]
                    self.vocabulary = as_sent(self.names(values))
                    self.values = values
                    self.view = as_sent(view.sent())
            self.answer = as_sent({"n": n, "values": values, "faults": list(faults)})
        finally:
            self._is_telling = False

    @traitlets.validate("values")
    def _values_fit(self, proposal: Any) -> dict[str, Any]:
        if self._is_telling:
            return dict(proposal["value"])
        self._seen = self._looked({**self._seen[0], **proposal["value"]}, self.language)
        return self._seen[0]

    @traitlets.observe("values")
    def _values_set(self, _change: Any) -> None:
        if not self._is_telling:
            self._tell(None)

    @traitlets.validate("language")
    def _language_fits(self, proposal: Any) -> str:
        return checked_language(str(proposal["value"]))

    @traitlets.observe("language")
    def _language_set(self, change: Any) -> None:
        if not self._is_telling:
            self._seen = self._looked(self._seen[0], change["new"])
            self._tell(None)

    @traitlets.observe("asked")
    def _answer(self, change: Any) -> None:
        asked = change["new"]
        n = asked.get("n")
        if asked.get("page"):
            self.page = as_sent({"n": n, "html": self._page()})
            return
        values, language = asked.get("values"), asked.get("language", self.language)
        if not isinstance(values, dict) or not isinstance(language, str):
            return  # no question of our browser's part
        faults: list[dict[str, Any]] = []
        try:
            self._seen = self._looked({**self._seen[0], **values}, language)
            self._is_telling = True
            self.language = language
        except DefinitionError as error:
            faults = [{"control": self.place_of(one.path, values), "message": one.message} for one in error.faults]
        except (JourneyLabError, ValueError) as error:
            control = error.control if isinstance(error, ControlError) else None
            faults = [{"control": control, "message": str(error)}]
        finally:
            self._is_telling = False
        self._tell(n, faults)


def _words_of(control: Control, value: Any) -> str:
    """What is chosen at a control, for a page."""
    match control:
        case Choice() | Slider():
            return next((said for one, said in control.options if one == value), "")
        case Several():
            return ", ".join(said for one, said in control.options if one in value)
        case Kept():
            return "; ".join(f"{one['name']}: {one['condition'] or say('weighted evidence')}" for one in value)
        case Again():
            return ""
        case Stepper():
            return str(value + 1)
    return (say("yes") if value else say("no")) if isinstance(value, bool) else str(value)


def _words(title: str) -> dict[str, Any]:
    """What the browser's part says of itself, in the current language."""
    return {
        "title": title, "languages": [(one, _NAMES[one]) for one in LANGUAGES], "language": say("Language"),
        "controls": say("Controls"), "answers": say("Answers"), "picture": say("Picture"), "table": say("Table"),
        "save_page": say("Page (HTML)"), "save_picture": say("Picture (PNG)"), "save_table": say("Table (CSV)"),
        "code": say("The same in Python"), "copy": say("Copy"), "copied": say("Copied"), "keep": say("Keep"),
        "change": say("Change"), "remove": say("Remove"), "kept_none": say("Nothing is kept yet."),
        "weighted": say("weighted evidence"), "previous": say("Previous"), "next": say("Next"),
        "of": say("{n} of {of}", n="{n}", of="{of}"), "no_answer": say("No answer has come; is the kernel running?"),
        "last_good": say("What is shown is what was seen before."), "export": say("Export"),
    }  # fmt: skip

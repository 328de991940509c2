"""What a person does on a canvas: by mouse and keyboard, in whichever page it is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as TooLate


def until(holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class CanvasPage:
    """A page with one canvas, and the file to which the notebook writes the drawn journey after every change."""

    def __init__(self, page: Page, written: Path) -> None:
        self.page, self.written = page, written
        page.wait_for_selector(".jc .react-flow__node", timeout=120_000)

    def text(self) -> str:
        """The journey as YAML, as Python has it now."""
        return self.written.read_text()

    def comes(self, part: str) -> None:
        """Waits until the journey's text has a part."""
        until(lambda: part in self.text(), f"{part!r} is not in:\n{self.text()}")

    def goes(self, part: str) -> None:
        """Waits until the journey's text no longer has a part."""
        until(lambda: part not in self.text(), f"{part!r} is still in:\n{self.text()}")

    def node(self, name: str) -> Locator:
        """A node of the drawing."""
        return self.page.locator(f'.jc .react-flow__node[data-id="{name}"]')

    def select(self, name: str) -> None:
        """Clicks a node at its name; again where the drawing has just arranged itself anew under the mouse."""
        selected = self.page.locator(f'.jc .react-flow__node.selected[data-id="{name}"]')
        for _ in range(5):
            self.node(name).locator(".jc-head").click()
            try:
                selected.wait_for(timeout=3_000)
            except TooLate:
                continue
            return
        raise AssertionError(f"{name} cannot be selected")

    def add(self, verb: str) -> None:
        """Clicks a verb."""
        self.page.locator(f'.jc [data-verb="{verb}"]').click()

    def do(self, what: str) -> None:
        """Clicks a tool: undo, redo, delete, tidy."""
        self.page.locator(f'.jc [data-do="{what}"]').click()

    def field(self, path: str) -> Locator:
        """The control of an option, by its place in the definition below what is selected."""
        return self.page.locator(f'.jc-panel [data-path="{path}"]').locator("input, select, textarea").first

    def fill(self, path: str, text: str) -> None:
        """Writes an option; where it may be written in several ways, in the one that is chosen."""
        chosen = self.page.locator(f'.jc-panel [data-path="{path}"]').last
        chosen.locator("input, select, textarea").first.fill(text)

    def choose(self, path: str, value: str) -> None:
        """Chooses an option."""
        self.field(path).select_option(value)

    def connect(self, source: str, slot: str, target: str) -> None:
        """Drags a line from a way out of a node to another node."""
        start = self.node(source).locator(f'.react-flow__handle.source[data-handleid="{slot}"]')
        start.scroll_into_view_if_needed()
        a, b = start.bounding_box(), self.node(target).locator(".react-flow__handle.target").bounding_box()
        assert a is not None
        assert b is not None
        mouse = self.page.mouse
        mouse.move(a["x"] + a["width"] / 2, a["y"] + a["height"] / 2)
        mouse.down()
        mouse.move((a["x"] + b["x"]) / 2, (a["y"] + b["y"]) / 2, steps=6)
        mouse.move(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2, steps=6)
        mouse.up()

    def drag(self, name: str, dx: float, dy: float) -> None:
        """Drags a node."""
        box = self.node(name).locator(".jc-head").bounding_box()
        assert box is not None
        mouse = self.page.mouse
        mouse.move(box["x"] + 40, box["y"] + 8)
        mouse.down()
        mouse.move(box["x"] + 40 + dx, box["y"] + 8 + dy, steps=8)
        mouse.up()

    def edges(self) -> set[str]:
        """The lines of the drawing."""
        found = self.page.locator(".jc .react-flow__edge").evaluate_all("all => all.map(one => one.dataset.id)")
        return set(found)

    def label(self, title: str) -> Locator:
        """A label on a line, by part of its words."""
        return self.page.locator(".jc-label-box", has_text=title)

    def is_sound(self) -> bool:
        """Whether the replay has come; waits for it."""
        try:
            until(lambda: "No faults" in self.status() and "entries" in self.status(), "")
        except AssertionError:
            raise AssertionError(self.page.locator(".jc-foot").inner_text()) from None
        return True

    def status(self) -> str:
        """The line below the drawing."""
        return self.page.locator(".jc-status").inner_text()

"""What a person does with an explorer: by its controls and pictures, in whichever page it is shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from playwright.sync_api import Locator, Page

from browser.canvaspage import until
from browser.fronts import run_all


def visited(front: SimpleNamespace, page: Page) -> Page:
    """The page of a notebook, at `front.url` in `front.name`, whose explorer has answered."""
    page.goto(front.url)
    if front.name == "jupyter":
        run_all(page)
    page.wait_for_selector(".je .je-picture svg", timeout=120_000)
    return page


def finding(page: Page) -> str:
    """What is found, as it stands there."""
    return page.locator(".je-finding").inner_text()


def finds(page: Page, part: str) -> None:
    """Waits until the finding has a part."""
    until(lambda: part in finding(page), f"{part!r} does not come: {finding(page)}")


def control(page: Page, name: str, what: str = "input, select, textarea") -> Locator:
    """What is moved of a control."""
    return page.locator(f'.je [data-control="{name}"]').locator(what)


def picture(page: Page, name: str, what: str) -> Locator:
    """A part of a picture."""
    return page.locator(f'.je [data-picture="{name}"]').locator(what)


def saved(page: Page, button: Locator, name: str) -> bytes:
    """The file of this name that a button saves."""
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_bytes()


def in_the_dark(page: Page, front: str) -> None:
    """Sets a notebook to dark and waits for the explorer to be."""
    if front == "jupyter":
        page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    else:  # as when marimo is set to dark
        page.evaluate("() => document.body.classList.add('dark')")
    page.wait_for_selector('.je[data-theme="dark"]')

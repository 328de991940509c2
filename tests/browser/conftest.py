"""A browser for all tests of a process, and pages whose complaints are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A running Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for screenshots: JOURNEYLAB_PICTURES, for whoever wants to look at them, or one that goes away."""
    given = os.environ.get("JOURNEYLAB_PICTURES")
    folder = Path(given) if given else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Watched:
    """A page, what its console complained of, and which requests left the machine or failed."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda one: one.type == "error" and self.complaints.append(one.text))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))
        self.page.on("requestfailed", lambda one: self.complaints.append(f"{one.url}: {one.failure}"))
        self.page.on("request", lambda one: self._is_away(one.url) and self.complaints.append(f"asks {one.url}"))

    @staticmethod
    def _is_away(url: str) -> bool:
        return url.startswith("http") and not url.startswith(("http://127.0.0.1", "http://localhost"))


@pytest.fixture
def watched(chromium: Browser) -> Iterator[Watched]:
    """A new page of 1,400 by 1,200 pixels."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1200})
    yield Watched(context.new_page())
    context.close()

"""The six notebooks as apps in a browser, and as scripts: from top to bottom, without a complaint."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page

from browser.conftest import Watched
from browser.fronts import free_port, serving
from journeylab import datasets

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted(datasets.notebooks().glob("0*.py"))


def until_all_have_run(page: Page) -> None:
    """Waits until marimo has shown for some seconds that no cell is running; it begins to show it late."""
    running, quiet = page.get_by_test_id("loading-indicator"), 0
    end = time.monotonic() + 300
    while quiet < 12:
        assert time.monotonic() < end, "cells are still running"
        page.wait_for_timeout(500)
        quiet = 0 if running.count() else quiet + 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_an_app(path: Path, watched: Watched, tmp_path: Path, pictures: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "marimo", "run", str(path), "--headless", "--no-token", "--port", str(port)]
    with serving(command, f"http://127.0.0.1:{port}/health", tmp_path):
        page = watched.page
        page.set_viewport_size({"width": 1400, "height": 5000})
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_text("Next", exact=False).last.wait_for(timeout=240_000)
        until_all_have_run(page)
        page.screenshot(path=pictures / f"{path.stem}.png", full_page=True)
        assert page.locator(".text-error, [data-testid=cell-error]").count() == 0
    # marimo asks a host for MathJax when it draws a plotly figure, which is whole without.
    assert [one for one in watched.complaints if "mathjax" not in one and "ERR_NAME_NOT_RESOLVED" not in one] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_script(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr

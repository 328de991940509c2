"""The replay explorer in both notebooks: a slider moves, and the numbers with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser.canvaspage import CanvasPage, until
from browser.conftest import Watched
from browser.fronts import OPENED, run_all

pytestmark = pytest.mark.browser

CODE = """
from pathlib import Path
import journeylab as jl
written = Path({written!r})
explorer = jl.explorers.ReplayExplorer(jl.Journey.read(jl.datasets.journey_file("trial_welcome")), jl.datasets.shop())
written.write_text(explorer.to_yaml())
_ = explorer.observe(lambda change: written.write_text(explorer.to_yaml()), "document")
explorer
"""


@pytest.mark.parametrize("front", list(OPENED))
def test_a_slider_moves_the_numbers(front: str, watched: Watched, tmp_path: Path, pictures: Path) -> None:
    written = tmp_path / "journey.yaml"
    with OPENED[front](CODE.format(written=str(written)), tmp_path) as url:
        page = watched.page
        page.goto(url)
        if front == "jupyter":
            run_all(page)
        canvas = CanvasPage(page, written)
        page.screenshot(path=pictures / f"explorer-{front}.png", full_page=True)
        outcome = page.locator(".jc-outcome")
        before, label = outcome.inner_text(), canvas.label("96.2%").count()
        slider = page.locator('[data-dial="nodes.pause.wait"] input')
        slider.focus()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        canvas.comes("pause: {wait: 9d, next: nudge}")
        until(lambda: outcome.inner_text() != before, "what comes of it stays as it was")
        until(lambda: canvas.label("96.2%").count() < label, "the numbers on the lines stay as they were")
        with page.expect_download() as download:
            page.locator(".jc-files").select_option("png")
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
        with page.expect_download() as download:
            page.locator(".jc-files").select_option("csv")
        assert (
            Path(download.value.path()).read_text().startswith("node,verb,summary,branch,target,n_visits,branch_share")
        )
        page.screenshot(path=pictures / f"explorer-moved-{front}.png", full_page=True)
        canvas.do("undo")
        canvas.goes("pause: {wait: 9d, next: nudge}")
    assert watched.complaints == []

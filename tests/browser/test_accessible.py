"""The canvas by the rules of axe, and its read-only page without any network."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

import journeylab as jl
from browser.conftest import Watched
from journeylab import datasets
from journeylab.canvas import page as canvas_page

pytestmark = pytest.mark.browser


def serious(found: dict[str, object], within: str = "") -> list[str]:
    """What axe found that is serious or critical, one line each."""
    return [
        f"{one['id']}: {node['html'][:160]}"
        for one in found["violations"]  # type: ignore[attr-defined]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
        if within in str(node["target"])
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_plain_page_is_read_by_everybody(chromium: Browser, tmp_path: Path, pictures: Path, scheme: str) -> None:
    journey = jl.Journey.read(datasets.journey_file("trial_welcome"))
    log = datasets.shop()
    other = journey.model_copy(update={"nodes": {**journey.nodes, "pause": jl.Wait(wait="2d", next="nudge")}})
    path = canvas_page(journey, tmp_path / "page.html", jl.replay(journey, log), jl.support_map(journey, log), other)
    context = chromium.new_context(viewport={"width": 1300, "height": 900}, color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    watched = Watched(context.new_page())
    watched.page.goto(path.as_uri())
    watched.page.wait_for_selector(f'.jc[data-theme="{scheme}"] .react-flow__node')
    watched.page.wait_for_timeout(300)
    watched.page.screenshot(path=pictures / f"page-{scheme}.png", full_page=True)
    assert serious(Axe().run(watched.page).response) == []
    for layer in ("support", "difference", "none"):
        watched.page.locator(f'[data-layer="{layer}"]').click()
        watched.page.wait_for_timeout(150)
        watched.page.screenshot(path=pictures / f"page-{scheme}-{layer}.png", full_page=True)
        assert serious(Axe().run(watched.page).response) == []
    assert watched.complaints == []
    context.close()

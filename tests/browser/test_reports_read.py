"""Reports in a browser: without scripts, without a network, light and dark, wide and narrow, and by axe's rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

import journeylab as jl
from browser.conftest import Watched
from journeylab import datasets
from journeylab.disclosure import Ledger, LedgerKey
from journeylab.experiments import Experiment
from journeylab.reports import Report, report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Report, Path]]:
    """A report of a replay in both languages, and one of an experiment."""
    folder = tmp_path_factory.mktemp("reports")
    ledger = Ledger(folder / "ledger", LedgerKey(bytes(32)))
    replayed = jl.replay(jl.Journey.read(datasets.journey_file("trial_welcome")), datasets.shop())
    declared = Experiment.read(datasets.fixtures() / "experiments" / "offer_test.yaml")
    results = {"replay": (replayed, "en"), "replay_pl": (replayed, "pl"),
               "experiment": (declared.analyze(datasets.shop()), "en")}  # fmt: skip
    found = {}
    for name, (result, language) in results.items():
        one = report(result, ledger=ledger, language=language)
        found[name] = one, one.write(folder / f"{name}.html")
    return found


@pytest.mark.parametrize("name", ["replay", "replay_pl", "experiment"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_read_without_scripts_and_network_and_by_everybody(
    made: dict[str, tuple[Report, Path]], chromium: Browser, pictures: Path, name: str, scheme: str
) -> None:
    one, path = made[name]
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    watched = Watched(context.new_page())
    watched.page.goto(path.as_uri())
    assert " ".join(one.answer.split()) in " ".join(watched.page.inner_text("main").split())
    found = Axe().run(watched.page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")
    ] == []
    watched.page.screenshot(path=pictures / f"report_{name}_{scheme}.png", full_page=True)
    assert watched.complaints == []
    context.close()


def test_on_a_telephone_nothing_is_cut_off(made: dict[str, tuple[Report, Path]], chromium: Browser) -> None:
    _, path = made["replay"]
    context = chromium.new_context(viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("h1").inner_text()
    box = page.locator("main").bounding_box()
    assert box is not None
    assert box["width"] <= 390
    assert page.locator(".answer").bounding_box()["width"] <= 390  # type: ignore[index]
    context.close()

"""Explorers in marimo and in JupyterLab: a control moves what is seen, what is seen can be taken along."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from browser.canvaspage import until
from browser.conftest import Watched
from browser.explorerpage import control, finding, finds, in_the_dark, picture, saved, visited
from browser.fronts import OPENED
from browser.test_accessible import serious

pytestmark = pytest.mark.browser

SEGMENTS = """
import journeylab as jl
explorer = jl.explorers.SegmentExplorer(
    jl.datasets.shop(), {"new": 'since("signup") < "30d"', "buyers": 'count("purchase", "90d") >= 1'}
)
explorer
"""


@pytest.fixture(scope="module", params=list(OPENED))
def segments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A notebook that shows a segment explorer anew at every visit."""
    with OPENED[request.param](SEGMENTS, tmp_path_factory.mktemp(request.param)) as url:
        yield SimpleNamespace(name=request.param, url=url)


@pytest.fixture
def page(segments: SimpleNamespace, watched: Watched) -> Iterator[Page]:
    yield visited(segments, watched.page)
    assert watched.complaints == []


def test_a_condition_is_built_kept_and_looked_at(page: Page, pictures: Path, segments: SimpleNamespace) -> None:
    finds(page, "new: 749 of 7,000 contacts")
    page.screenshot(path=pictures / f"segments-{segments.name}.png")
    condition = control(page, "condition")
    condition.fill("")
    condition.press_sequentially("pla")
    page.locator(".je [role=option]", has_text="plan").first.click()
    condition.press("End")
    condition.press_sequentially(" == ")
    condition.press("ArrowDown")
    offered = page.locator(".je [role=option]").all_inner_texts()
    assert {one.split("\n")[0] for one in offered} == {'"paid"', '"trial"'}
    condition.press("Escape")
    until(lambda: "at character" in page.locator(".je .jc-fault").inner_text(), "no fault is told")
    assert page.locator(".je-answers").get_attribute("data-stale") == "true"
    assert "749 of 7,000" in finding(page)
    page.screenshot(path=pictures / f"segments-fault-{segments.name}.png")
    condition.fill('plan == "paid"')
    control(page, "name").fill("payers")
    finds(page, "payers: 3,153 of 7,000 contacts (45.0%)")
    assert page.locator(".je .jc-fault").count() == 0
    control(page, "segments", '[data-do="keep"]').click()
    control(page, "condition").fill('country == "PL"')
    control(page, "name").fill("poles")
    finds(page, "poles: 3,168")
    picture(page, "overlap", '[data-tab="table"]').click()
    until(lambda: "payers" in picture(page, "overlap", "thead").inner_text(), "the kept segment is not in the table")
    assert picture(page, "overlap", "tbody tr").count() == 8
    control(page, "segments", '[data-do="change"]').last.click()
    finds(page, "payers: 3,153")
    control(page, "segments", '[data-do="remove"]').last.click()
    until(lambda: picture(page, "overlap", "tbody tr").count() == 4, "the segment is still there")


def test_a_slider_moves_what_is_seen(page: Page, segments: SimpleNamespace) -> None:
    picture(page, "contrasts", '[data-tab="table"]').click()
    before = picture(page, "contrasts", "tbody").inner_text()
    slider = control(page, "as_of")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    finds(page, "on 2026-05-14")
    assert slider.get_attribute("aria-valuetext") == "2026-05-14"
    until(lambda: picture(page, "contrasts", "tbody").inner_text() != before, "the table stays as it was")
    paths = picture(page, "paths", "svg").inner_html()
    control(page, "sample", '[data-do="next"]').click()
    until(lambda: picture(page, "paths", "svg").inner_html() != paths, "the paths stay as they were")
    control(page, "every").select_option(label="4 weeks")
    picture(page, "sizes", '[data-tab="table"]').click()
    until(lambda: picture(page, "sizes", "tbody tr").count() == 8, "the sizes are still weekly")
    assert segments.name in OPENED


def test_what_is_seen_can_be_taken_along(page: Page) -> None:
    png = saved(page, picture(page, "contrasts", '[data-do="png"]'), "contrasts.png")
    box = picture(page, "contrasts", "svg").get_attribute("viewBox")
    assert box is not None
    assert struct.unpack(">II", png[16:24]) == tuple(2 * int(one) for one in box.split()[2:])
    csv = saved(page, picture(page, "sizes", '[data-do="csv"]'), "sizes.csv").decode()
    assert csv.startswith("segment,as_of,n_contacts,n_known,audience_share\n")
    html = saved(page, page.locator('.je [data-do="page"]'), "explorer.html").decode()
    assert finding(page) in html
    assert html.count("<svg") == 4
    page.locator(".je-code summary").click()
    assert "jl.sizes(log, segments, every='7d')" in page.locator(".je-code pre").inner_text()
    page.locator('.je [data-do="copy"]').click()
    until(lambda: page.locator('.je [data-do="copy"]').inner_text() == "Copied", "the code is not copied")


def test_it_speaks_polish(page: Page, pictures: Path, segments: SimpleNamespace) -> None:
    page.locator('.je-languages [lang="pl"]').click()
    finds(page, "25.05.2026")
    assert page.locator('.je-languages [lang="pl"]').get_attribute("aria-pressed") == "true"
    assert page.locator(".je-label").first.inner_text() == "Warunek"
    assert picture(page, "sizes", '[data-tab="table"]').inner_text() == "Tabela"
    page.screenshot(path=pictures / f"segments-pl-{segments.name}.png")


def test_nothing_serious_by_the_rules_of_accessibility(page: Page) -> None:
    assert serious(Axe().run(page).response, within=".je") == []
    picture(page, "sizes", '[data-tab="picture"]').focus()
    page.keyboard.press("ArrowRight")
    assert picture(page, "sizes", '[data-tab="table"]').get_attribute("aria-selected") == "true"
    control(page, "condition").fill("plan ==")
    page.wait_for_selector(".je .jc-fault")
    page.locator(".je-code summary").click()
    assert serious(Axe().run(page).response, within=".je") == []


def test_it_is_read_in_the_dark(segments: SimpleNamespace, chromium: Browser, pictures: Path) -> None:
    context = chromium.new_context(viewport={"width": 1100, "height": 1600}, color_scheme="dark")
    watched = Watched(context.new_page())
    page = visited(segments, watched.page)
    in_the_dark(page, segments.name)
    page.wait_for_timeout(500)
    page.screenshot(path=pictures / f"segments-dark-{segments.name}.png")
    assert serious(Axe().run(page).response, within=".je") == []
    assert watched.complaints == []
    context.close()


PATHS = """
import journeylab as jl
result = jl.replay(jl.Journey.read(jl.datasets.journey_file("trial_welcome")), jl.datasets.shop())
explorer = jl.explorers.PathExplorer(result)
explorer
"""


@pytest.mark.parametrize("name", list(OPENED))
def test_one_contact_after_another_is_shown(name: str, watched: Watched, pictures: Path, tmp_path: Path) -> None:
    with OPENED[name](PATHS, tmp_path) as url:
        page = visited(SimpleNamespace(name=name, url=url), watched.page)
        of_all = page.locator('.je [data-control="place"]').inner_text()
        control(page, "went").select_option(value="1")
        until(lambda: page.locator('.je [data-control="place"]').inner_text() != of_all, "all are still listed")
        finds(page, "left by")
        first = finding(page)
        control(page, "place", '[data-do="next"]').click()
        until(lambda: finding(page) != first, "the same contact is shown")
        control(page, "place", '[data-do="previous"]').click()
        finds(page, first)
        picture(page, "steps", '[data-tab="table"]').click()
        assert "Why" in picture(page, "steps", "thead").inner_text()
        picture(page, "steps", '[data-tab="picture"]').click()
        page.screenshot(path=pictures / f"paths-{name}.png")
        assert serious(Axe().run(page).response, within=".je") == []
        assert watched.complaints == []

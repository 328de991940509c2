"""The canvas in marimo and in JupyterLab: drawing changes the definition, and nothing complains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from browser.canvaspage import CanvasPage, until
from browser.conftest import Watched
from browser.fronts import OPENED, run_all
from browser.test_accessible import serious
from journeylab import Journey, datasets

pytestmark = pytest.mark.browser

CODE = """
from pathlib import Path
import journeylab as jl
from journeylab.canvas import Canvas
written = Path({written!r})
canvas = Canvas({journey}, log=jl.datasets.shop(){more})
written.write_text(canvas.to_yaml())
_ = canvas.observe(lambda change: written.write_text(canvas.to_yaml()), "document")
canvas
"""
FOCUSED = """() => {
    let one = document.activeElement;
    while (one.shadowRoot) one = one.shadowRoot.activeElement;
    return one.dataset.id;
}"""
BUNDLED = 'jl.Journey.read(jl.datasets.journey_file("trial_welcome"))'


@pytest.fixture(scope="module", params=list(OPENED))
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A notebook that shows the bundled journey anew at every visit."""
    folder = tmp_path_factory.mktemp(request.param)
    code = CODE.format(written=str(folder / "journey.yaml"), journey=BUNDLED, more=", height=860")
    with OPENED[request.param](code, folder) as url:
        yield SimpleNamespace(name=request.param, url=url, written=folder / "journey.yaml")


def opened(front: SimpleNamespace, watched: Watched) -> CanvasPage:
    watched.page.goto(front.url)
    if front.name == "jupyter":
        run_all(watched.page)
    return CanvasPage(watched.page, front.written)


@pytest.fixture
def canvas(front: SimpleNamespace, watched: Watched) -> Iterator[CanvasPage]:
    found = opened(front, watched)
    original = Path(datasets.journey_file("trial_welcome")).read_text()
    until(lambda: found.text() == original, "the journey is not shown as it is written")
    yield found
    assert watched.complaints == []


def test_nothing_serious_by_the_rules_of_accessibility(canvas: CanvasPage) -> None:
    for name in ("trigger:", "hello", "read", "offer", "discount", "value", "keen", "pause", "done"):
        canvas.select(name)
        assert serious(Axe().run(canvas.page).response, within=".jc") == [], name


def test_what_is_drawn_is_the_definition(canvas: CanvasPage, pictures: Path, front: SimpleNamespace) -> None:
    canvas.page.screenshot(path=pictures / f"canvas-{front.name}.png")
    journey = Journey.read(datasets.journey_file("trial_welcome"))
    drawn = {tuple(one.split("|")) for one in canvas.edges()}
    assert {("trigger:", "start"), ("read", "then"), ("value", "decide.1"), ("offer", "split.plain")} <= drawn
    assert {name for name, _ in drawn} == {
        "trigger:",
        *(name for name, node in journey.nodes.items() if node.branches()),
    }
    assert "3,467 entries" in canvas.status()


def test_adding_connecting_editing_deleting_and_undoing(
    canvas: CanvasPage, pictures: Path, front: SimpleNamespace
) -> None:
    before = canvas.text()
    canvas.select("last_chance")
    canvas.add("send")
    canvas.comes("message: {send: message}")
    assert "send needs `next`" in canvas.page.locator(".jc-panel").inner_text()
    canvas.fill("send", "last_word")
    canvas.comes("message: {send: last_word}")
    canvas.connect("message", "next", "done")
    canvas.comes("message: {send: last_word, next: done}")
    canvas.connect("last_chance", "else", "message")
    canvas.comes("last_chance: {wait_for: clicked(nudge), within: 7d, then: done, else: message}")
    canvas.page.screenshot(path=pictures / f"canvas-edited-{front.name}.png")
    canvas.select("pause")
    canvas.fill("wait", "6d")
    canvas.comes("pause: {wait: 6d, next: nudge}")
    canvas.select("unmoved")
    canvas.page.keyboard.press("Delete")
    canvas.goes("unmoved: {exit: unmoved}")
    assert canvas.is_sound()
    edited = canvas.text()
    for _ in range(6):
        canvas.do("undo")
    until(lambda: canvas.text() == before, "undo does not lead back to the text as it was")
    for _ in range(6):
        canvas.page.keyboard.press("Control+y")
    until(lambda: canvas.text() == edited, "redo does not lead to what was drawn")


def test_a_change_moves_the_numbers_on_the_lines(canvas: CanvasPage) -> None:
    canvas.select("read")
    before = canvas.label("27.5%").count()
    canvas.fill("within", "12h")
    canvas.comes("within: 12h")
    until(lambda: canvas.label("27.5%").count() < before, "the numbers stay as they were")


def test_moving_a_node_changes_no_version(canvas: CanvasPage) -> None:
    before = canvas.status()
    canvas.drag("hello", 120, 20)
    canvas.comes("layout:")
    assert canvas.status() == before
    canvas.do("tidy")
    canvas.goes("layout:")


def test_a_rename_reaches_everything_that_names_the_node(canvas: CanvasPage) -> None:
    canvas.select("nudge")
    canvas.field("name").fill("poke")
    canvas.field("name").press("Enter")
    canvas.comes("poke: {send: reminder, next: last_chance}")
    canvas.comes("wait_for: clicked(poke)")
    assert "No faults" in canvas.status()


def test_conditions_are_completed_and_their_faults_told(canvas: CanvasPage) -> None:
    canvas.select("value")
    condition = canvas.field("decide.0.if")
    condition.fill("")
    condition.press_sequentially('count("pur')
    canvas.page.keyboard.press("ArrowDown")
    canvas.page.keyboard.press("Enter")
    assert condition.input_value() == 'count("purchase'
    condition.press_sequentially('", "30d") >= 2 and contry == "PL"')
    until(
        lambda: "country" in canvas.page.locator('.jc-panel [data-path="decide.0.if"]').inner_text(), "no fault is told"
    )


def test_a_part_opens_and_is_edited(canvas: CanvasPage) -> None:
    canvas.node("keen").dblclick()
    canvas.page.wait_for_selector('.jc .react-flow__node[data-id="settle"]')
    canvas.select("settle")
    canvas.fill("wait", "2d")
    canvas.page.locator(".jc-way button").first.click()
    canvas.page.wait_for_selector('.jc .react-flow__node[data-id="hello"]')


def test_by_keyboard_alone(canvas: CanvasPage) -> None:
    canvas.node("trigger:").focus()
    canvas.page.keyboard.press("Alt+ArrowDown")
    until(lambda: canvas.page.evaluate(FOCUSED) == "hello", "the focus does not follow the line")
    canvas.page.keyboard.press("Enter")
    canvas.page.keyboard.press("Tab")
    canvas.page.keyboard.press("Escape")
    canvas.select("hello")
    canvas.node("hello").focus()
    canvas.page.keyboard.press("Delete")
    canvas.goes("hello: {send: welcome_1")
    canvas.page.keyboard.press("Control+z")
    canvas.comes("hello: {send: welcome_1")


def test_dark_notebooks_have_a_dark_canvas(chromium: Browser, front: SimpleNamespace, pictures: Path) -> None:
    context = chromium.new_context(viewport={"width": 1400, "height": 1200}, color_scheme="dark")
    page = Watched(context.new_page())
    found = opened(front, page)
    if front.name == "jupyter":
        found.page.evaluate(
            "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
        )
    else:
        found.page.evaluate("() => document.body.classList.add('dark')")
    found.page.wait_for_selector('.jc[data-theme="dark"]')
    found.page.wait_for_timeout(500)
    found.page.screenshot(path=pictures / f"canvas-dark-{front.name}.png")
    context.close()


def test_a_newcomer_draws_the_welcome_journey_and_replays_it(
    front: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, watched: Watched, pictures: Path
) -> None:
    folder = tmp_path_factory.mktemp(f"newcomer-{front.name}")
    written = folder / "journey.yaml"
    with OPENED[front.name](
        CODE.format(written=str(written), journey='"trial_welcome"', more=", height=860"), folder
    ) as url:
        here = SimpleNamespace(name=front.name, url=url, written=written)
        try:
            draw_the_welcome_journey(opened(here, watched))
        finally:
            watched.page.screenshot(path=pictures / f"newcomer-{front.name}.png")
    assert watched.complaints == []
    journey = Journey.read(written)
    expected = Journey.from_data(WELCOME)
    assert journey.version == expected.version


WELCOME = {
    "journey": "trial_welcome",
    "title": "Welcome for new trial accounts",
    "timezone": "Europe/Warsaw",
    "trigger": {"event": "signup", "where": 'plan == "trial" and country in ["PL", "DE"]'},
    "exit_when": [{"event": "purchase", "goal": True}, {"event": "account_closed"}],
    "quiet_hours": {"from": "21:00", "to": "08:00"},
    "cap": {"sends": 3, "within": "7d"},
    "holdout": "5%",
    "start": "hello",
    "nodes": {
        "hello": {"send": "welcome_1", "at": "best", "next": "read"},
        "read": {"wait_for": "opened(hello)", "within": "3d", "then": "offer", "else": "pause"},
        "offer": {"split": {"discount": "40%", "free_month": "40%", "plain": "20%"}},
        "discount": {
            "send": "offer_discount",
            "at": {"between": ["09:00", "17:00"], "days": ["mon", "tue", "wed", "thu", "fri"]},
            "next": "value",
        },
        "free_month": {"send": "offer_free_month", "next": "value"},
        "plain": {"send": "offer_plain", "next": "value"},
        "value": {
            "decide": [
                {"if": 'sum("purchase.amount", "90d") >= 500', "go": "vip"},
                {"if": 'segment("dormant") >= 0.6', "go": "pause"},
            ],
            "else": "done",
        },
        "vip": {"exit": "vip"},
        "pause": {"wait": "4d", "next": "nudge"},
        "nudge": {"send": "reminder", "skipped": "done", "next": "done"},
        "done": {"exit": "finished"},
    },
    "segments": {"dormant": 'since("visit") > "30d"'},
}
"""The journey of the design, with an exit for the part that it runs and a condition for its weights."""


def draw_the_welcome_journey(canvas: CanvasPage) -> None:
    """Draws it by mouse and by filling in forms; nothing is written that is not asked for by a label."""
    page = canvas.page

    def named(verb: str, name: str, **options: str) -> None:
        canvas.add(verb)
        page.wait_for_selector(f'.jc-panel[data-verb="{verb}"]')
        canvas.field("name").fill(name)
        canvas.field("name").press("Enter")
        page.wait_for_selector(f'.jc .react-flow__node.selected[data-id="{name}"]')
        for path, value in options.items():
            canvas.fill(path, value)

    def elsewhere() -> None:
        page.locator(".jc .react-flow__pane").click(position={"x": 12, "y": 700})
        page.wait_for_selector('.jc-panel [data-path="trigger"]')

    # The journey itself.
    canvas.fill("title", "Welcome for new trial accounts")
    canvas.fill("trigger.where", 'plan == "trial" and country in ["PL", "DE"]')
    canvas.page.keyboard.press("Escape")
    elsewhere()
    leave = page.locator('.jc-panel [data-path="exit_when"]')
    for number, event in enumerate(("purchase", "account_closed")):
        leave.locator(".jc-add").click()
        canvas.fill(f"exit_when.{number}.event", event)
    canvas.field("exit_when.0.goal").check()
    for path, value in {"quiet_hours.from": "21:00", "quiet_hours.to": "08:00", "cap.sends": "3", "cap.within": "7d",
                        "holdout": "5%", "timezone": "Europe/Warsaw"}.items():  # fmt: skip
        canvas.fill(path, value)
    page.locator('.jc-panel [data-path="segments"] .jc-add').click()
    segments = page.locator('.jc-panel [data-path="segments"]')
    segments.locator(".jc-key input").fill("dormant")
    segments.locator(".jc-key input").press("Enter")
    segments.locator("textarea").fill('since("visit") > "30d"')
    # Nodes, each behind the selected one.
    canvas.select("trigger:")
    named("send", "hello", send="welcome_1")
    canvas.choose("at", "1")
    named("wait_for", "read", wait_for="opened(hello)", within="3d")
    named("wait", "pause", wait="4d")
    named("send", "nudge", send="reminder")
    canvas.choose("next", "done")
    canvas.choose("skipped", "done")
    elsewhere()
    named("split", "offer")
    for name, message in {
        "discount": "offer_discount",
        "free_month": "offer_free_month",
        "plain": "offer_plain",
    }.items():
        elsewhere()
        named("send", name, send=message)
    canvas.select("discount")
    canvas.choose("at", "3")
    for day in range(5, 7):
        page.locator('.jc-panel [data-path="at.days"] button').nth(day).click()
    elsewhere()
    named("decide", "value")
    for name in ("discount", "free_month", "plain"):
        canvas.select(name)
        canvas.choose("next", "value")
    canvas.select("offer")
    arms = page.locator('.jc-panel [data-path="split"]')
    for number, (name, share) in enumerate({"discount": "40%", "free_month": "40%", "plain": "20%"}.items()):
        arms.locator(".jc-add").last.click()
        arms.locator(".jc-key input").nth(number).fill(name)
        arms.locator(".jc-key input").nth(number).press("Enter")
        canvas.fill(f"split.{name}", share)
    canvas.select("read")
    canvas.choose("then", "offer")
    canvas.choose("else", "pause")
    elsewhere()
    named("exit", "vip", exit="vip")
    canvas.select("value")
    page.locator('.jc-panel [data-path="decide"] .jc-add').last.click()
    canvas.fill("decide.0.if", 'sum("purchase.amount", "90d") >= 500')
    canvas.choose("decide.0.go", "vip")
    canvas.fill("decide.1.if", 'segment("dormant") >= 0.6')
    canvas.choose("decide.1.go", "pause")
    canvas.choose("else", "done")
    assert canvas.is_sound()
    assert page.locator(".jc-label-box").count() > 8

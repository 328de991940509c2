"""Explorers of send times, experiments and releases in marimo and JupyterLab: chosen, looked at anew, taken along."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from sqlalchemy import update

from browser.canvaspage import until
from browser.conftest import Watched
from browser.explorerpage import control, finding, finds, in_the_dark, picture, saved, visited
from browser.fronts import OPENED
from browser.test_accessible import serious
from drawnsends import drawn_sends, log_of_sends
from journeylab.journey import Exit, Journey, Policy, Trigger
from journeylab.sender.mail.messages import Messages
from journeylab.sender.promotion.frozen import Frozen
from journeylab.sender.promotion.releases import pause, promote
from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from test_deviation import Shop, mixed
from words import english_in

pytestmark = pytest.mark.browser

NOTEBOOK = """
from pathlib import Path
import journeylab as jl
from journeylab import experiments
from journeylab.sender.store import Store

def send_times():
    log = jl.EventLog.read("sends.parquet", contacts="contacts.parquet")
    sends = jl.sendtime.send_table(log, outcome="opened", segment="plan")
    value = jl.sendtime.evaluate_out_of_time(sends, {"own hours": jl.sendtime.HabitModel()}, slot_hours=3)
    return jl.explorers.SendTimeExplorer(jl.sendtime.HabitModel().fit(sends), value=value)

def experiment():
    experiment = jl.Experiment.of_split(
        jl.datasets.shop_history().one("akacja_welcome"), "hour", experiment="hour", control="hello", window="14d",
        primary=experiments.Proportion("purchase"), stopping=experiments.Stopping(planned_n=6000),
    )
    return jl.explorers.ExperimentWatcher(experiment, jl.datasets.shop())

def releases():
    return jl.explorers.ReleaseMonitor(Store.open("sqlite:///sender.db"))

explorer = {"send_times": send_times, "experiment": experiment, "releases": releases}[Path("shown").read_text()]()
explorer
"""

PICTURES = {
    "send_times": {"week": "hour_of_week,chance,low,high,mark\n", "gains": "contact_share,n_contacts,gain,low,high\n",
                   "levels": "level,n_contacts,contact_share\n",
                   "value": "arm,against,per_thousand,per_thousand_low,per_thousand_high,is_told\n"},
    "experiment": {"path": "looked_at,n_units,metric,arm,effect,low,high,p_value\n",
                   "ratio": "exposed_at,n_units,p_value\n"},
    "releases": {"forecast": "node,outcome,n,live_share,low,high,forecast_share,forecast_low,forecast_high,verdict\n"},
}  # fmt: skip
"""What is drawn by each explorer, and the first line of its table."""
CODE = {
    "send_times": "levels = level_table(times)", "experiment": "watch = experiment.watch(log, looks=10)",
    "releases": "tables = jl.explorers.release_tables(store, ",
}  # fmt: skip
POLISH = {"send_times": "wszyscy: najlepiej", "experiment": "Zebrano ", "releases": "wydania przyjmują wejścia"}


def sends_in(folder: Path) -> None:
    """Drawn sends of two plans: those who pay open at 9, those who try at 18 o'clock."""

    def chance(contact: np.ndarray, hour: np.ndarray) -> np.ndarray:
        return np.where(hour % 24 // 3 == np.where(contact % 2, 3, 6), 0.6, 0.1)

    contacts = pd.DataFrame({"contact": range(600)})
    contacts["plan"] = np.where(contacts["contact"] % 2, "paid", "trial")
    contacts.to_parquet(folder / "contacts.parquet")
    log_of_sends(drawn_sends(3, chance, n=6000, n_contacts=600)).events().to_parquet(folder / "sends.parquet")


def sender_in(folder: Path) -> Shop:
    """A sender's database: a release with a forecast, and one without whose journey stands still, with an alert."""
    store = Store.open(f"sqlite:///{folder / 'sender.db'}", create=True)
    shop = Shop(store)
    winback = Journey(journey="winback", trigger=Trigger(event="cancelled"), nodes={"done": Exit(exit="seen")})
    now = promote(store, Frozen(winback, Policy(), Messages({})), actor="ada").at
    pause(store, "winback", reason="The offer is over.", actor="ada")
    with store.writing() as connection:
        raise_alert(connection, "relay:main", "warning", "The relay main took 20 s to answer.", now)
    return shop


def come(shop: Shop) -> datetime:
    """Three thousand contacts over the last twelve days, of whom twice as many open as was forecast."""
    with shop.store.writing() as connection:
        now = shop.store.now(connection)
        shop.start = now - timedelta(days=12)
        connection.execute(update(t.spans).values(from_at=shop.start))
    shop.come(3000, mixed(0.7), now)
    return now


@pytest.fixture(scope="module", params=list(OPENED))
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A notebook that makes the explorer that the file `shown` names anew at every visit."""
    folder = tmp_path_factory.mktemp(request.param)
    sends_in(folder)
    shop = sender_in(folder)
    with OPENED[request.param](NOTEBOOK, folder) as url:
        yield SimpleNamespace(name=request.param, url=url, folder=folder, shop=shop)
    shop.store.close()


def shows(front: SimpleNamespace, page: Page, which: str) -> Page:
    """The page of the notebook with one of the explorers."""
    (front.folder / "shown").write_text(which)
    page.set_viewport_size({"width": 1400, "height": 2400})
    return visited(front, page)


def to_tables(page: Page, which: str) -> None:
    """Turns all pictures to their tables."""
    for name in PICTURES[which]:
        picture(page, name, '[data-tab="table"]').click()


def cells(page: Page, name: str) -> list[str]:
    """The rows of a table that is shown."""
    return picture(page, name, "tbody tr").all_inner_texts()


def pictured(page: Page, pictures: Path, name: str) -> None:
    """A screenshot of the explorer, unless the notebook moves it."""
    page.wait_for_timeout(300)
    page.locator(".je").screenshot(path=pictures / f"{name}.png", animations="disabled")


def is_clean(page: Page) -> bool:
    """Whether axe finds nothing serious, with the code open."""
    page.locator(".je-code").evaluate("one => { one.open = true; }")
    assert serious(Axe().run(page).response, within=".je") == []
    return True


def test_hours_of_everyone_of_a_segment_and_of_a_contact(
    front: SimpleNamespace, watched: Watched, pictures: Path
) -> None:
    page = shows(front, watched.page, "send_times")
    finds(page, "everyone: best at ")
    finds(page, "own hours over the best hour for everyone: 276.0 more answers per 1,000 sends")
    pictured(page, pictures, f"send-times-{front.name}")
    assert is_clean(page)
    to_tables(page, "send_times")
    week = cells(page, "week")
    assert len(week) == 168
    assert is_clean(page)
    pictured(page, pictures, f"send-times-tables-{front.name}")
    control(page, "of").select_option(label="segment paid")
    finds(page, "paid: best at ")
    until(lambda: cells(page, "week") != week, "the hours of the segment are those of everyone")
    assert control(page, "place", '[data-do="next"]').is_disabled()
    control(page, "of").select_option(label="one contact")
    until(lambda: control(page, "place", "output").inner_text() == "1 of 600", "no contact is counted")
    until(lambda: "–" not in "".join(cells(page, "week")), "a contact's hours have no intervals")
    first, week = finding(page), cells(page, "week")
    control(page, "place", '[data-do="next"]').click()
    until(lambda: finding(page) != first and cells(page, "week") != week, "the same contact is shown")
    picture(page, "week", '[data-tab="picture"]').click()
    pictured(page, pictures, f"send-times-contact-{front.name}")
    control(page, "place", '[data-do="previous"]').click()
    finds(page, first)
    assert watched.complaints == []


def test_an_experiment_as_of_a_day(front: SimpleNamespace, watched: Watched, pictures: Path) -> None:
    page = shows(front, watched.page, "experiment")
    finds(page, "6,210 of the planned 6,000 units are in (103%).")
    finds(page, "The arms have their shares")
    pictured(page, pictures, f"experiment-{front.name}")
    assert is_clean(page)
    to_tables(page, "experiment")
    path, ratio = cells(page, "path"), cells(page, "ratio")
    assert len(path) == 10
    assert is_clean(page)
    pictured(page, pictures, f"experiment-tables-{front.name}")
    control(page, "looks").select_option(label="20")
    until(lambda: len(cells(page, "path")) == 20, "there are no more looks")
    slider = control(page, "as_of")
    assert slider.get_attribute("aria-valuetext") == "the end of what is known"
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    finds(page, "of the planned 6,000 units are in (7")
    day = slider.get_attribute("aria-valuetext")
    assert day is not None
    until(lambda: max(row[:10] for row in cells(page, "path")) <= day, f"what came after {day} is shown")
    assert cells(page, "ratio") != ratio
    for name in PICTURES["experiment"]:
        picture(page, name, '[data-tab="picture"]').click()
    page.keyboard.press("Home")
    pictured(page, pictures, f"experiment-early-{front.name}")
    for _ in range(13):
        slider.press("ArrowLeft")
    finds(page, "0 of the planned 6,000 units are in (0%).")
    pictured(page, pictures, f"experiment-first-day-{front.name}")
    assert watched.complaints == []


def test_a_release_is_looked_at_again(front: SimpleNamespace, watched: Watched, pictures: Path) -> None:
    page = shows(front, watched.page, "releases")
    pictured(page, pictures, f"releases-first-{front.name}")
    hello = f"hello {front.shop.version} (100%)"
    control(page, "release").select_option(label=hello)
    finds(page, "2 releases take entries. 0 shares are outside of their forecast, of 4.")
    finds(page, "1 journey stands still. 1 alert is open.")
    assert "The offer is over." in picture(page, "stops", "tbody").inner_text()
    assert "took 20 s" in picture(page, "alerts", "tbody").inner_text()
    assert len(cells(page, "runs")) == 2
    come(front.shop)
    assert "0 shares are outside" in finding(page)
    control(page, "again", "button").click()
    finds(page, "4 shares are outside of their forecast, of 4.")
    pictured(page, pictures, f"releases-{front.name}")
    assert is_clean(page)
    to_tables(page, "releases")
    assert all("outside the forecast" in row for row in cells(page, "forecast"))
    assert is_clean(page)
    pictured(page, pictures, f"releases-tables-{front.name}")
    offered = control(page, "release", "option").all_inner_texts()
    control(page, "release").select_option(label=next(one for one in offered if one.startswith("winback")))
    until(lambda: cells(page, "forecast") == [], "the other release has a forecast")
    assert "nothing to hold reality against" in picture(page, "forecast", ".je-note").inner_text()
    pictured(page, pictures, f"releases-none-{front.name}")
    assert watched.complaints == []


@pytest.mark.parametrize("which", list(PICTURES))
def test_what_is_seen_can_be_taken_along(front: SimpleNamespace, watched: Watched, which: str) -> None:
    page = shows(front, watched.page, which)
    for name, head in PICTURES[which].items():
        png = saved(page, picture(page, name, '[data-do="png"]'), f"{name}.png")
        box = picture(page, name, "svg").get_attribute("viewBox")
        assert box is not None
        assert struct.unpack(">II", png[16:24]) == tuple(2 * int(one) for one in box.split()[2:])
        csv = saved(page, picture(page, name, '[data-do="csv"]'), f"{name}.csv").decode()
        assert csv.startswith(head)
        assert csv.count("\n") > 2
    html = saved(page, page.locator('.je [data-do="page"]'), "explorer.html").decode()
    assert finding(page) in html
    assert html.count("<svg") == len(PICTURES[which])
    assert "<script" not in html
    page.locator(".je-code summary").click()
    assert CODE[which] in page.locator(".je-code pre").inner_text()
    page.locator('.je [data-do="copy"]').click()
    until(lambda: page.locator('.je [data-do="copy"]').inner_text() == "Copied", "the code is not copied")
    assert watched.complaints == []


@pytest.mark.parametrize("which", list(PICTURES))
def test_it_is_read_in_polish_and_in_the_dark(
    front: SimpleNamespace, chromium: Browser, pictures: Path, which: str
) -> None:
    context = chromium.new_context(color_scheme="dark")
    watched = Watched(context.new_page())
    page = shows(front, watched.page, which)
    in_the_dark(page, front.name)
    page.locator('.je-languages [lang="pl"]').click()
    finds(page, POLISH[which])
    page.wait_for_timeout(500)
    pictured(page, pictures, f"{which}-dark-{front.name}")
    assert english_in(page.locator(".je").text_content() or "") == []
    assert is_clean(page)
    to_tables(page, which)
    assert english_in(page.locator(".je").inner_text()) == []
    assert is_clean(page)
    pictured(page, pictures, f"{which}-dark-tables-{front.name}")
    assert watched.complaints == []
    context.close()

"""The dashboard: what the sender does on one page, for who has its secret, in two languages, without anybody's name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from starlette.applications import Starlette

from busystore import CANARIES, fill
from chromium import CHROMIUM, Browser
from journeylab.sender.sending.alerts import acknowledge, raise_alert
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.web.app import application
from journeylab.sender.web.dashboard import Dashboard, dashboard_routes
from stores import rows_of
from webclient import Client, served, settings_for

SECRET = "a-secret-that-is-long-enough"
BEARER = {"authorization": f"Bearer {SECRET}"}
RELAY = [{"name": "main", "host": "127.0.0.1", "tls": "none"}]
PICTURES = os.environ.get("JOURNEYLAB_PICTURES")
"""A folder for pictures of the page, for whoever wants to look at them."""


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHBOARD_SECRET", SECRET)


def app_of(store: Store, folder: Path, **more: Any) -> Starlette:
    settings = settings_for(folder, **{"dashboard": "env:DASHBOARD_SECRET", "relays": RELAY} | more)
    app = application(store, settings, clock=lambda: 0.0)
    if not any(getattr(route, "path", "") == "/dashboard" for route in app.routes):
        app.router.routes.extend(dashboard_routes(store, settings))
    return app


class Page(HTMLParser):
    """What a page says: its texts, in order, by section, and its elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sections: dict[str, list[str]] = {"": []}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._section, self._skips = "", False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skips = tag in ("style", "title")
        if tag == "section":
            self._section = str(dict(attrs)["aria-labelledby"])
            self.sections[self._section] = []

    def handle_endtag(self, tag: str) -> None:
        self._skips = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._skips:
            self.sections[self._section].append(" ".join(data.split()))


def shown(store: Store, folder: Path, query: str = "", **more: Any) -> tuple[Page, Any]:
    answer = Client(app_of(store, folder, **more))("GET", f"/dashboard{query}", headers=BEARER)
    assert answer.status_code == 200
    return Page(answer.text), answer


def test_it_says_what_needs_a_person(store: Store, tmp_path: Path) -> None:
    fill(store)
    page, _ = shown(store, tmp_path)
    alerts = page.sections["alerts"]
    assert alerts.index("critical") < alerts.index("error") < alerts.index("warning")
    assert "2 messages wait for (address) to be decided on" in alerts
    to_resolve = page.sections["to-resolve"]
    assert "journeylab sends resolve KEY --delivered" in " ".join(to_resolve)
    keys = [row.message_key for row in rows_of(store, t.sends, state="ambiguous")]
    assert len(keys) == 2
    assert {*keys} <= {*to_resolve}


def test_it_says_who_looks_after_an_alert(store: Store, tmp_path: Path) -> None:
    with store.writing() as connection:
        raise_alert(connection, "relay/main", "error", "it is gone", store.now(connection))
        acknowledge(connection, "relay/main", "jan", store.now(connection))
    assert "relay/main · jan looks after it" in shown(store, tmp_path)[0].sections["alerts"]


def test_it_says_what_runs_and_what_stands_still(store: Store, tmp_path: Path) -> None:
    fill(store)
    page, _ = shown(store, tmp_path)
    releases = " ".join(page.sections["releases"])
    assert "welcome v1 100% of contacts" in releases
    assert "winback v7 5% of contacts canary" in releases
    assert "paused by breaker since 2 March 2026, 09:00 UTC: too many bounces" in releases
    assert "main is left alone" in " ".join(page.sections["relays"])
    assert "host-1 mail1 5 h ago" in " ".join(page.sections["workers"])
    assert "crm 1" in " ".join(page.sections["others"])


def test_it_counts_as_the_store_does(store: Store, tmp_path: Path) -> None:
    fill(store)
    page, _ = shown(store, tmp_path)
    sends = page.sections["sends"]
    row = sends[sends.index("welcome") + 1 :]
    assert row[:10] == ["\u2013", "9", "\u2013", "40", "3", "\u2013", "2", "8", "\u2013", "\u2013"]
    heights = [float(attrs["height"] or 0) for tag, attrs in page.tags if tag == "rect" and attrs["class"] == "bar"]
    assert len(heights) == 24
    assert max(heights) == 150
    now = page.sections["now"]
    assert now[now.index("messages without a known end") + 1] == "2"
    assert "3.0 s, 3.0 s" in now


def test_it_holds_reality_against_the_forecast(store: Store, tmp_path: Path) -> None:
    fill(store)
    page, _ = shown(store, tmp_path)
    forecast = page.sections["forecast"]
    assert forecast[forecast.index("(exits): done") :][:6] == [
        "(exits): done",
        "30",
        "100 %",
        forecast[forecast.index("(exits): done") + 3],
        "10 %",
        "(8 % \u2013 12 %)",
    ]
    assert forecast.index("outside") < forecast.index("too few yet")


def test_forecasts_are_compared_anew_after_five_minutes(store: Store, tmp_path: Path) -> None:
    fill(store)
    dashboard = Dashboard(store, settings_for(tmp_path, relays=RELAY), clock=lambda: 0.0)

    def n_contacts() -> str:
        forecast = Page(dashboard.page("en")).sections["forecast"]
        return forecast[forecast.index("(exits): done") + 1]

    assert n_contacts() == "30"
    entry = {"contact": "c50", "journey": "welcome", "entry": 1, "version": "v1", "held_out": False, "exit": "done"}
    with store.writing() as connection:
        now = store.now(connection)
        connection.execute(insert(t.entries), entry | {"entered_at": now, "left_at": now, "converted": False})
    assert n_contacts() == "30"
    store.clock.move(minutes=5)  # type: ignore[attr-defined]
    assert n_contacts() == "31"


def test_opens_of_machines_stand_apart(store: Store, tmp_path: Path) -> None:
    fill(store)
    seen = shown(store, tmp_path)[0].sections["seen"]
    assert seen[-6:] == ["welcome", "40", "50 %", "60 %", "25 %", "15 %"]


@pytest.mark.parametrize("language", ["en", "pl"])
def test_nobody_is_on_it_and_nothing_runs_on_it(store: Store, tmp_path: Path, language: str) -> None:
    fill(store)
    page, answer = shown(store, tmp_path, f"?lang={language}")
    assert "@" not in answer.text.replace("@media", "")
    for contact in CANARIES:
        assert contact not in answer.text
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "img", "link", "form", "input")]
    assert not [attrs for _, attrs in page.tags if "style" in attrs or "href" in attrs or "src" in attrs]
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert answer.headers["cache-control"] == "no-store"
    assert ("meta", {"http-equiv": "refresh", "content": "60"}) in page.tags


def test_it_speaks_polish_to_who_reads_polish(store: Store, tmp_path: Path) -> None:
    fill(store)
    for query, headers in [("?lang=pl", {}), ("", {"accept-language": "pl-PL, en;q=0.5"})]:
        answer = Client(app_of(store, tmp_path))("GET", f"/dashboard{query}", headers=BEARER | headers)
        page = Page(answer.text)
        assert answer.headers["content-language"] == "pl"
        assert "Co robi nadawca" in page.sections[""]
        assert "Wiadomości, o których ktoś musi zdecydować" in page.sections["to-resolve"]
        assert "5 godz. temu" in page.sections["workers"]


def test_alerts_that_the_store_has_in_english_are_told_in_polish(store: Store, tmp_path: Path) -> None:
    with store.writing() as connection:
        text = "the relay main cannot be reached; it is tried again by itself"
        raise_alert(connection, "relay/main", "error", text, store.now(connection))
    assert text in shown(store, tmp_path)[0].sections["alerts"]
    polish, _ = shown(store, tmp_path, "?lang=pl")
    assert "serwer main jest nieosiągalny; kolejna próba nastąpi sama" in polish.sections["alerts"]


def test_an_empty_store_says_how_to_begin(store: Store, tmp_path: Path) -> None:
    page, _ = shown(store, tmp_path)
    assert page.sections["alerts"][-1] == "Nothing needs a person."
    assert "journeylab promote" in page.sections["releases"][-1]
    assert "journeylab run" in page.sections["workers"][-1]
    assert "main works" in " ".join(page.sections["relays"])
    assert "to-resolve" not in page.sections


def test_staging_is_said_at_the_top(store: Store, tmp_path: Path) -> None:
    page, _ = shown(store, tmp_path, staging={"domains": ["staging.example"]})
    assert any("only staging.example can be reached" in one for one in page.sections[""])


def test_what_others_wrote_cannot_be_markup(store: Store, tmp_path: Path) -> None:
    fill(store)
    with store.writing() as connection:
        connection.execute(update(t.pauses).values(reason="<script>alert(1)</script>", started_by="<b>"))
        connection.execute(update(t.releases).values(created_by='"><img src=x>'))
    page, answer = shown(store, tmp_path)
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "b")]


def test_it_is_for_who_has_the_secret(store: Store, tmp_path: Path) -> None:
    assert Client(app_of(store, tmp_path))("GET", "/dashboard").status_code == 401
    assert Client(app_of(store, tmp_path, dashboard=None))("GET", "/dashboard", headers=BEARER).status_code == 404


def test_a_store_that_does_not_answer_is_trouble_and_no_traceback(store: Store, tmp_path: Path) -> None:
    with store.writing() as connection:
        connection.execute(text("alter table relays rename to gone"))
    try:
        answer = Client(app_of(store, tmp_path))("GET", "/dashboard", headers=BEARER)
    finally:
        with store.writing() as connection:
            connection.execute(text("alter table gone rename to relays"))
    assert answer.status_code == 503
    assert "Traceback" not in answer.text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


_UNFIT = """(() => {
  const parse = c => c.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const behind = one => { for (; one; one = one.parentElement) {
    const c = parse(getComputedStyle(one).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const bad = [];
  for (const one of document.querySelectorAll('main *')) {
    if (![...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (one.tagName === 'title') continue;
    const style = getComputedStyle(one), ink = one.tagName === 'text' ? style.fill : style.color;
    const [a, b] = [light(parse(ink)), light(behind(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(one.tagName + ' ' + one.textContent + ' ' + ratio.toFixed(2));
  }
  if (document.documentElement.scrollWidth > innerWidth) bad.push('wider than the window');
  return bad; })()"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "language"), [(1200, "en"), (390, "pl")])
def test_it_can_be_read_in_a_browser(
    store: Store, tmp_path: Path, browser: Browser, width: int, language: str, *, dark: bool
) -> None:
    fill(store)
    store.clock.move(minutes=3)  # type: ignore[attr-defined]
    assert rows_of(store, t.sends)[0].planned_at < store.clock.at - timedelta(minutes=1)  # type: ignore[attr-defined]
    page = Dashboard(store, settings_for(tmp_path, relays=RELAY)).page("pl" if language == "pl" else "en")
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    browser.look(width=width, height=900, dark=dark)
    browser.open(file.as_uri())
    assert browser.ask(_UNFIT) == []
    if PICTURES:
        browser.picture(Path(PICTURES) / f"dashboard-{language}-{'dark' if dark else 'light'}.png")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_its_style_passes_its_own_policy(store: Store, tmp_path: Path, browser: Browser) -> None:
    with served(app_of(store, tmp_path)) as url:
        browser.open(url.replace("http://", f"http://any:{SECRET}@") + "/dashboard")
        assert browser.ask("getComputedStyle(document.querySelector('section')).borderTopLeftRadius") == "10px"

"""The pages of consent in a real browser: by mouse and by keyboard, light and dark, wide and on a telephone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import CHROMIUM, Browser
from journeylab.sender.consent.requests import ask, give
from journeylab.sender.consent.standing import state_of
from journeylab.sender.mail.links import Urls
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import KEYS, MovedClock, a_send, people, rows_of
from webclient import app_for, served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]

PICTURES = os.environ.get("JOURNEYLAB_PICTURES")
"""A folder for pictures of the pages, for whoever wants to look at them."""
_CONTRAST = """(() => {
  const parse = c => c.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const behind = one => { for (; one; one = one.parentElement) {
    const c = parse(getComputedStyle(one).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const bad = [];
  for (const one of document.querySelectorAll('main *')) {
    if (![...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(one.tagName + ' ' + ratio.toFixed(2));
  }
  return bad; })()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.use_log()
        yield opened


class Shop:
    """A served shop with a contact, a message and an open request."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        urls = Urls(KEYS, url)
        people(store, "ada", language="pl")
        people(store, "bob", language="en")
        self.links = {}
        for contact in ("ada", "bob"):
            with store.writing() as connection:
                give(connection, contact, "marketing", "Yes", "en", "form", {}, store.now(connection))
            key = bytes.fromhex(a_send(store, contact, state="ambiguous"))
            with store.writing() as connection:
                language, text = ("pl", "Tak, chcę dostawać nowości i oferty.") if contact == "ada" else ("en", "Yes!")
                asked = ask(connection, contact, "surveys", text, language, "form", {}, store.now(connection))
            self.links[contact] = {
                "unsubscribe": urls.unsubscribe(key),
                "preferences": urls.preferences(key),
                "confirm": urls.confirm(asked.request_key),
            }

    def stands(self, contact: str, purpose: str) -> bool:
        with self.store.reading() as connection:
            return state_of(connection, contact, [purpose])[purpose].stands


@pytest.fixture
def shop(tmp_path: Path, sqlite_store_file: Path) -> Iterator[Shop]:
    import shutil

    shutil.copy(sqlite_store_file, tmp_path / "sender.db")
    store = Store.open(f"sqlite:///{tmp_path / 'sender.db'}", KEYS, clock=MovedClock())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(app_for(store, tmp_path, public_url=f"http://127.0.0.1:{port}"), port) as url:
        yield Shop(store, url)
    store.close()


def pictured(browser: Browser, name: str) -> None:
    if PICTURES:
        browser.picture(Path(PICTURES) / f"{name}.png")


def heading(browser: Browser) -> str:
    assert browser.ask("document.querySelectorAll('h1').length") == 1
    return str(browser.ask("document.querySelector('h1').innerText"))


def test_unsubscribing_with_the_mouse(browser: Browser, shop: Shop) -> None:
    browser.look()
    browser.open(shop.links["bob"]["unsubscribe"])
    assert heading(browser) == "Stop these messages?"
    assert shop.stands("bob", "marketing")
    browser.click("button", loads=True)
    assert heading(browser) == "You are unsubscribed"
    assert "hello_mail (sent 2 March 2026, 09:00 UTC)" in browser.ask("document.body.innerText")
    assert not shop.stands("bob", "marketing")
    assert shop.stands("ada", "marketing")
    browser.click("main a", loads=True)
    assert heading(browser) == "What would you like to get?"
    assert browser.cookies() == []
    assert browser.complaints() == []


def test_choosing_with_the_keyboard(browser: Browser, shop: Shop) -> None:
    browser.look()
    browser.open(shop.links["ada"]["preferences"])
    assert heading(browser) == "Co chcesz dostawać?"
    seen = []
    for _ in range(3):
        browser.press("Tab", 9)
        tag, style, width = browser.focused()
        assert (style, width >= 2) == ("solid", True)
        seen.append(tag)
        if tag == "INPUT":
            browser.press(" ", 32)
    assert seen == ["INPUT", "INPUT", "BUTTON"]
    browser.press("Enter", 13, loads=True)
    assert "Twój wybór został zapisany." in browser.ask("document.querySelector('[role=status]').innerText")
    checked = browser.ask("[...document.querySelectorAll('[type=checkbox]')].map(b => [b.value, b.checked])")
    assert checked == [["marketing", False], ["surveys", True]]
    assert (shop.stands("ada", "marketing"), shop.stands("ada", "surveys")) == (False, True)


def test_choosing_by_the_label_and_saving_twice(browser: Browser, shop: Shop) -> None:
    browser.look()
    browser.open(shop.links["bob"]["preferences"])
    browser.click("label[for=choice-1]")
    browser.click("button", loads=True)
    assert not shop.stands("bob", "marketing")
    n_events = len(rows_of(shop.store, t.events))
    browser.click("button", loads=True)
    assert len(rows_of(shop.store, t.events)) == n_events


def test_confirming(browser: Browser, shop: Shop) -> None:
    browser.look()
    browser.open(shop.links["ada"]["confirm"])
    assert browser.ask("document.querySelector('blockquote').innerText") == "Tak, chcę dostawać nowości i oferty."
    assert not shop.stands("ada", "surveys")
    browser.click("button", loads=True)
    assert heading(browser) == "Dziękujemy, potwierdzone"
    assert shop.stands("ada", "surveys")
    assert browser.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 400, 1000])
def test_pages_can_be_read_and_nothing_is_cut(browser: Browser, shop: Shop, dark: bool, width: int) -> None:
    browser.look(width=width, dark=dark)
    name = f"{'dark' if dark else 'light'}-{width}"
    pages = shop.links["ada"] | {
        "unknown": shop.links["ada"]["confirm"][:-3],
        "stopped": shop.links["bob"]["unsubscribe"],
    }
    for page, link in pages.items():
        browser.open(link)
        if page == "stopped":
            browser.click("button", loads=True)
        pictured(browser, f"{page}-{name}")
        assert browser.ask(_CONTRAST) == [], page
        assert browser.ask("document.documentElement.scrollWidth") <= width, page
        small = browser.ask("[...document.querySelectorAll('button')].filter(b => b.offsetHeight < 44).length")
        assert small == 0, page
        assert browser.ask("getComputedStyle(document.querySelector('h1')).fontSize") == "27.2px"  # the style's own

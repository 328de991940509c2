"""The addresses in messages: they come back as what they were written for, and lead nowhere else."""

import json
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab.errors import DefinitionError
from journeylab.sender.keys import Keys
from journeylab.sender.mail.links import Hit, Link, Links, Urls

BASE = "https://mail.shop.example/m"
KEYS = Keys(bytes(range(32)))
URLS = Urls(KEYS, BASE)
LINKS = Links(
    {
        "welcome": {
            "offer": "https://shop.example/offer?a=1&b=%20#top",
            "about": "https://shop.example",
            "help": "mailto:help@shop.example?subject=Help",
        },
        "goodbye": {"back": "https://shop.example/back"},
    }
)
TARGETS = {link.url for message in ("welcome", "goodbye") for link in LINKS.of(message)}
keys = st.binary(min_size=16, max_size=16)


def led_to(path):
    """Where the web server would send who asks for a path: the only way from a request to a target."""
    hit = URLS.named_by(path)
    return None if hit is None or hit.use != "click" else LINKS.target_of("welcome", hit.index)


@given(keys)
def test_every_address_comes_back_as_what_it_was_written_for(key):
    written = {
        "open": URLS.picture(key),
        "unsubscribe": URLS.unsubscribe(key),
        "preferences": URLS.preferences(key),
        "confirm": URLS.confirm(key),
    }
    for use, url in written.items():
        assert URLS.named_by(url.removeprefix(BASE)) == Hit(use, key)
    for index, name in [(0, "about"), (2, "offer")]:
        url = URLS.tracked(key, LINKS, "welcome", name)
        assert URLS.named_by(url.removeprefix(BASE)) == Hit("click", key, index)
        assert led_to(url.removeprefix(BASE)) == Link(name, LINKS.by_message["welcome"][name])


@given(keys)
def test_addresses_are_short_plain_and_name_nobody(key):
    for url in (URLS.picture(key), URLS.unsubscribe(key), URLS.tracked(key, LINKS, "welcome", "offer")):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "mail.shop.example", "", "")
        assert len(url) < 100
        assert quote(parts.path) == parts.path
        assert "shop.example/offer" not in url


def test_numbers_do_not_hang_on_the_order_in_which_links_are_written():
    data = LINKS.data()
    turned = {message: dict(reversed(urls.items())) for message, urls in reversed(data.items())}
    assert Links(turned).of("welcome") == LINKS.of("welcome")
    assert Links(json.loads(json.dumps(data, sort_keys=True))) == LINKS


def test_mailto_links_stay_as_they_are_and_are_no_target():
    assert URLS.tracked(bytes(16), LINKS, "welcome", "help") == "mailto:help@shop.example?subject=Help"
    assert LINKS.target_of("welcome", LINKS.index_of("welcome", "help")) is None


def test_unknown_links_and_messages_are_named():
    with pytest.raises(DefinitionError, match="no link 'ofer'; did you mean 'offer'"):
        URLS.tracked(bytes(16), LINKS, "welcome", "ofer")
    with pytest.raises(DefinitionError, match="There are no links"):
        LINKS.index_of("nothing", "offer")
    for message, index in [("welcome", 3), ("welcome", -1), ("nothing", 0)]:
        assert LINKS.target_of(message, index) is None


@given(keys, st.integers(0, 999), st.integers(0, 999))
def test_number_that_was_changed_names_nothing(key, index, other):
    token = KEYS.token("click", key, index.to_bytes(2, "big"))
    hit = URLS.named_by(f"/c/{token}/{other}")
    assert hit == (Hit("click", key, index) if index == other else None)


@given(keys, st.sampled_from(["c", "o", "u", "p", "confirm"]), st.sampled_from(["", "/0", ".gif"]))
def test_token_of_one_page_opens_no_other(key, page, ending):
    for url in (URLS.picture(key), URLS.unsubscribe(key), URLS.tracked(key, LINKS, "welcome", "about")):
        token = url.removeprefix(BASE).split("/")[2].removesuffix(".gif")
        path = f"/{page}/{token}{ending}"
        assert URLS.named_by(path) is None or path == url.removeprefix(BASE)


EVIL = [
    "//evil.example", "https://evil.example", "\\\\evil.example", "/\\evil.example", "%2f%2fevil.example",
    "?url=https://evil.example", "#https://evil.example", "@evil.example", ":80@evil.example", "\r\nLocation: //evil",
    "%0d%0aLocation:%20//evil", "\x00", "/../../evil", "//", "/", " ", "\u2215evil", "。evil", "/0", "0", "/00", "/+1",
    "/-1", "/1e1", "/٣", "/٠", "/0x0", "/0;evil", "/0%00", "/0/", "/0\n", ".gif", "/0.gif", "/0?x", "/9999999999999999",
]  # fmt: skip


@pytest.mark.parametrize("evil", EVIL)
def test_what_is_put_into_an_address_leads_nowhere(evil):
    path = URLS.tracked(bytes(16), LINKS, "welcome", "offer").removeprefix(BASE)
    token = path.split("/")[2]
    made = [path + evil, evil + path, f"/c/{token}{evil}", f"/c/{evil}/{token}/2", f"/c/{token}/{evil}/2", f"/c{evil}"]
    assert [one for one in made if URLS.named_by(one) is not None] == []


pieces = st.sampled_from([*EVIL, "/c/", "/o/", "/u/", "/confirm/", "/2", "/1", KEYS.token("click", bytes(16), b"\0\2")])


@given(st.lists(pieces | st.text(max_size=5), max_size=6).map("".join))
def test_no_path_leads_to_what_the_release_does_not_have(path):
    link = led_to(path)
    assert link is None or link.url in TARGETS


@given(st.text())
def test_any_text_is_read_without_an_error(path):
    assert URLS.named_by(path) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("//evil.example", "no absolute URL"),
        ("/offer", "no absolute URL"),
        ("http://shop.example", "no absolute URL that begins with https"),
        ("HTTPS://shop.example", "no absolute URL that begins with https"),
        ("javascript:alert(1)", "no absolute URL"),
        ("data:text/html,x", "no absolute URL"),
        ("https:shop.example", "no absolute URL"),
        ("https:///shop.example", "no host"),
        ("https://", "no host"),
        ("https://shop.example:0/", "no host"),
        ("https://shop.example:x/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("https://shop.example@evil.example", "has a user in it"),
        ("https://shop.example:443@evil.example/", "has a user in it"),
        ("https://shop.example\\@evil.example", "no URL has"),
        ("https://shop.example/\r\nX: y", "no URL has"),
        ("https://shop.example/ x", "write it %20"),
        ("https://shop.example/żółw", "write it %C5%BC"),
        ("https://żółw.example/", "xn-- form"),
        ("https://shop.example/{{ name }}", "write it %7B"),
        ("", "no absolute URL"),
        ("mailto:", "names no mailbox"),
        ("mailto://help@shop.example", "names no mailbox"),
        (None, "a link is a URL"),
    ],
)
def test_urls_that_no_message_may_have_are_refused_with_the_remedy(url, why):
    with pytest.raises(DefinitionError, match=r"welcome\.offer: ") as caught:
        Links({"welcome": {"offer": url}})
    assert why in str(caught.value)


def test_all_bad_urls_are_told_at_once():
    with pytest.raises(DefinitionError) as caught:
        Links({"a": {"x": "//evil", "y": "https://shop.example"}, "b": {"z": "/z"}})
    assert [fault.path for fault in caught.value.faults] == [("a", "x"), ("b", "z")]
    with pytest.raises(DefinitionError, match="at most 1000 links, and this one has 1001"):
        Links({"a": {f"l{i}": "https://shop.example" for i in range(1001)}})


@given(st.text() | st.tuples(st.sampled_from(["https://shop.example/", "https://", "mailto:"]), st.text()).map("".join))
def test_urls_that_are_let_in_lead_where_they_say_in_one_header_line(url):
    try:
        Links({"m": {"l": url}})
    except DefinitionError:
        return
    assert url.isascii()
    assert url.isprintable()
    assert not set(url) & set(" \\<>\"'`") - {"'"}
    parts = urlsplit(url)
    assert parts.scheme == "mailto" or (parts.scheme == "https" and parts.netloc and "@" not in parts.netloc)

"""The addresses in a message: tracked links, the picture of opens, pages for unsubscribing, preferences and confirming.

Each names its message by a token of its use and nothing else. A tracked link is `/c/TOKEN/INDEX`: the index is the
link's place in the release's table, and the token proves it, so that no address which the sender did not write counts
as a click. Where it leads stands in that table alone; nothing of a request is ever a part of a target. So there is no
open redirect.

URLs that are made for one contact (of recommended products, with an attribute in them) are in no table: they go out as
they are, and clicks on them are not noted.

The table of a release must be kept as long as its links shall work, which is for as long as people keep their mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote, urlsplit

from journeylab.errors import DefinitionError, Fault, known
from journeylab.sender.keys import Keys

__all__ = ["Hit", "Link", "Links", "PageUse", "Urls"]

PageUse: TypeAlias = Literal["click", "open", "unsubscribe", "preferences", "confirm"]
MOST_LINKS: Final = 1000
"""How many links a message may have; their index has three digits."""
_PATHS: Final[dict[str, PageUse]] = {
    "c": "click",
    "o": "open",
    "u": "unsubscribe",
    "p": "preferences",
    "confirm": "confirm",
}
_PATH: Final = re.compile(r"/(c|o|u|p|confirm)/([A-Za-z2-7]{52})(?:/(0|[1-9][0-9]{0,2})|(\.gif))?", re.ASCII)
_UNSAFE: Final = re.compile(r"[^!-~]|[\\<>\"`{}|^]")


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a message: its name, which `clicked(NODE, "name")` asks for, and the URL to which it leads."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Hit:
    """What a path of `Urls` names: a use, a message (or a request to confirm) and, for a click, the link's index."""

    use: PageUse
    message_key: bytes
    index: int | None = None


@dataclass(frozen=True)
class Links:
    """The links of a release's messages: for each message its URLs by name; https and mailto, absolute.

    Links are numbered by their names' order, so that the numbers do not hang on how the release was written down.

    Args:
        by_message: message to link name to URL.

    Raises:
        DefinitionError: with every URL that a message may not link to, and why.

    >>> links = Links({"welcome": {"offer": "https://shop.example/offer?a=1", "help": "mailto:help@shop.example"}})
    >>> links.of("welcome")[1]
    Link(name='offer', url='https://shop.example/offer?a=1')
    >>> links.target_of("welcome", 2) is None
    True
    """

    by_message: Mapping[str, Mapping[str, str]]

    def __post_init__(self) -> None:
        if faults := [*self._faults()]:
            raise DefinitionError(faults)

    def _faults(self) -> Iterator[Fault]:
        for message, urls in self.by_message.items():
            if len(urls) > MOST_LINKS:
                yield Fault((message,), f"a message has at most {MOST_LINKS} links, and this one has {len(urls)}")
            for name, url in urls.items():
                if wrong := _wrong_with(url):
                    yield Fault((message, name), wrong)

    @cached_property
    def _tables(self) -> dict[str, tuple[Link, ...]]:
        return {
            message: tuple(Link(name, urls[name]) for name in sorted(urls)) for message, urls in self.by_message.items()
        }

    def of(self, message: str) -> tuple[Link, ...]:
        """The links of a message, in the order of their numbers; none where the release has no such message."""
        return self._tables.get(message, ())

    def index_of(self, message: str, name: str) -> int:
        """The number of a message's link.

        Raises:
            DefinitionError: when the message has no link of that name.
        """
        names = [link.name for link in self.of(message)]
        if name not in names:
            raise DefinitionError([Fault((message,), f"there is no link {name!r}; {known(name, names, 'links')}")])
        return names.index(name)

    def target_of(self, message: str, index: int) -> Link | None:
        """Where a tracked link leads: a link of the message by its number, or None; a mailto URL is no such link."""
        table = self.of(message)
        if not 0 <= index < len(table) or not table[index].url.startswith("https:"):
            return None
        return table[index]

    def data(self) -> dict[str, dict[str, str]]:
        """The table as plain data, as a release keeps it; `Links(data)` is equal to it."""
        return {message: dict(urls) for message, urls in self.by_message.items()}


def _wrong_with(url: Any) -> str | None:
    """What keeps a URL out of messages, and what to do about it; None where nothing does."""
    if not isinstance(url, str):
        return f"a link is a URL, not {url!r}"
    if unsafe := _UNSAFE.search(url):
        if unsafe[0].isprintable() and unsafe[0] != "\\":
            return (
                f"{url!r} has {unsafe[0]!r} in it; write it {quote(unsafe[0])} in a path, and a host in its xn-- form"
            )
        return f"{url!r} has {unsafe[0]!r} in it, which no URL has"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as problem:
        return f"{url!r} is no URL: {problem}"
    if url.startswith("mailto:"):
        return None if "@" in parts.path and not parts.netloc else f"{url!r} names no mailbox"
    if not url.startswith("https://"):
        return f"{url!r} is no absolute URL that begins with https:// or mailto:"
    if not host or port == 0:
        return f"{url!r} has no host"
    if "@" in parts.netloc:
        return f"{url!r} has a user in it, behind which another host can hide; leave it out"
    return None


@dataclass(frozen=True)
class Urls:
    """The addresses that a sender writes into its messages, and what they name when they come back.

    Args:
        keys: the sender's.
        public_url: `Settings.public_url`.

    >>> urls = Urls(Keys(bytes(32)), "https://mail.shop.example")
    >>> links = Links({"welcome": {"offer": "https://shop.example/offer"}})
    >>> url = urls.tracked(bytes(16), links, "welcome", "offer")
    >>> url
    'https://mail.shop.example/c/aaaaaaaaaaaaaaaaaaaaaaaaaa2slagah6dhkjeyqzq6gythfqla/0'
    >>> hit = urls.named_by(url.removeprefix("https://mail.shop.example"))
    >>> hit.use, hit.message_key == bytes(16), links.target_of("welcome", hit.index).url
    ('click', True, 'https://shop.example/offer')
    """

    keys: Keys
    public_url: str

    def tracked(self, message_key: bytes, links: Links, message: str, name: str) -> str:
        """The address that notes a click and leads on to a message's link; a mailto link stays as it is.

        Raises:
            DefinitionError: when the message has no link of that name.
        """
        index = links.index_of(message, name)
        link = links.target_of(message, index)
        if link is None:
            return links.of(message)[index].url
        return f"{self.public_url}/c/{self.keys.token('click', message_key, _detail(index))}/{index}"

    def picture(self, message_key: bytes) -> str:
        """The address of the picture whose loading notes an open."""
        return f"{self.public_url}/o/{self.keys.token('open', message_key)}.gif"

    def unsubscribe(self, message_key: bytes) -> str:
        """The address of the page that ends consent, also by RFC 8058's one click."""
        return f"{self.public_url}/u/{self.keys.token('unsubscribe', message_key)}"

    def preferences(self, message_key: bytes) -> str:
        """The address of the page on which a contact says what to get."""
        return f"{self.public_url}/p/{self.keys.token('preferences', message_key)}"

    def confirm(self, request_key: bytes) -> str:
        """The address of the page that confirms an opt-in; `request_key` (16 bytes) names the request."""
        return f"{self.public_url}/confirm/{self.keys.token('confirm', request_key)}"

    def named_by(self, path: str) -> Hit | None:
        """What a path behind the public URL names, or None where this sender wrote no such address.

        `path` is as in the request, without query; whatever differs from an address as it was written, but for the
        case of the token's letters, names nothing.
        """
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        where, token, number, picture = found.groups()
        use = _PATHS[where]
        if (number is not None) != (use == "click") or (picture is not None) != (use == "open"):
            return None
        index = None if number is None else int(number)
        key = self.keys.named_by(use, token, b"" if index is None else _detail(index))
        return None if key is None else Hit(use, key, index)


def _detail(index: int) -> bytes:
    return index.to_bytes(2, "big")

"""Who loaded the picture or followed the link of a message: a person, a mailbox's proxy, a scanner, or nobody knows.

Every open and click is kept as it came; the class stands beside it with the rule that gave it and the rules' version.
The rules go by what was asked, when, and what else was asked of the same message. They are guesses by marks that
machines leave when they do not hide: a scanner that waits and calls itself a browser counts as a person, so rates of
opens and clicks are upper bounds. No rule goes by IP addresses: no list was found that is documented to be of mail
proxies alone; and so a reader's address need not be kept.

Whatever `sendtime.machines` holds for a machine's by its instants (a response within a second of the send, clicks on
two links within two seconds), these rules do too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias

__all__ = ["RULES", "SETTLED_AFTER", "VERSION", "Actor", "Classified", "Fetch", "OtherClick", "Rule", "classify"]

Actor: TypeAlias = Literal["human_likely", "privacy_proxy", "scanner", "unknown"]

VERSION: Final = "sender-hits/1"
"""The version of `RULES`; another rule, order or bound is another version."""
SETTLED_AFTER: Final = timedelta(seconds=10)
"""How long after a hit another one may still change its class: who can wait so long, classifies once."""
_EARLY: Final = timedelta(seconds=10)
_INSTANT: Final = timedelta(seconds=1, microseconds=1)  # a second is within
_SOON: Final = timedelta(seconds=5)
_BURST: Final = timedelta(seconds=2)
_FEW_LINKS: Final = 3
_LONGEST_AGENT: Final = 1000

_SCANNERS: Final = re.compile(
    r"barracuda|proofpoint|urldefense|mimecast|safe ?links|microsoft defender|ironport|ciscosecureemail|messagelabs"
    r"|symantec|fortimail|fortinet|sophos|fireeye|trellix|avanan|forcepoint|trend ?micro|hornetsecurity",
    re.IGNORECASE,
)
_PROGRAMS: Final = re.compile(
    r"(?<!cu)bot\b|crawl|spider|headless|phantomjs|(?:url|bing|uri|link)[ -]?preview|linkexpanding|facebookexternal"
    r"|^(?:curl|wget|python|aiohttp|go-http-client|java|apache-httpclient|libwww-perl|lua-resty-http|node|axios|ruby)\b",
    re.IGNORECASE,
)
_IMAGE_PROXIES: Final = re.compile(r"googleimageproxy|ggpht\.com|yahoomailproxy", re.IGNORECASE)
_PREFETCH: Final = re.compile(r"Edge/12\.246 Mozilla/5\.0\Z")
_PEOPLE: Final = re.compile(r"Mozilla/[0-9.]+ \(|Opera/|Microsoft Office/|Microsoft Outlook|Outlook-|Thunderbird/")
_APPLE: Final = "Mozilla/5.0"


@dataclass(frozen=True, slots=True)
class OtherClick:
    """Another click on a link of the same message: on which link, and how far apart in time (either sign)."""

    link: str
    apart: timedelta


@dataclass(frozen=True, slots=True)
class Fetch:
    """What is known of one load of a picture (`open`) or of a link (`click`).

    Attributes:
        kind: `open` or `click`.
        method: of the request.
        agent: its user agent, None where it sent none.
        after_accepted: the time since the relay took the message; None where that is not known (an ambiguous send).
        link: the name of the link, for a click.
        n_links: how many tracked links the message has.
        others: the other clicks on the message's links, at least those up to `SETTLED_AFTER` before and after.
    """

    kind: Literal["open", "click"]
    method: str = "GET"
    agent: str | None = None
    after_accepted: timedelta | None = None
    link: str | None = None
    n_links: int = 1
    others: tuple[OtherClick, ...] = ()

    @property
    def said_agent(self) -> str:
        """The user agent without spaces around it, cut; empty where there is none."""
        return (self.agent or "")[:_LONGEST_AGENT].strip()

    def is_within(self, bound: timedelta) -> bool:
        """Whether it came less than that after the message was taken, or up to ten seconds before.

        Relays that look into mail before they take it are a little early; a hit that is earlier still says that the
        relay's reply was late, and nothing of who made it.
        """
        return self.after_accepted is not None and -_EARLY < self.after_accepted < bound

    def links_within(self, bound: timedelta) -> int:
        """On how many of the message's links somebody clicked so close in time, this one among them."""
        return len({self.link, *(other.link for other in self.others if abs(other.apart) <= bound)})


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its id, whom it tells, why, and whether that is a machine without a person behind it.

    Attributes:
        rule: its id, as it stands in results.
        actor: whom it takes for the one who asked.
        why: the reason, in plain words.
        holds: whether it speaks of a hit.
        is_machine: whether no person's act lies behind the hit; a proxy that loads when a person opens is no machine.
    """

    rule: str
    actor: Actor
    why: str
    holds: Callable[[Fetch], bool]
    is_machine: bool = True


@dataclass(frozen=True, slots=True)
class Classified:
    """Who asked, by which rule of which version, and whether it was a machine (the event's `is_machine`)."""

    actor: Actor
    rule: str
    is_machine: bool
    version: str = VERSION


RULES: Final[tuple[Rule, ...]] = (
    Rule("method", "scanner", "people's programs ask by GET; HEAD and OPTIONS only look whether a link is there",
         lambda hit: hit.method.upper() != "GET"),
    Rule("scanner_agent", "scanner", "the agent names a product that checks mail",
         lambda hit: _SCANNERS.search(hit.said_agent) is not None),
    Rule("program_agent", "scanner", "the agent names a program that loads pages for nobody to see",
         lambda hit: _PROGRAMS.search(hit.said_agent) is not None),
    Rule("prefetch_agent", "privacy_proxy",
         "an old Edge with a second Mozilla/5.0 behind it: seen by several senders at once after delivery to Gmail",
         lambda hit: _PREFETCH.search(hit.said_agent) is not None),
    Rule("apple_privacy", "privacy_proxy",
         "the agent is Mozilla/5.0 and no more: Apple's Mail Privacy Protection, which loads whether or not one reads",
         lambda hit: hit.kind == "open" and hit.said_agent == _APPLE),
    Rule("no_browser", "scanner", "a click by an agent that only loads pictures, or that no browser has",
         lambda hit: hit.kind == "click"
         and (hit.said_agent == _APPLE or _IMAGE_PROXIES.search(hit.said_agent) is not None)),
    Rule("instant", "scanner", "it came within a second of the message's acceptance",
         lambda hit: hit.is_within(_INSTANT)),
    Rule("soon_click", "scanner", "a click less than five seconds after the message's acceptance",
         lambda hit: hit.kind == "click" and hit.is_within(_SOON)),
    Rule("all_links", "scanner", "every one of three or more links was followed within ten seconds",
         lambda hit: hit.kind == "click" and hit.n_links >= _FEW_LINKS
         and hit.links_within(SETTLED_AFTER) >= hit.n_links),
    Rule("burst", "scanner", "another link of the message was followed within two seconds",
         lambda hit: hit.kind == "click" and hit.links_within(_BURST) > 1),
    Rule("image_proxy", "privacy_proxy",
         "Gmail's or Yahoo's proxy, which hides the reader and loads, as a rule, when the message is opened",
         lambda hit: _IMAGE_PROXIES.search(hit.said_agent) is not None, is_machine=False),
    Rule("browser", "human_likely", "the agent of a browser or mail program, and nothing speaks against it",
         lambda hit: _PEOPLE.match(hit.said_agent) is not None, is_machine=False),
    Rule("nothing_known", "unknown", "no agent, or one that no rule knows; nothing speaks for a machine",
         lambda _: True, is_machine=False),
)  # fmt: skip
"""The rules in the order in which they are asked; the first that holds decides, and the last always holds."""


def classify(hit: Fetch) -> Classified:
    """Who loaded the picture or followed the link, by the first rule that holds.

    What others do up to `SETTLED_AFTER` later may change the class; asked again then, it is final.

    >>> browser = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
    >>> classify(Fetch("click", agent=browser, after_accepted=timedelta(minutes=9), link="offer"))
    Classified(actor='human_likely', rule='browser', is_machine=False, version='sender-hits/1')
    >>> classify(Fetch("click", agent=browser, after_accepted=timedelta(seconds=2), link="offer")).rule
    'soon_click'
    """
    rule = next(rule for rule in RULES if rule.holds(hit))
    return Classified(rule.actor, rule.rule, rule.is_machine)

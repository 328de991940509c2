"""Message channels: ways other than SMTP by which messages go out, such as a provider's HTTP API.

An installed package brings a channel (`journeylab.extensions`), and a relay of the settings names it:

```yaml
relays:
  - {name: acme, channel: acme, options: {region: eu}, secrets: {token: env:ACME_TOKEN}, idempotency_for: 24h}
```

A channel takes the same message as a relay: whole, as it was frozen, for one address. It has nothing of it before the
gate lets the message pass, and everything after; so between being asked and answering, nobody knows. What it raises, or
does not answer in time, is `unknown`, and the message becomes ambiguous like one without a reply to its end. Only where
`idempotency_for` says for how long the provider drops a key that it has seen is such a message offered again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

from journeylab import extensions
from journeylab.errors import DataError
from journeylab.sender.logs import without_addresses
from journeylab.sender.settings import Relay, Settings

from .transport import Connection, Kind, Outcome, Unreached, trusted

__all__ = ["Answer", "Channel", "Handover", "Letter", "way_to"]

Said = Literal["accepted", "refused", "later", "unknown"]
_MOST_TEXT: Final = 500
_KINDS: Final[Mapping[str, Kind]] = {
    "accepted": "accepted", "refused": "rejected", "later": "temporary", "unknown": "unknown"
}  # fmt: skip
_BAD_ADDRESS: Final = "5.1.1"


class Letter(NamedTuple):
    """A message for a channel.

    Attributes:
        key: the message's key, hexadecimal; every attempt has the same, and no other message.
        address: the one mailbox that it is for.
        return_path: where it comes back to if it cannot be delivered; names the message.
        data: the whole message with its headers (RFC 5322), in ASCII with CRLF, signed if the settings say so; every
            attempt has the same bytes.
    """

    key: str
    address: str
    return_path: str
    data: bytes


class Answer(NamedTuple):
    """What a channel has made of a message.

    Attributes:
        said: `accepted`, the provider has it; `refused`, it never will; `later`, it has not, and may be asked again;
            `unknown`, it may have it or not.
        text: why, for people, without addresses.
        id: the provider's own name for a message that it has accepted, by which its reports can be matched.
        is_address_bad: of `refused`, whether because nobody has that address; it is then suppressed.
    """

    said: Said
    text: str = ""
    id: str | None = None
    is_address_bad: bool = False


class Channel(Protocol):
    """What a channel must have; a package names the class of it, which is made for each lane.

    It is made with `options` and `secrets` of its relay, of which it refuses those that it does not know by a
    `ValueError` or `TypeError` that says so, and without calling anybody. One thread at a time asks it. A method
    `close` is called at the end, where it has one.
    """

    def __init__(self, *, options: Mapping[str, Any], secrets: Mapping[str, str], timeout: float) -> None:
        """Ready to send; `timeout` is how many seconds an answer is waited for."""
        ...

    def send(self, letter: Letter) -> Answer:
        """What the provider makes of a message.

        `later` is for what is certain: the provider was not reached, or said that it has not taken it.
        """
        ...


class Handover:
    """A channel in a lane's hands, in the place of a `Connection`: one message at a time, whole and after the gate.

    Args:
        relay: the relay that names the channel.
        make: makes the channel.

    Raises:
        Unreached: when it cannot be made.
    """

    def __init__(self, relay: Relay, make: Callable[[], Channel]) -> None:
        self.relay = relay.name
        self._patience = relay.timeout.total_seconds()
        self._letter: Letter | None = None
        try:
            self._channel: Channel | None = make()
        except Exception as problem:
            raise Unreached("connection", _said(f"{type(problem).__name__}: {problem}")) from None

    @property
    def is_open(self) -> bool:
        """Whether another message can be given to it."""
        return self._channel is not None

    def unblock(self) -> None:
        """Nothing: it is asked in a thread of its own."""

    def hold(self, letter: Letter) -> None:
        """Keeps a message until it has passed the gate; nobody is told of it."""
        self._letter = letter

    def withdraw(self) -> Outcome:
        """Gives the message up, of which nobody was told."""
        self._letter = None
        return Outcome("withdrawn", "body")

    def cut(self) -> None:
        """Nothing: what was not asked yet waits for the gate, and what was cannot be taken back."""

    def finishing(self) -> Generator[Handover, Outcome, Outcome]:
        """Gives way to whoever calls `deliver` in another thread, and is what that came to."""
        outcome = yield self
        return outcome

    def deliver(self) -> Outcome:
        """What the channel makes of the message; `unknown` when it raises, or does not answer in time."""
        channel, letter = self._channel, self._letter
        if channel is None or letter is None:
            return Outcome("withdrawn", "body", text="there is nothing to send, or no channel any more")
        self._letter = None
        answers: SimpleQueue[Answer | BaseException] = SimpleQueue()
        Thread(target=_ask, args=(channel, letter, answers), name="channel", daemon=True).start()
        try:
            answer = answers.get(timeout=self._patience)
        except Empty:
            answer = Answer("unknown", f"no answer in {self._patience:g} seconds")
        outcome = _outcome(answer)
        if outcome.kind == "unknown":  # it may still be at work on it
            self._channel = None
        return outcome

    def leave(self) -> None:
        """Lets the channel close what it has open."""
        close = getattr(self._channel, "close", None)
        self._channel = None
        if close is not None:
            with suppress(Exception):
                close()


def _ask(channel: Channel, letter: Letter, answers: SimpleQueue[Answer | BaseException]) -> None:
    try:
        answers.put(channel.send(letter))
    except BaseException as problem:
        answers.put(problem)


def _outcome(answer: object) -> Outcome:
    if isinstance(answer, BaseException):
        return Outcome("unknown", "dot", text=_said(f"{type(answer).__name__}: {answer}"))
    if not isinstance(answer, Answer) or answer.said not in get_args(Said):
        return Outcome("unknown", "dot", text=_said(f"the channel has answered with a {type(answer).__name__}"))
    text = _said(answer.text)
    if answer.said == "refused" and answer.is_address_bad:
        return Outcome("rejected", "rcpt", None, _BAD_ADDRESS, text)
    is_taken = answer.said == "accepted" and isinstance(answer.id, str)
    return Outcome(_KINDS[answer.said], "dot", text=text, queue_id=_said(str(answer.id)) if is_taken else None)


def _said(text: object) -> str:
    return without_addresses(" ".join(str(text).split()))[:_MOST_TEXT]


def way_to(relay: Relay, settings: Settings) -> Callable[[], Connection | Handover]:
    """What opens a relay: a connection by SMTP, or the channel that it names; nobody is called yet.

    What is opened raises `Unreached` where the relay does not take messages.

    Raises:
        DataError: when the password, a secret or the authorities cannot be read, or no installed package brings the
            channel, or what it brings is broken.
    """
    if relay.channel is None:
        password = None if relay.password is None else settings.secret(relay.password)
        return partial(Connection, relay, settings.domain, trusted(relay, settings), password)
    kind = extensions.load("channels", relay.channel, methods=["send"])
    if not isinstance(kind, type):
        raise DataError(f"the relay {relay.name}: its channel {relay.channel!r} is no class; see docs/extending.md")
    given: dict[str, Any] = {
        "options": dict(relay.options),
        "secrets": {name: settings.secret(one) for name, one in relay.secrets.items()},
        "timeout": relay.timeout.total_seconds(),
    }
    return partial(Handover, relay, partial(kind, **given))

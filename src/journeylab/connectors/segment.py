"""Segment: what happened here is told by track and identify calls.

It keeps to Segment's pages "HTTP API Source", "Spec: Common Fields" and "Handling Duplicate Data". Segment cannot be
asked for anything: what it has to say it posts to `POST /events`, by a webhook destination whose mapping gives events
our names, with a token (docs/crm.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from journeylab.errors import known
from journeylab.journey import Name
from journeylab.references import BaseUrl, SecretReference

from .connector import Connector, Reach, Secrets
from .credentials import basic
from .crm import judged
from .facts import Fact, passed_over
from .http import Call, Reply
from .pushed import check_push, facts_of

__all__ = ["Segment", "SegmentTarget"]

_CAN: Final = ("consent", "contacts", "suppression", "timeline")
_LONGEST_ID: Final = 99
"""A `messageId` has fewer than 100 characters."""
_LONGEST_CALL: Final = 32 * 1024
_HOPELESS: Final = frozenset({400, 404, 405, 413, 415})
_WORD: Final = re.compile(r"[A-Za-z0-9]+")


class Segment(Connector):
    """What the settings say of a source of Segment.

    Attributes:
        url: `https://api.segment.io`, or the one of the workspace's region.
        write_key: the source's.
        names: what the track call of a kind of facts is called, where not by default: `message.sent` is `Message Sent`.
        traits: by what a fact says (`journey`, `message` and so on), the trait that keeps it; for `push: [contacts]`.
    """

    kind: Literal["segment"]
    url: BaseUrl = "https://api.segment.io"
    write_key: SecretReference
    names: dict[str, str] = Field(default_factory=dict)
    traits: dict[Name, str] = Field(default_factory=dict)

    @field_validator("push")
    @classmethod
    def _pushes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_push(value, _CAN)

    @model_validator(mode="after")
    def _says_what_is_needed(self) -> Segment:
        if self.pull:
            raise ValueError("pull: Segment is not asked for anything; it posts what it has to say to POST /events")
        if "contacts" in self.push and not self.traits:
            raise ValueError("push: `contacts` needs `traits`")
        facts = sorted(facts_of(_CAN))
        for name in self.names:
            if name not in facts:
                raise ValueError(f"names: there is no fact {name!r}; {known(name, facts, 'facts')}")
        return self

    def with_credentials(self, reach: Reach, secrets: Secrets) -> Reach:
        """Makes calls with the write key as the user and no password."""
        return lambda call: reach(_with(call, basic(secrets(self.write_key), "")))

    def target(self) -> SegmentTarget:
        """What is told."""
        return SegmentTarget(self)


class SegmentTarget:
    """Tells Segment each fact as a track call, and for `contacts` as an identify call, too.

    Both have a `messageId` made of the fact's id, by which Segment drops what it has had within a day.
    """

    def __init__(self, settings: Segment) -> None:
        self.settings = settings

    def tell(self, fact: Fact, reach: Reach) -> Reply:
        """Tells a fact; see `Target`."""
        wanted, reply = self.settings, passed_over("Segment is not told this")
        said = {key: value for key, value in fact.data.items() if key != "contact" and value is not None}
        if fact.kind in facts_of(word for word in wanted.push if word != "contacts"):
            name = wanted.names.get(fact.kind) or " ".join(map(str.title, _WORD.findall(fact.kind)))
            reply = self._post("track", fact, {"event": name, "properties": said}, reach)
        if "contacts" in wanted.push and fact.kind in facts_of(["contacts"]) and reply.is_taken:
            about = {"kind": fact.kind, **said}
            traits = {trait: about[key] for key, trait in wanted.traits.items() if key in about}
            reply = self._post("identify", fact, {"traits": traits}, reach) if traits else reply
        return reply

    def _post(self, method: str, fact: Fact, what: Mapping[str, Any], reach: Reach) -> Reply:
        identity = f"{fact.webhook_id}/{method}"
        if len(identity) > _LONGEST_ID:
            identity = sha256(identity.encode()).hexdigest()
        body = {
            **what,
            "userId": fact.data["contact"],
            "timestamp": fact.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "messageId": identity,
        }
        call = Call.of_json("POST", f"v1/{method}", body)
        if call.body is not None and len(call.body) > _LONGEST_CALL:
            return Reply(None, "it has more than the 32 kB of a call to Segment", is_hopeless=True)
        return judged(reach(call), "Segment", lambda _: None, lambda status, _: status in _HOPELESS)


def _with(call: Call, authorization: str) -> Call:
    return replace(call, headers={**call.headers, "authorization": authorization})

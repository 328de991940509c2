"""Segment as its published pages describe it: "HTTP API Source" and "Handling Duplicate Data".

Of these: calls are known by the write key as the user of basic authentication; a call has at most 32 kB and a batch
500 kB and 2,500 calls, or it is refused with 400; each call has `userId` or `anonymousId`, and track calls an `event`;
a `messageId` has fewer than 100 characters, and what comes twice with one is dropped. Everything but a body that is
too large or no JSON is answered with 200, whatever becomes of it: what was not accepted is in `dropped`.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

from .system import Answer, Refusal, Request, System

WRITE_KEY: Final = "write-key-of-tests"
_METHODS: Final = ("track", "identify")


class Segment(System):
    """A source.

    Attributes:
        taken: the calls that were accepted, by their message ids, with `type`.
        dropped: why others were not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[str, dict[str, Any]] = {}
        self.dropped: list[str] = []

    def of(self, method: str) -> list[dict[str, Any]]:
        """The accepted calls of a method."""
        return [one for one in self.taken.values() if one["type"] == method]

    def answer(self, request: Request) -> Answer:
        if request.method != "POST" or not request.path.startswith("/v1/"):
            raise Refusal(Answer(404, None))
        method, data = request.path.removeprefix("/v1/"), request.data
        if not isinstance(data, dict) or len(request.body) > (500 if method == "batch" else 32) * 1024:
            raise Refusal(Answer(400, {"success": False, "code": "invalid_request"}))
        scheme, _, who = request.headers.get("authorization", "").partition(" ")
        if scheme != "Basic" or b64decode(who).decode() != f"{WRITE_KEY}:":
            self.dropped.append("write key")
        elif method == "batch":
            for one in data.get("batch", [])[:2500]:
                self._accept(one.get("type", ""), one)
        elif method in _METHODS:
            self._accept(method, data)
        else:
            raise Refusal(Answer(404, None))
        return Answer(200, {"success": True})

    def _accept(self, method: str, data: dict[str, Any]) -> None:
        identity = data.get("messageId")
        if not (data.get("userId") or data.get("anonymousId")):
            self.dropped.append("no_user_anon_id")
        elif method == "track" and not data.get("event"):
            self.dropped.append("event")
        elif not isinstance(identity, str) or not 0 < len(identity) < 100:
            self.dropped.append("messageId")
        else:
            self.taken.setdefault(identity, {"type": method, **data})

"""A space of content, as the published reference of its synchronization describes it.

It follows the page "Synchronization" of Contentful's Content Delivery API. Of it: a bearer token; the first call has
`initial=true` and may have `limit`, `type` and `content_type`; a page that is followed has `nextPageUrl`, the last one
`nextSyncUrl`, whose `sync_token` gives what changed since, deletions among it as `DeletedEntry` without fields; fields
have their values by locale; `X-Contentful-RateLimit-Reset` says when to come again, and nothing else does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .system import Answer, Refusal, Request, System

TOKEN: Final = "cda-of-tests"
_PATH: Final = "/spaces/shop/environments/master/sync"


class Contentful(System):
    """A space with products.

    Attributes:
        now: its clock; each write moves it by a second.
        log: all that ever happened, in order: entries as they were published, and deletions.
    """

    def __init__(self, page: int = 100) -> None:
        super().__init__()
        self.now = datetime(2026, 3, 2, 9, tzinfo=UTC)
        self.page = page
        self.log: list[dict[str, Any]] = []
        self.while_reading: list[Any] = []

    def put(self, product: str, **fields: Any) -> None:
        """Publishes a product."""
        sys = {"type": "Entry", "contentType": {"sys": {"type": "Link", "id": "product"}}}
        self._log(product, sys, {"fields": {name: {"en-US": value} for name, value in fields.items()}})

    def delete(self, product: str) -> None:
        """Deletes a product."""
        self._log(product, {"type": "DeletedEntry", "deletedAt": ""}, {})

    def _log(self, product: str, sys: dict[str, Any], more: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        at = self.now.isoformat().replace("+00:00", "Z")
        sys = {**sys, "id": product, "updatedAt": at} | ({"deletedAt": at} if "deletedAt" in sys else {})
        self.log.append({"sys": sys, **more})

    def busy(self) -> Answer:
        error = {"sys": {"type": "Error", "id": "RateLimitExceeded"}}
        return Answer(429, error, {"x-contentful-ratelimit-reset": "1"})

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refusal(Answer(401, {"sys": {"type": "Error", "id": "AccessTokenInvalid"}}))
        if request.path != _PATH:
            raise Refusal(Answer(404, {"sys": {"type": "Error", "id": "NotFound"}}))
        query = dict(request.query)
        if (token := query.pop("sync_token", None)) is not None:
            if query:
                raise Refusal(self._bad("a sync_token goes with nothing else"))
            begin, end, upto = (int(one) for one in token.split("-"))
            is_initial = begin == 0
        else:
            if query.pop("initial", None) != "true" or {*query} - {"limit", "type", "content_type"}:
                raise Refusal(self._bad("initial must be true"))
            begin, end, upto, is_initial = 0, 0, len(self.log), True
        upto = upto or len(self.log)
        latest: dict[str, dict[str, Any]] = {}
        for one in self.log[begin:upto]:
            latest.pop(one["sys"]["id"], None)
            latest[one["sys"]["id"]] = one
        items = [one for one in latest.values() if not (is_initial and one["sys"]["type"] == "DeletedEntry")]
        page, rest = items[end : end + self.page], items[end + self.page :]
        said: dict[str, Any] = {"sys": {"type": "Array"}, "items": page}
        where = f"{self.url}{_PATH}?sync_token="
        if rest:
            said["nextPageUrl"] = f"{where}{begin}-{end + self.page}-{upto}"
        else:
            said["nextSyncUrl"] = f"{where}{upto}-0-0"
        if self.while_reading:
            self.while_reading.pop(0)()
        return Answer(200, said)

    def _bad(self, message: str) -> Answer:
        return Answer(400, {"sys": {"type": "Error", "id": "BadRequest"}, "message": message})

"""Lists that page by number or by offset, as many systems have them; rows come, change and go between two calls."""

from __future__ import annotations

from typing import Any, Final

from .system import Answer, Refusal, Request, System

KEY: Final = "key-of-tests"


class Lists(System):
    """A list of rows at `/people`, in the order in which they stand here.

    Attributes:
        rows: what there is.
        most: how many rows a page may have, whatever is asked for.
        while_reading: what is done after each reply, one by one.
    """

    def __init__(self, rows: list[dict[str, Any]] | None = None, most: int = 50) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = rows or []
        self.most = most
        self.while_reading: list[Any] = []

    def answer(self, request: Request) -> Answer:
        if request.headers.get("x-api-key") != KEY:
            raise Refusal(Answer(403, {"error": "forbidden"}))
        if request.path != "/people":
            raise Refusal(Answer(404, {"error": "not found"}))
        size = min(int(request.query.get("size", self.most)), self.most)
        begin = int(request.query["skip"]) if "skip" in request.query else (int(request.query["page"]) - 1) * size
        page = [dict(row) for row in self.rows[begin : begin + size]]
        if self.while_reading:
            self.while_reading.pop(0)()
        return Answer(200, {"data": page})

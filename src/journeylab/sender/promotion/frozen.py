"""What a release is made of, frozen: the definition, the messages that it sends, its models, and why it may run.

A release is read back from the database alone: no file of the pipeline that promoted it is asked for again.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from journeylab.conditions import conditions_in, segments_in
from journeylab.errors import DataError, known
from journeylab.expressions import Score, walk
from journeylab.journey import Journey, Policy, Segment, Send
from journeylab.sender.mail.messages import Messages

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Row

    from journeylab.sendtimes import SendTimes

__all__ = [
    "Frozen", "Kind", "Model", "Models", "definition_of", "journey_of", "models_of", "needed_models", "sends_of",
    "with_parts",
]  # fmt: skip

Kind = Literal["send_times", "scores"]
MOST_BYTES: Final = 256 * 2**20
"""How large a model's file may be that a release takes into the database."""


@dataclass(frozen=True)
class Model:
    """A model's file as a release keeps it: send times for an `at: best`, or a table of scores for a `score()`.

    `content` are the bytes of a Parquet file. A table of scores has `contact`, `score`, and `as_of` where they change.
    """

    kind: Kind
    name: str
    content: bytes = field(repr=False)

    @property
    def hash(self) -> str:
        """The SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def send_times(self) -> SendTimes:
        """The send times that it holds."""
        from journeylab.sendtimes import SendTimes

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "times.parquet"
            path.write_bytes(self.content)
            return SendTimes.read(path)

    def scores(self) -> pd.DataFrame:
        """The scores that it holds."""
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self.content))

    @classmethod
    def read(cls, kind: Kind, name: str, path: str | Path) -> Model:
        """The model in a file: for send times what `advice.read` takes, for scores a Parquet or CSV table.

        Raises:
            DataError: when there is no such file, it holds something else, or it is too large for a release.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"the model {name!r}: there is no file {str(path)!r}")
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"the model {name!r}: {path} is larger than the {MOST_BYTES // 2**20} MB a release takes")
        if kind == "send_times":
            from journeylab.advice import read

            return cls.of_send_times(name, read(path))
        import pyarrow as pa

        from journeylab.tablesource import csv_frame, parquet_frame

        try:
            table = csv_frame(path) if path.suffix == ".csv" else parquet_frame(path)
        except (OSError, ValueError, OverflowError, pa.ArrowException) as problem:
            raise DataError(f"the scores {name!r}: {path} cannot be read: {problem}") from None
        return cls.of_scores(name, table)

    @classmethod
    def of_send_times(cls, name: str, times: SendTimes) -> Model:
        """Send times as a release keeps them."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "times.parquet"
            times.write(path)
            return cls("send_times", name, path.read_bytes())

    @classmethod
    def of_scores(cls, name: str, table: pd.DataFrame) -> Model:
        """A table of scores as a release keeps it.

        Raises:
            DataError: when a column is missing or a score is no number.
        """
        for column in ("contact", "score"):
            if column not in table.columns:
                raise DataError(
                    f"the scores {name!r} need a column {column!r}; {known(column, table.columns, 'columns')}"
                )
        if table["score"].dtype.kind not in "fiu":
            raise DataError(f"the scores {name!r}: the column 'score' has {table['score'].dtype}, not numbers")
        held = table[[column for column in ("contact", "score", "as_of") if column in table.columns]]
        content = io.BytesIO()
        held.to_parquet(content, index=False)
        return cls("scores", name, content.getvalue())


Models = Sequence[Model]


@dataclass(frozen=True, eq=False, repr=False)
class Frozen:
    """All that a release is made of.

    Attributes:
        journey: the definition, with the parts that it runs and the segments that it uses.
        policy: what holds over all journeys that run together.
        messages: those that the journey and its parts send, with their templates.
        models: the files that `at: best` and `score()` ask.
        record: the decision record that it rests on, as plain data with its hash; None where it rests on none.
        forecast: what is expected of it (see `forecast.Forecast.to_dict`), or `{"without": REASON}`.
    """

    journey: Journey
    policy: Policy
    messages: Messages
    models: Models = ()
    record: Mapping[str, Any] | None = None
    forecast: Mapping[str, Any] = field(default_factory=lambda: {"without": "none was asked for"})

    @cached_property
    def hash(self) -> str:
        """The SHA-256 over all of it, 64 hexadecimal digits; texts that do nothing, such as titles, are not in it."""
        content = {
            "definition": self.journey.canonical(),
            "policy": self.policy.data(),
            "messages": self.messages.to_dict(),
            "models": sorted([one.kind, one.name, one.hash] for one in self.models),
            "record": None if self.record is None else self.record["hash"],
            "forecast": self.forecast,
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Frozen({self.journey.journey} {self.journey.version}, {len(self.messages)} messages, {self.hash[:12]})"

    def row(self) -> dict[str, Any]:
        """What the table `releases` has of it."""
        models = [
            {"kind": one.kind, "name": one.name, "hash": one.hash, "content": base64.b64encode(one.content).decode()}
            for one in self.models
        ]
        return {
            "journey": self.journey.journey,
            "version": self.journey.version,
            "definition": definition_of(self.journey),
            "policy": self.policy.data(),
            "messages": self.messages.to_dict(),
            "models": models,
            "forecast": dict(self.forecast),
            "record": None if self.record is None else dict(self.record),
            "hash": self.hash,
        }

    @classmethod
    def of_row(cls, row: Row[Any]) -> Frozen:
        """What a row of `releases` holds.

        Raises:
            DataError: when its content is not what its hash says.
        """
        frozen = cls(
            journey_of(row.definition),
            Policy.model_validate(row.policy),
            Messages.from_dict(row.messages),
            models_of(row.models),
            row.record,
            row.forecast,
        )
        if frozen.hash != row.hash:
            raise DataError(
                f"release {row.release_id} of {row.journey} is not what its hash {row.hash[:12]} says: it was changed "
                "in the database, or by another version of JourneyLab; promote the journey anew"
            )
        return frozen


def models_of(data: Sequence[Mapping[str, Any]]) -> Models:
    """The models in the column `models` of a release."""
    return tuple(Model(one["kind"], one["name"], base64.b64decode(one["content"])) for one in data)


def definition_of(journey: Journey) -> dict[str, Any]:
    """A journey as plain data with the parts that it runs and the segments that it uses: all that `journey_of` needs.

    It does not depend on the order of keys: the first node is named.
    """
    used = [name for name in segments_in(journey) if name in journey.shared and name not in journey.segments]
    return {
        "journey": {**journey.data(), "start": journey.first},
        "shared": {name: journey.shared[name].data() for name in used},
        "parts": {name: definition_of(part) for name, part in sorted(journey.parts.items())},
    }


def journey_of(definition: Mapping[str, Any]) -> Journey:
    """The journey of which `definition_of` made plain data; of the same version.

    Raises:
        DefinitionError: when it is something else.

    >>> from journeylab.journey import Exit, Trigger, Wait
    >>> nodes = {"pause": Wait(wait="3d", next="done"), "done": Exit(exit="finished")}
    >>> journey = Journey(journey="hello", trigger=Trigger(event="signup"), nodes=nodes)
    >>> journey_of(definition_of(journey)).version == journey.version
    True
    """
    shared = {name: Segment.model_validate(one) for name, one in definition["shared"].items()}
    parts = {name: journey_of(one) for name, one in definition["parts"].items()}
    return Journey.from_data(definition["journey"]).model_copy(update={"parts": parts, "shared": shared})


def with_parts(journey: Journey) -> Iterator[Journey]:
    """The journey, and all parts that it runs."""
    yield journey
    for part in journey.parts.values():
        yield from with_parts(part)


def sends_of(journey: Journey) -> dict[str, list[str]]:
    """The messages that a journey and its parts send, each with the nodes that send it, in their order."""
    found: dict[str, list[str]] = {}
    for one in with_parts(journey):
        for name, node in one.nodes.items():
            if isinstance(node, Send):
                found.setdefault(node.send, []).append(name)
    return found


def needed_models(journey: Journey) -> list[tuple[Kind, str]]:
    """The models that a journey and its parts ask: (kind, name), sorted."""
    nodes = (node for one in with_parts(journey) for node in one.nodes.values())
    best = {node.best.best for node in nodes if isinstance(node, Send) and node.best is not None}
    scores = {part.name for tree in conditions_in(journey) for part in walk(tree) if isinstance(part, Score)}
    return [*(("scores", name) for name in sorted(scores)), *(("send_times", name) for name in sorted(best))]

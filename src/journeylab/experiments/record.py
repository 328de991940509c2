"""The decision record: what was asked, found, checked, tried and decided, as a file with its hash.

A record is one JSON file. Its `hash` is the SHA-256 of everything else in it, so that a record that was changed
afterwards is refused when it is read; the experiment's and the journeys' versions in it say what it speaks of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from journeylab.display import Shown
from journeylab.errors import DataError
from journeylab.jsontext import data_of

__all__ = ["DecisionRecord", "write_once"]

_FORMAT: Final = 1
_PARTS: Final = ("experiment", "asked", "found", "checked", "tried", "decided")


@dataclass(frozen=True, repr=False)
class DecisionRecord(Shown):
    """What was asked, found, checked, tried and decided in one experiment, each as plain data.

    Attributes:
        experiment: `name`, `version`, `versions` (of the journeys, by name or arm), `arms` (their probabilities).
        asked: the declaration: question, metrics, guardrails, window, stopping rule; `declared_at` and
            `declared_version`, missing where it was not declared beforehand.
        found: the effects, the segments' effects, the shrunken effects, and the Bayesian view.
        checked: `ratio`, `guardrails` and `maturity`, each with `passed`; then the other checks.
        tried: how many comparisons were made and how often one looked, which is what the errors are of.
        decided: `arm` (missing where nothing is shipped), `by`, `reason`, `decided_at`.

    >>> record = DecisionRecord({"name": "offer"}, {}, {}, {"ratio": {"passed": True}}, {}, {"arm": "b"})
    >>> len(record.hash), record.refusals()
    (64, ['its maturity was not checked', 'its guardrails were not checked'])
    """

    experiment: Mapping[str, Any]
    asked: Mapping[str, Any]
    found: Mapping[str, Any]
    checked: Mapping[str, Any]
    tried: Mapping[str, Any]
    decided: Mapping[str, Any]

    def _data(self) -> dict[str, Any]:
        return {"record": _FORMAT, **{name: getattr(self, name) for name in _PARTS}}

    @property
    def hash(self) -> str:
        """The SHA-256 of the record, 64 hexadecimal digits."""
        text = json.dumps(self._data(), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data, its hash in it."""
        return {**self._data(), "hash": self.hash}

    def write(self, path: str | Path) -> Path:
        """Writes the record as JSON and gives the path.

        Raises:
            DataError: when there is a file already: a record is not written over.
        """
        return write_once(path, self.to_dict(), "there is a record already; give another name, records are kept")

    @classmethod
    def read(cls, path: str | Path) -> DecisionRecord:
        """The record in a file.

        Raises:
            DataError: when the file is no record, or was changed after it was written.
        """
        path = Path(path)
        try:
            data = data_of(path.read_bytes())
        except OSError as problem:
            raise DataError(f"{path}: the decision record cannot be read: {problem.strerror}") from None
        except ValueError:
            raise DataError(f"{path}: no decision record, which is one JSON object") from None
        if not isinstance(data, dict) or data.get("record") != _FORMAT or not {*_PARTS, "hash"} <= {*data}:
            raise DataError(f"{path}: no decision record of format {_FORMAT}")
        if not all(isinstance(data[name], dict) for name in _PARTS) or not _is_sound(data):
            raise DataError(f"{path}: no decision record of format {_FORMAT}: a part of it is of another shape")
        record = cls(**{name: data[name] for name in _PARTS})
        if record.hash != data["hash"]:
            raise DataError(
                f"{path}: the record does not have the hash that it says ({str(data['hash'])[:12]}…); "
                "it was changed after the decision, take the original"
            )
        return record

    def refusals(self, version: str | None = None) -> list[str]:
        """Why the decided arm may not be promoted, in sentences; empty when it may.

        Args:
            version: the version of the journey that is to be promoted, which the record has to speak of.
        """
        reasons = []
        for check in ("ratio", "maturity", "guardrails"):
            found = self.checked.get(check)
            if found is None:
                reasons.append(f"its {check} {'were' if check.endswith('s') else 'was'} not checked")
            elif not found.get("passed"):
                reasons.append(str(found.get("sentence") or f"its {check} did not pass"))
        if self.decided.get("arm") is None:
            reasons.append("no arm was decided on")
        versions = self.experiment.get("versions", {})
        if version is not None and version not in versions.values():
            known = ", ".join(f"{name} {one}" for name, one in versions.items()) or "none"
            reasons.append(f"it speaks of other versions than {version}: {known}")
        return reasons

    @property
    def decided_at(self) -> datetime | None:
        """When it was decided, aware UTC; missing where the record does not say."""
        text = self.decided.get("decided_at")
        return None if text is None else datetime.fromisoformat(text)

    def __repr__(self) -> str:
        arm = self.decided.get("arm")
        what = f"decided for {arm}" if arm is not None else "nothing shipped"
        return f"DecisionRecord({self.experiment.get('name')}: {what}, hash {self.hash[:12]})"


def _is_sound(data: Mapping[str, Any]) -> bool:
    """Whether what is asked of a record is what its writer puts there."""
    at = data["decided"].get("decided_at")
    try:
        is_instant = at is None or datetime.fromisoformat(at).tzinfo is not None
    except (TypeError, ValueError):
        return False
    return (
        is_instant
        and isinstance(data["experiment"].get("versions", {}), dict)
        and all(isinstance(data["checked"].get(name, {}), dict) for name in ("ratio", "maturity", "guardrails"))
    )


def write_once(path: str | Path, data: Mapping[str, Any], there_is: str) -> Path:
    """Writes plain data as JSON to a new file and gives the path.

    Args:
        path: the file; its folder is made.
        data: what is written.
        there_is: what is said where there is a file already, which is never written over.

    Raises:
        DataError: when there is one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    except FileExistsError:
        raise DataError(f"{path}: {there_is}") from None
    return path

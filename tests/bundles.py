"""The sources of a browser bundle, followed from its entry."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "js"


def digest_of_sources(entry: str) -> str:
    """The hash of all that a bundle is made of, in the order of the names: the build, and what its entry imports."""
    found, waiting = set[str](), [f"src/{entry}"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [
                f"src/{one}" for one in re.findall(r'^import .*"\./(.+)";$', (SOURCES / name).read_text(), re.M)
            ]
    digest = hashlib.sha256()
    for name in ("build.mjs", "package-lock.json", "package.json", *sorted(found)):
        digest.update(name.encode() + b"\0" + (SOURCES / name).read_bytes() + b"\0")
    return digest.hexdigest()

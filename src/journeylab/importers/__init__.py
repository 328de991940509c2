"""Journeys and events from other systems, and journeys to them.

`import_journeys` makes journeys of an export and says what became of each of its parts; `export_journey` is the way
back. A system is a module with a `SYSTEM`: it reads an `Export` (data that knows its places and what was not looked at)
into a `Draft` (names, branches, what became of what).
"""

from .conversion import Exported, Imported, export_journey, import_journeys
from .outcomes import Losses, NodeType, Outcome, Verdict

__all__ = ["Exported", "Imported", "Losses", "NodeType", "Outcome", "Verdict", "export_journey", "import_journeys"]

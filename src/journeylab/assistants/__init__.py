"""Journeys for assistants: what `journeylab mcp` answers, read-only and behind the gate, by the Model Context Protocol.

`Questions` answers what may be asked of journeys and of one event log; `server.server_of` puts it before an assistant,
which takes the extra `mcp`. Nothing is sent or written but the ledger of what was ever shown, no path is taken from an
assistant, and every number of people went through `disclosure`. docs/assistants.md is the guide.
"""

from .folder import JourneyFolder
from .questions import Questions

__all__ = ["JourneyFolder", "Questions"]

"""Events from other systems: their exports and databases, made into one log that grows by what is new.

`import_events` reads, `adapter_of` has what is known of a system as data. An `Adapter` names the tables of a system's
exports (`Table`), what their rows are (`Event`), and how instants are written (`Clock`); one's own is an entry point of
`journeylab.event_importers`. Below: `exports` and `warehouse` (where rows come from), `clocks` and `values` (what they
hold), `mapping` (what they are here), `logfile` (what is there already), `catalogue` (the systems and their tables).
"""

from .adapter import Adapter, Clock, Event, Names, Table, opted_out
from .catalogue import adapter_of, map_lines, section, system_names
from .importing import ImportedEvents, import_events

__all__ = [
    "Adapter", "Clock", "Event", "ImportedEvents", "Names", "Table", "adapter_of", "import_events", "map_lines",
    "opted_out",
    "section", "system_names",
]  # fmt: skip

"""The machine: advances contacts through a program up to an instant, and stops at what only a world can answer.

Every rule of docs/semantics.md about what happens to a contact is in this package and nowhere else; its numbers stand
beside the code. The machine does no input or output, reads no clock and draws no random number. It knows nothing of
who runs it: replay, simulation and the live sender differ only in the `World` that they bring.

One contact is advanced at a time. Its state is rebuilt from its events and never stored, so that advancing to t1 and
then to t2 cannot differ from advancing to t2 (rule 27). To be read in this order: `state` (the tables), `past` (events
and attributes as of an instant), `evaluation` (conditions), `entries` (entering and leaving), `besthours` (`at: best`),
`nodes` (what each verb does), `steps` (from node to node), `order` (what comes next), `rows` (what was recorded, in
the order of tables). In the names of arguments `p` is the program, `w` the world, `s` the state of the contact, `out`
what is recorded; `c` is the contact, `e` the entry, `t` the instant.
"""

from .evaluation import evaluate, select_events
from .order import Given, advance, given, is_compiled
from .rows import count_rows, put_rows
from .state import (
    O_BY_FALLBACK,
    O_CHOICES,
    O_CONTACTS,
    O_ENTRIES,
    O_FALLBACK_CONTACTS,
    O_REQUESTS,
    O_VISITS,
    Out,
    Rows,
    State,
    new_out,
    new_rows,
    new_state,
)

__all__ = [
    "O_BY_FALLBACK", "O_CHOICES", "O_CONTACTS", "O_ENTRIES", "O_FALLBACK_CONTACTS", "O_REQUESTS", "O_VISITS", "Given",
    "Out", "Rows", "State", "advance", "count_rows", "evaluate", "given", "is_compiled", "put_rows",
    "new_out", "new_rows", "new_state", "select_events",
]  # fmt: skip

"""What connectors are told of what happened to a contact, put down in the transaction in which it is decided.

| kind | `data` has, beside `contact` and `journey` | tells that |
|---|---|---|
| `message.sent` | `message` | a message has left |
| `message.bounced` | `message`, `bounce_type`, where known `status` | it came back |
| `journey.entered` | `version` | an entry has begun |
| `journey.left` | `version`, `exit` | it is over |
| `journey.converted` | `version` | it has converted |

Only those are told who ask for it (`push: [timeline]` or `[contacts]`), so that without any nothing is written. Entries
that are held out are told to nobody: who sees them would know who is not written to, and act on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from journeylab.connectors.pushed import PUSHED, facts_of

from .gate import CONFIRMATION
from .notices import tell

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["NOBODY", "Timeline"]


@dataclass(frozen=True)
class Timeline:
    """Who is told what happened.

    Attributes:
        targets: the targets of each kind of fact, by their names in the outbox.
    """

    targets: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Timeline:
        """Those of the settings."""
        asking = {f"connectors/{name}": facts_of(one.push) for name, one in settings.connectors.items()}
        kinds = PUSHED["timeline"]
        found = {kind: [name for name, told in asking.items() if kind in told] for kind in kinds}
        return cls({kind: names for kind, names in found.items() if names})

    def tell(self, connection: Connection, kind: str, key: str, data: Mapping[str, Any], at: datetime) -> None:
        """Puts a fact down for each who asks for its kind, once.

        Args:
            connection: a writing transaction.
            kind: see the module's table.
            key: names what happened, and nobody; of one kind and key there is one fact.
            data: see the module's table.
            at: when it happened.
        """
        for target in self.targets.get(kind, ()):
            tell(connection, target, f"{kind}_{key}", kind, data, at)

    def tell_sent(self, connection: Connection, send: Any, at: datetime) -> None:
        """Puts down that a message has left, which is none that asks for consent.

        Args:
            connection: a writing transaction.
            send: has `message_key`, `contact`, `journey` and `message`.
            at: when it left.
        """
        if send.journey != CONFIRMATION:
            about = {"contact": send.contact, "journey": send.journey, "message": send.message}
            self.tell(connection, "message.sent", send.message_key, about, at)

    def tell_bounced(
        self, connection: Connection, send: Any, at: datetime, bounce_type: str, status: str | None
    ) -> None:  # fmt: skip
        """Puts down that a message came back, `hard` or `soft`; for the rest see `tell_sent`."""
        if send.journey != CONFIRMATION:
            about = {"contact": send.contact, "journey": send.journey, "message": send.message}
            about |= {"bounce_type": bounce_type} | ({"status": status} if status else {})
            self.tell(connection, "message.bounced", f"{send.message_key}_{bounce_type}", about, at)


NOBODY: Final = Timeline()
"""Nobody is told."""

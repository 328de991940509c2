"""A mail of the sender's own, such as a checkpoint or a report: given to a relay at once, outside of the lanes.

It goes to whoever runs the sender or reads its reports. It concerns no contact, so it passes no gate of consent.
"""

from __future__ import annotations

import smtplib
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

from journeylab.errors import JourneyLabError

from .channels import Handover, Letter, way_to
from .transport import Unreached

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["NotTaken", "hand_over"]


class NotTaken(JourneyLabError):
    """A relay has not taken a mail, as far as can be known: it may come twice when it is given again."""


def hand_over(data: bytes, to: str, settings: Settings, relay: str | None = None) -> None:
    """Gives a mail to a relay, and returns once that has taken it.

    Args:
        data: the mail, with its headers.
        to: the mailbox.
        settings: the sender's.
        relay: the name of the relay; by default the first.

    Raises:
        NotTaken: when it was not taken, or in staging may not go there.
        DataError: when the relay's password or authorities cannot be read.
    """
    if not settings.may_reach(to):
        raise NotTaken(f"in staging no mail goes to {to}; name a mailbox at one of the staging domains")
    through = next((one for one in settings.relays if relay in (None, one.name)), settings.relays[0])
    try:
        connection = way_to(through, settings)()
    except Unreached as problem:
        raise NotTaken(f"the relay {through.name} takes no mail: {problem}") from None
    # A reply to the end of a message may take ten minutes, for which nothing else outside would be told.
    watch = threading.Timer(through.timeout.total_seconds(), connection.cut)
    watch.daemon = True
    watch.start()
    try:
        if isinstance(connection, Handover):
            connection.hold(Letter(sha256(data).hexdigest(), to, settings.from_.address, data))
            outcome = connection.deliver()
        else:
            outcome = connection.offer(settings.from_.address, to, data) or connection.finish()
    except (OSError, smtplib.SMTPException) as problem:
        raise NotTaken(f"the relay {through.name} takes no mail: {problem}") from None
    finally:
        watch.cancel()
        connection.leave()
    if outcome.kind != "accepted":
        raise NotTaken(f"the relay {through.name} has not taken it: {outcome.code or ''} {outcome.text}".strip())

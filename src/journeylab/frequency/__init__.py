"""How many mails a week before opens fall and unsubscribes rise, by a log whose contacts were sent different numbers.

Who is sent more differs from who is sent less, so the rates by number of mails say little of what the number does.
`sends` counts what each contact was sent before, `rates` holds the contact's own level and what else is known fixed,
`estimate` puts the curve together or refuses, `result` shows it and makes a cap of it. docs/frequency.md is the guide.
"""

from .estimate import mail_frequency
from .result import MailFrequency

__all__ = ["MailFrequency", "mail_frequency"]

"""Who acts in this process: the account under which it runs, or the service whose token it was given.

The account is the system's word, and no variable or option changes it. A token in `JOURNEYLAB_TOKEN` is a proof and no
word: whoever has it acts as its service, with its scope and nothing that the account may beside.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from journeylab.errors import DataError

from .permissions import PERMISSIONS, Permission, allowed, refusal

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["VARIABLE", "Acting", "account", "acting"]

VARIABLE: Final = "JOURNEYLAB_TOKEN"
"""The variable of the environment that holds a service's token."""


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts.

    Attributes:
        name: as the audit log has it: an account, or `service:NAME`.
        permissions: what they may.
        people: everybody who is behind it: the account, and who made the token. None of them is a second person.
        is_service: whether it is a token that acts.
    """

    name: str
    permissions: frozenset[Permission]
    people: frozenset[str]
    is_service: bool = False

    def require(self, permission: Permission) -> None:
        """Lets who may go on.

        Raises:
            DataError: for who may not.
        """
        if permission in self.permissions:
            return
        if self.is_service:
            raise DataError(
                f"{self.name} may not {PERMISSIONS[permission]}; its token is for {', '.join(sorted(self.permissions))}"
            )
        raise DataError(refusal(self.name, permission))

    def named(self, actor: str | None) -> str:
        """As whom they act: under their own name, or another one where they may act for others.

        Raises:
            DataError: when they may not.
        """
        if actor not in (None, self.name):
            self.require("act_for_others")
        return actor or self.name


def account() -> str:
    """The account under which this process runs, as the system knows it, whatever the environment says."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def acting(settings: Settings, url: str | None = None) -> Acting:
    """Who acts in this process, by the settings and by the tokens of the store.

    Args:
        settings: the sender's.
        url: the store's, where it is another one than the settings'.

    Raises:
        DataError: when there is a token in the environment that is none, has expired or was revoked; an empty one, too,
            as a job whose secret is missing is not to go on as its account.
    """
    text, who = os.environ.get(VARIABLE), account()
    if text is None:
        return Acting(who, allowed(settings, who), frozenset({who}))
    from .ownstore import store_of
    from .tokens import valid

    store = store_of(settings, url=url)
    token = None
    if store is not None:
        with store.reading() as connection:
            token = valid(connection, settings, text, store.now(connection))
        store.close()
    if token is None:
        raise DataError(f"the token in {VARIABLE} opens nothing here; ask for another one, or unset the variable")
    return Acting(token.actor, token.scope, frozenset({who, token.actor, token.created_by}), is_service=True)

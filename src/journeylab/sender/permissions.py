"""Who may do what: one closed table from role to permission, and one from every way in to the permission it takes.

What stands in no table is refused. Roles are given to people in the settings:

```yaml
access:
  people:
    ewa: [analyst]
    jan: [operator]
    dpo: [privacy_officer]
```

A person is the account under which a process runs, as the system knows it; no environment variable or option changes
who that is (`acting`). A service has a token (`tokens`). Without `access` whoever can read the settings and the key
ring may do everything, and `doctor` says so.

The command line and the pages hold to this. Inside a Python process nothing can be held back from whoever has the key
ring and the database: there the boundary is who can read them (docs/permissions.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from journeylab.errors import DataError

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = [
    "COMMANDS", "GATES", "PERMISSIONS", "ROLES", "ROUTES", "SCOPES", "Permission", "Role", "Way", "allowed", "matrix",
    "refusal", "require",
]  # fmt: skip

Role = Literal["viewer", "analyst", "operator", "privacy_officer", "admin"]
Permission = Literal[
    "see_figures", "see_contacts", "check", "bring_in_contacts", "bring_in_events", "bring_in_bounces", "promote",
    "stop", "send", "decide", "record_consent", "reveal", "copy_person", "erase_person", "export_log", "manage_keys",
    "manage_tokens", "read_audit", "act_for_others",
]  # fmt: skip

PERMISSIONS: Final[Mapping[Permission, str]] = {
    "see_figures": "see releases, states and counts",
    "see_contacts": "see contacts by their ids, where they stand and what they were sent, without personal data",
    "check": "have messages, settings and decisions checked",
    "bring_in_contacts": "bring in contacts",
    "bring_in_events": "bring in events",
    "bring_in_bounces": "bring in mail that came back, or that unsubscribes",
    "promote": "promote a journey, and open a release in full",
    "stop": "pause, resume, roll back and withdraw a journey",
    "send": "run the processes that send and answer",
    "decide": "decide on messages of which nobody knows, and on contacts that are held",
    "record_consent": "record consent, or its withdrawal, for a contact",
    "reveal": "see the personal data of a contact",
    "copy_person": "write down all that is known of a person",
    "erase_person": "erase a person",
    "export_log": "export the log of all contacts, or a copy of it under pseudonyms",
    "manage_keys": "rotate and destroy keys, and see public ones",
    "manage_tokens": "make, see and revoke tokens of services",
    "read_audit": "read, verify, prove and export the audit log",
    "act_for_others": "act in another's name",
}
"""What there is to be permitted."""

ROLES: Final[Mapping[Role, frozenset[Permission]]] = {
    "viewer": frozenset({"see_figures"}),
    "analyst": frozenset({"see_figures", "see_contacts", "check"}),
    "operator": frozenset(
        {
            "see_figures", "see_contacts", "check", "bring_in_contacts", "bring_in_events", "bring_in_bounces",
            "promote", "stop", "send", "decide", "manage_tokens",
        }
    ),
    "privacy_officer": frozenset(
        {
            "see_figures", "see_contacts", "check", "stop", "record_consent", "reveal", "copy_person", "erase_person",
            "export_log", "read_audit",
        }
    ),
    "admin": frozenset({"see_figures", "check", "manage_keys", "manage_tokens", "read_audit"}),
}  # fmt: skip
"""What each role may; the admin sees nobody's data."""

COMMANDS: Final[Mapping[str, Permission | Literal["everybody"]]] = {
    **dict.fromkeys(
        ("demo", "check", "draw", "diff", "test", "convert", "replay", "simulate", "backtest", "policy",
         "report replay", "report simulation", "report backtest", "report experiment", "report sendtime",
         "report check", "mcp", "lab", "sendtime fit", "sendtime evaluate", "sendtime show", "experiment plan",
         "experiment analyze", "experiment watch", "events bucket", "events import", "events systems",
         "audit verify-proof", "audit grants", "grants"), "everybody"
    ),
    "promote": "promote",
    "run": "send",
    "serve": "send",
    "doctor": "check",
    "messages check": "check",
    "messages preview": "check",
    "messages dkim": "manage_keys",
    "report release": "see_figures",
    "release list": "see_figures",
    "release show": "see_figures",
    "release watch": "see_figures",
    "release full": "promote",
    "release approve": "promote",
    "release pause": "stop",
    "release resume": "stop",
    "release rollback": "stop",
    "release withdraw": "stop",
    "sends list": "see_contacts",
    "sends show": "see_contacts",
    "sends resolve": "decide",
    "sends log": "decide",
    "sends adopt": "decide",
    "sends retry": "decide",
    "incidents list": "see_figures",
    "incidents acknowledge": "decide",
    "incidents test": "decide",
    "connectors list": "see_figures",
    "connectors pull": "bring_in_contacts",
    "connectors reset": "decide",
    "contacts import": "bring_in_contacts",
    "contacts events": "bring_in_events",
    "contacts report": "bring_in_bounces",
    "contacts list": "see_contacts",
    "contacts show": "see_contacts",
    "contacts show --reveal": "reveal",
    "contacts verify": "check",
    "contacts resume": "decide",
    "contacts consent": "record_consent",
    "contacts requests": "reveal",
    "contacts approve": "reveal",
    "contacts copy": "copy_person",
    "contacts erase": "erase_person",
    "contacts export": "export_log",
    "contacts pseudonymise": "export_log",
    "keys list": "manage_keys",
    "keys rotate": "manage_keys",
    "keys destroy": "manage_keys",
    "tokens create": "manage_tokens",
    "tokens list": "manage_tokens",
    "tokens revoke": "manage_tokens",
    "audit list": "read_audit",
    "audit verify": "read_audit",
    "audit prove": "read_audit",
    "audit export": "read_audit",
    "audit key": "read_audit",
}  # fmt: skip
"""What each command takes; `everybody` where it reads what its caller has anyway. An option after a command takes its
permission beside."""

SCOPES: Final[frozenset[Permission]] = frozenset(
    {"see_figures", "check", "bring_in_contacts", "bring_in_events", "bring_in_bounces", "promote", "stop"}
)  # fmt: skip
"""What a token of a service can be for; see `journeylab.sender.tokens`."""

Gate = Literal["the webhook's signature", "the link's token", "the dashboard's secret", "everybody"]
GATES: Final[Mapping[Gate, str]] = {
    "the webhook's signature": "whoever has `webhook_secret`: a system that brings in",
    "the link's token": "whoever has a message's link, for what concerns its contact",
    "the dashboard's secret": "whoever has `dashboard`: sees what a viewer sees",
    "everybody": "nothing is told but whether the sender is well",
}
"""What opens a page or takes a call."""


class Way(NamedTuple):
    """What opens a route: a gate, and beside it a token with a permission, if there is one."""

    gate: Gate
    permission: Permission | None = None


ROUTES: Final[Mapping[str, Way]] = {
    "POST /events": Way("the webhook's signature", "bring_in_events"),
    "POST /contacts": Way("the webhook's signature", "bring_in_contacts"),
    "POST /bounces": Way("the webhook's signature", "bring_in_bounces"),
    "POST /unsubscriptions": Way("the webhook's signature", "bring_in_bounces"),
    "GET POST /u/{rest:path}": Way("the link's token"),
    "GET POST /p/{rest:path}": Way("the link's token"),
    "GET POST /confirm/{rest:path}": Way("the link's token"),
    "GET /c/{rest:path}": Way("the link's token"),
    "GET /o/{rest:path}": Way("the link's token"),
    "GET /dashboard": Way("the dashboard's secret", "see_figures"),
    "GET /metrics": Way("the dashboard's secret", "see_figures"),
    "GET /health": Way("everybody"),
}
"""What each route takes; a token of a service opens it where a permission stands beside."""


def allowed(settings: Settings, person: str) -> frozenset[Permission]:
    """What a person may, by the settings; everything where they say nothing of access, and nothing to the unnamed.

    >>> from types import SimpleNamespace as Given
    >>> sender = Given(access=Given(people={"ewa": ["viewer"]}))
    >>> sorted(allowed(sender, "ewa")), sorted(allowed(sender, "eve"))
    (['see_figures'], [])
    """
    if settings.access is None:
        return frozenset(get_args(Permission))
    roles = settings.access.people.get(person, ())
    return frozenset[Permission]().union(*(ROLES[role] for role in roles))


def require(settings: Settings, person: str, permission: Permission) -> None:
    """Lets a person go on who may.

    Raises:
        DataError: for another one, saying which roles may.
    """
    if permission not in allowed(settings, person):
        raise DataError(refusal(person, permission))


def refusal(person: str, permission: Permission) -> str:
    """Why a person may not, and what would let them."""
    who = " or ".join(role for role, ones in ROLES.items() if permission in ones) or "of nobody"
    return (
        f"{person} may not {PERMISSIONS[permission]}; that takes the role {who}, which `access` in the settings gives"
    )


def matrix() -> str:
    """The tables as Markdown: each permission with who may and its commands, each route, each callable of Python.

    >>> matrix().splitlines()[0]
    '| to | viewer | analyst | operator | privacy_officer | admin | commands |'
    """
    from .callables import table

    lines = [f"| to | {' | '.join(ROLES)} | commands |", "|---" * (len(ROLES) + 2) + "|"]
    for permission, text in PERMISSIONS.items():
        marks = ["yes" if permission in ones else "" for ones in ROLES.values()]
        commands = ", ".join(f"`{name}`" for name, needed in COMMANDS.items() if needed == permission)
        lines.append(f"| {text} | {' | '.join(marks)} | {commands or '`--actor`'} |")
    free = ", ".join(f"`{name}`" for name, needed in COMMANDS.items() if needed == "everybody")
    lines += [f"| read what one has anyway | {' | '.join(['yes'] * len(ROLES))} | {free} |", ""]
    lines += ["| route | takes | which is | or a token that may |", "|---|---|---|---|"]
    lines += [
        f"| `{route}` | {way.gate} | {GATES[way.gate]} | {'' if way.permission is None else f'`{way.permission}`'} |"
        for route, way in ROUTES.items()
    ]
    return "\n".join(lines) + "\n\n" + table()

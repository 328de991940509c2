"""Which permission Python code and notebooks need for each way into the sender: the table beside commands and routes.

Callables in `ASKING` ask who acts before they do anything, as commands do (`acting`). The others cannot: they are given
a store or keys that are open already, or are called for each message by a process that has asked. Inside of one Python
process no table holds back whoever can read the key ring and the database: this one says what is meant, lets reviews
look for what is not, and makes a new function with a store nobody's business until it stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .permissions import Permission

__all__ = ["ASKING", "PYTHON", "table"]

_BY_PERMISSION: Final[Mapping[Permission, str]] = {
    "see_figures": """
        explorers.releasemonitor.ReleaseMonitor explorers.releasemonitor.release_tables reports.releases.released
        sender.web.dashboard.Dashboard sender.web.dashboard.dashboard_routes sender.web.metrics.Measures
        sender.live.pulls.standing sender.web.figures.spoken_of sender.web.metrics.metrics_routes
    """,
    "see_contacts": """
        sender.live.inspection.known_of sender.live.inspection.listed_contacts
    """,
    "check": """
        sender.declarations.Declarations.of sender.health.health_of sender.live.productionlog.verify
        sender.mail.lint.lint sender.mail.previews.sample sender.promotion.checks.checked
        sender.promotion.purposes.Processing.of sender.promotion.purposes.undeclared
        sender.promotion.purposes.undeclared_by_releases sender.promotion.purposes.unused
        sender.dependences.dependences sender.dependences.owned_sets
        sender.sending.freshness.may_be_too_old
        sender.promotion.purposes.use_of
    """,
    "bring_in_contacts": """
        sender.live.arrivals.take sender.live.ownership.Owners sender.live.ownership.Owners.of
        sender.live.pulledrows.Taking sender.live.pulls.Puller
    """,
    "bring_in_events": "sender.live.arrivals.receive_tables",
    "bring_in_bounces": """
        sender.consent.mailed.take_unsubscription sender.consent.reports.take_report sender.mail.bounces.Report.is_of
        sender.mail.bounces.read_report sender.mail.bounces.returned_to
    """,
    "promote": """
        sender.approvals.approve sender.approvals.approved_or_asked sender.promotion.foureyes.approve_release
        sender.promotion.foureyes.asked_or_approved sender.promotion.foureyes.open_in_full
        sender.promotion.promoting.Prepared sender.promotion.promoting.Prepared.open
        sender.promotion.promoting.prepare sender.promotion.promoting.promote sender.promotion.releases.open_fully
        sender.promotion.releases.promote
    """,
    "stop": """
        sender.promotion.releases.pause sender.promotion.releases.resume sender.promotion.releases.roll_back
        sender.promotion.releases.withdraw
    """,
    "send": """
        reports.scheduled.Reporting reports.scheduled.sender_ledger sender.consent.mailed.mailto
        sender.live.drops.files_naming sender.live.drops.take_files sender.live.drops.take_table
        sender.live.drops.taken_files sender.live.ticks.tick sender.mail.bounces.return_path
        sender.mail.links.Urls sender.persons.erasure.repeat sender.persons.retention.retain
        sender.connecting.Connections sender.live.ownership.as_of sender.process.Sender sender.process.WhatRuns
        sender.sending.breaker.watch_rates sender.sending.freshness.catalogue_as_of
        sender.sending.forgetting.forget_bytes sender.sending.freshness.freshness sender.sending.freshness.watch_ages
        sender.sending.calls.make_calls sender.sending.channels.way_to sender.sending.gate.Case
        sender.sending.gate.let_pass
        sender.sending.journal.refuse_older_copy sender.sending.journal.replay sender.sending.onemail.hand_over
        sender.sending.outbox.deliver sender.sending.preparing.claimed sender.sending.preparing.made
        sender.sending.recipients.Recipients sender.sending.recipients.origin_of
        sender.sending.statistics.tell_statistics sender.sending.timeline.Timeline.of
        sender.sending.settling.settle sender.sending.transport.trusted sender.sending.webhooks.post
        sender.sending.webhooks.post_all sender.sending.webhooks.server_of sender.sending.worker.Worker
        sender.web.app.application sender.web.opening.opened
        sender.web.serving.serve sender.web.serving.served sender.web.site.Site sender.web.site.Site.made
        sender.web.webhooks.webhook_of sender.writing.Writer
    """,
    "decide": """
        sender.live.pulls.reset sender.sending.journal.adopt sender.sending.reconcile.resolve
        sender.sending.reconcile.take_log
    """,
    "record_consent": "sender.consent.requests.ask sender.consent.requests.give sender.consent.withdrawals.withdraw",
    "reveal": """
        sender.keys.Keys sender.keys.key_ring sender.persons.revealing.revealed sender.store.seals.Seals
        sender.store.seals.with_seals sender.store.store.Store.open sender.store.store.Store.with_keys
        sender.ownstore.own_store
    """,
    "copy_person": "sender.persons.copies.copy_of sender.persons.revealing.copied",
    "erase_person": "sender.persons.erasure.erase sender.persons.erasure.forgotten_of",
    "export_log": """
        disclosure.pseudonyms.pseudonymised sender.live.productionlog.export sender.live.productionlog.production_log
        sender.persons.pseudonymising.pseudonymised_log sender.persons.revealing.exported
    """,
    "manage_keys": "sender.mail.dkim.DkimKey.read sender.store.seals.rewrap",
    "manage_tokens": "sender.tokens.create sender.tokens.lamed sender.tokens.listed sender.tokens.revoke",
    "read_audit": """
        sender.audit.keeping.Keeper sender.audit.keeping.note_settings sender.audit.keeping.signer_of
        sender.audit.keeping.why_unheld sender.audit.mailing.composed sender.audit.mailing.mail
        sender.audit.shipping.ship sender.audit.shipping.source_of
    """,
}
_EVERYBODY: Final = """
    sender.acting.acting sender.approvals.Approval.holds sender.ownstore.store_of sender.ownstore.store_url
    sender.permissions.allowed sender.permissions.require sender.tokens.valid
    sender.promotion.foureyes.unapproved sender.settings.Settings
    sender.settings.Settings.read
"""

PYTHON: Final[Mapping[str, Permission | None]] = {
    **{name: permission for permission, names in _BY_PERMISSION.items() for name in names.split()},
    **dict.fromkeys(_EVERYBODY.split()),
}
"""The permission of each callable that takes a store, settings or keys, by its name below `journeylab`; None where it
does nothing with them that its caller could not."""

_ASKING: Final = """
    sender.approvals.approve sender.approvals.approved_or_asked sender.persons.pseudonymising.pseudonymised_log
    sender.persons.revealing.copied sender.persons.revealing.exported sender.persons.revealing.revealed
    sender.process.Sender sender.promotion.foureyes.approve_release sender.promotion.foureyes.open_in_full
    sender.promotion.promoting.Prepared.open sender.promotion.promoting.prepare sender.promotion.promoting.promote
    sender.tokens.create sender.web.app.application sender.web.serving.serve sender.web.serving.served
"""
ASKING: Final = frozenset(_ASKING.split())
"""The callables that ask who acts, and refuse whoever has not the permission."""


def table() -> str:
    """The table as Markdown: for each permission what asks for it, and what cannot.

    >>> table().splitlines()[0]
    '| in Python, to | asks who acts | cannot ask |'
    """
    from .permissions import PERMISSIONS

    lines = ["| in Python, to | asks who acts | cannot ask |", "|---|---|---|"]
    for permission, names in _BY_PERMISSION.items():
        listed = sorted(names.split())
        asks, others = ([f"`{one}`" for one in listed if (one in ASKING) == is_in] for is_in in (True, False))
        lines.append(f"| {PERMISSIONS[permission]} | {', '.join(asks)} | {', '.join(others)} |")
    return "\n".join(lines) + "\n"

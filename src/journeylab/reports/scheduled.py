"""Reports that the sender writes by itself: each once for its period, whoever of several processes comes first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from sqlalchemy import update

from journeylab.disclosure import Ledger, LedgerKey
from journeylab.errors import DataError, JourneyLabError
from journeylab.language import date_text, say, using
from journeylab.sender.mail.dkim import DkimKey, signed
from journeylab.sender.promotion.standing import frozen_release, releases
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.sending.onemail import hand_over
from journeylab.sender.store import act
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

from .flows import zone_of
from .making import report
from .releases import released

if TYPE_CHECKING:
    from journeylab.sender.settings import ScheduledReport, Settings
    from journeylab.sender.store import Store

    from .page import Report

__all__ = ["Reporting", "period_end", "sender_ledger"]

_PATIENCE: Final = timedelta(hours=1)
"""How long a process that has begun a report is waited for, and how soon one that failed is tried again."""


def sender_ledger(store: Store, settings: Settings) -> Ledger:
    """The ledger of a sender's reports, in its state folder, under a key of its ring.

    Raises:
        DataError: when the store was opened without the ring, or the folder cannot be made.
    """
    folder = settings.path(settings.state)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise DataError(f"{folder}: the ledger of reports cannot be kept there: {problem.strerror}") from None
    return Ledger(folder / "reports.ledger", LedgerKey(store.keys.of("report")))


def period_end(now: datetime, every: str, zone: str) -> date:
    """The first day after the last period that is over: of days, of weeks from Monday, or of months, local.

    >>> period_end(datetime(2026, 3, 5, 12, tzinfo=UTC), "week", "Europe/Warsaw").isoformat()
    '2026-03-02'
    """
    today = now.astimezone(ZoneInfo(zone)).date()
    if every == "month":
        return today.replace(day=1)
    return today - timedelta(days=today.weekday()) if every == "week" else today


class Reporting:
    """Writes the reports of a sender's settings that are due.

    Args:
        store: the sender's, with its keys.
        settings: the sender's.
        worker: the process's name.
    """

    def __init__(self, store: Store, settings: Settings, worker: str) -> None:
        self._store, self._settings, self._worker = store, settings, worker
        self._looked_at: dict[str, datetime] = {}
        self._zones: dict[int, str] = {}

    def __call__(self, now: datetime) -> int:
        """Writes what is due at an instant; how many reports.

        A report that cannot be made raises an alert, which ends with the next one that can, and is tried again in an
        hour.
        """
        return sum(self._written(one, now) for one in self._settings.reports)

    def _written(self, wanted: ScheduledReport, now: datetime) -> bool:
        with self._store.reading() as connection:
            found = releases(connection, wanted.journey)
            if not found:
                return False
            newest = found[0].release_id
            if newest not in self._zones:  # a release never changes, and reading one reads its models
                self._zones[newest] = zone_of(frozen_release(connection, newest).journey)
        zone = self._zones[newest]
        ends = period_end(now, wanted.every, zone)
        name = f"{wanted.journey}-{wanted.every}-{ends.isoformat()}.{wanted.format}"
        until = datetime.combine(ends, datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)
        if not self._claimed(name, wanted.journey, until, now):
            return False
        cause = f"report/{wanted.journey}/{wanted.every}"
        try:
            self._make(wanted, name, until, now)
        except JourneyLabError as problem:
            with self._store.writing() as connection:
                raise_alert(connection, cause, "warning", f"the report {name} was not written: {problem}", now)
            return False
        with self._store.writing() as connection:
            resolve(connection, cause, now)
            connection.execute(update(t.reports).where(t.reports.c.name == name).values(written_at=now))
            act(connection, now, self._worker, "report_written", f"report/{name}", n_mailboxes=len(wanted.to))
        return True

    def _claimed(self, name: str, journey: str, until: datetime, now: datetime) -> bool:
        """Whether this process is the one to write a report now."""
        if now - self._looked_at.get(name, datetime.min.replace(tzinfo=UTC)) < _PATIENCE:
            return False
        self._looked_at[name] = now
        row = {
            "name": name, "journey": journey, "until_at": until, "claimed_at": now, "claimed_by": self._worker,
            "sent_to": [],
        }  # fmt: skip
        c = t.reports.c
        with self._store.writing() as connection:
            made = insert_into(connection, t.reports).values(row)
            again = made.on_conflict_do_update(
                index_elements=["name"],
                set_={"claimed_at": now, "claimed_by": self._worker},
                where=c.written_at.is_(None) & (c.claimed_at <= now - _PATIENCE),
            )
            return connection.execute(again.returning(c.name)).one_or_none() is not None

    def _make(self, wanted: ScheduledReport, name: str, until: datetime, now: datetime) -> None:
        settings = self._settings
        language = wanted.language or settings.language
        made = report(
            released(self._store, wanted.journey), ledger=sender_ledger(self._store, settings), until=until,
            title=wanted.title, language=language,
        )  # fmt: skip
        templates = None if wanted.templates is None else settings.path(wanted.templates)
        path = made.write(settings.path(wanted.folder) / name, templates=templates)
        with self._store.reading() as connection:
            sent = set(connection.execute(t.reports.select().where(t.reports.c.name == name)).one().sent_to)
        for to in dict.fromkeys(wanted.to):
            if to in sent:
                continue
            with using(language):
                hand_over(self._mail(made, path, to, now), to, settings)
            sent.add(to)
            with self._store.writing() as connection:
                connection.execute(update(t.reports).where(t.reports.c.name == name).values(sent_to=sorted(sent)))

    def _mail(self, made: Report, path: Path, to: str, now: datetime) -> bytes:
        """The mail with a report: its answer, and the file. Headers hold nothing that came from outside."""
        settings = self._settings
        mail = EmailMessage(policy=SMTP)
        mail["From"] = settings.from_.address
        mail["To"] = to
        mail["Date"] = now
        mail["Message-ID"] = f"<report.{path.stem}.{sha256(to.encode()).hexdigest()[:12]}@{settings.domain}>"
        mail["Subject"] = say(
            "Report of {journey} up to {date}", journey=path.stem.split("-")[0], date=date_text(made.disclosed.days[1])
        )
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(f"{made.title}\n\n{made.answer}\n")
        if path.suffix == ".html":
            mail.add_attachment(path.read_text(encoding="utf-8"), subtype="html", filename=path.name)
        else:
            mail.add_attachment(path.read_bytes(), maintype="application", subtype="pdf", filename=path.name)
        data = mail.as_bytes()
        key = DkimKey.read(settings)
        return data if key is None else signed(data, key)

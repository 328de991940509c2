"""The sender's settings: `sender.yaml`, kept in Git beside the journeys; secrets are named in it, never written.

```yaml
sender: shop
store: postgresql+psycopg://sender@db.example/journeylab     # or sqlite:///journeylab.db
state: state                     # folder outside of the database: receipts and keys
domain: shop.example             # of Message-IDs
from: {name: Our Shop, address: hello@shop.example}
list_id: news.shop.example
bounces: bounces.shop.example    # the domain to which mail that cannot be delivered comes back
public_url: https://mail.shop.example
postal_address: Our Shop, ul. Prosta 1, 00-001 Warszawa
dkim: {domain: shop.example, selector: s1, key: dkim.pem}
relays:
  - {name: main, host: smtp.example, port: 587, user: shop, password: env:RELAY_PASSWORD}
```

A secret is `env:NAME`, `file:PATH`, `credential:NAME` (systemd's `LoadCredential`), or `command:PATH`, a program that
prints it, such as one that asks a key service. Paths are relative to the settings' file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PositiveInt, model_validator

from journeylab.connectors.connector import Connector, connector_of
from journeylab.connectors.incidents import STATISTICS, IncidentSystem, incident_system_of
from journeylab.durations import duration_text
from journeylab.errors import DefinitionError, Fault, known
from journeylab.journey import Definition, Name, PositiveDuration, Scalar
from journeylab.references import LOOPBACK, BaseUrl, SecretReference, secret

__all__ = [
    "WAYS_IN", "WEBHOOKS", "Address", "Alerts", "Audit", "AuditMail", "Catalogue", "Dkim", "FourEyes", "Inbox",
    "Outgoing", "OwnedAttribute", "Purpose", "Recommend", "Relay", "Retention", "ScheduledReport", "Settings",
    "Staging", "Statistics", "Syslog", "Tracking", "secret",
]  # fmt: skip

WAYS_IN: Final = ("import", "inbox", "webhook")
"""What attributes can come by beside connectors and tokens."""
WEBHOOKS: Final = ("crm", "alerts", "audit")
"""The webhooks that are told what happens."""
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _address(value: object) -> str:
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(str(value), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as problem:
        raise ValueError(f"{value!r} is no e-mail address: {problem}") from None


def _domain(value: object) -> str:
    from email_validator import EmailNotValidError, validate_email

    text = str(value).strip().lower().rstrip(".")
    try:
        mailbox = validate_email(f"a@{text}", check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        mailbox = None
    if mailbox is None or "." not in text or ":" in text:
        raise ValueError(f"{value!r} is no domain, such as shop.example")
    return mailbox.ascii_domain


_STORES: Final = (
    "sqlite:///", "sqlite+pysqlite:///", "sqlite+pysqlcipher:///", "postgresql://", "postgresql+psycopg://"
)  # fmt: skip


def _store(value: object) -> str:
    from urllib.parse import urlsplit

    text = str(value)
    try:
        has_password = urlsplit(text).password is not None or "password=" in text.lower()
    except ValueError:
        raise ValueError("store is no URL of a database, such as sqlite:///journeylab.db") from None
    if has_password:
        raise ValueError("store has a password in it; give it in PGPASSWORD or in ~/.pgpass, and leave it out here")
    if not text.startswith(_STORES):
        raise ValueError(
            "store is the URL of SQLite or PostgreSQL, such as sqlite:///journeylab.db, "
            "sqlite+pysqlcipher:///journeylab.db (encrypted) or postgresql+psycopg://sender@db.example/journeylab"
        )
    return text


def _zone(value: object) -> str:
    from journeylab.instants import zone_names

    if not isinstance(value, str) or value not in zone_names():
        raise ValueError(f"{value!r} is no time zone; {known(str(value), zone_names(), 'time zones')}")
    return str(value)


def _one_line(value: object) -> object:
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError("this stands in a header, so it has no line breaks and no control characters")
    return value


Mailbox = Annotated[str, BeforeValidator(_address)]
Domain = Annotated[str, BeforeValidator(_domain)]
StoreUrl = Annotated[str, BeforeValidator(_store)]
OneLine = Annotated[str, BeforeValidator(_one_line)]
Zone = Annotated[str, BeforeValidator(_zone)]
Kinded = Annotated[Any, BeforeValidator(connector_of), PlainSerializer(Connector.data)]
ForIncidents = Annotated[Any, BeforeValidator(incident_system_of), PlainSerializer(IncidentSystem.data)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]


class Address(Definition):
    """A mailbox with the name that is shown for it."""

    address: Mailbox
    name: OneLine = ""


class Dkim(Definition):
    """The key with which messages are signed (RFC 6376): PEM file, domain (`d=`) and selector (`s=`)."""

    domain: Domain
    selector: str
    key: str


_OF_SMTP: Final = frozenset({"host", "port", "tls", "tls_minimum", "ca", "user", "password", "idempotency_header"})
_LONGEST_CHANNEL: Final = timedelta(minutes=10)


class Relay(Definition):
    """A relay that takes messages by SMTP, or by a channel that an installed package brings.

    Attributes:
        name: its name in alerts and results.
        host, port: where it is, for SMTP.
        channel: the channel's name, instead of a host; see `journeylab.sender.sending.channels`.
        options, secrets: what the channel is told, secrets by their references.
        tls: `starttls` or `implicit`, both with the certificate verified; `none` on this machine alone.
        tls_minimum: the least version of TLS.
        ca: a PEM file of authorities, instead of the system's.
        user, password: where it asks who is there; the password is a secret's reference.
        idempotency_header: the header by whose value the relay drops a repeated message, if it promises to.
        idempotency_for: how long it remembers; of a channel only where it is said, as not every provider does.
        connections: how many messages are on their way at once; each may end as ambiguous in a crash.
        timeout: how long to wait for any reply but that to the message's end, for which RFC 5321 asks 10 minutes;
            of a channel, to the whole message.
    """

    name: str = "relay"
    host: str = ""
    channel: str | None = None
    options: dict[str, Scalar] = Field(default_factory=dict)
    secrets: dict[str, SecretReference] = Field(default_factory=dict)
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    tls_minimum: Annotated[Literal["1.2", "1.3"], BeforeValidator(str)] = "1.3"
    ca: str | None = None
    user: str | None = None
    password: SecretReference | None = None
    idempotency_header: HeaderName | None = None
    idempotency_for: PositiveDuration = timedelta(hours=24)
    connections: PositiveInt = 1
    timeout: PositiveDuration = timedelta(seconds=60)

    @model_validator(mode="after")
    def _is_safe(self) -> Relay:
        said = self.model_fields_set
        if self.channel is not None:
            if wrong := sorted(said & _OF_SMTP):
                raise ValueError(f"a relay with a `channel` has no `{wrong[0]}`, which is of SMTP")
            if self.timeout > _LONGEST_CHANNEL:
                raise ValueError("a channel has at most 10 minutes to answer, as its message is then ambiguous")
            return self
        if not self.host:
            raise ValueError("a relay needs `host`, or the `channel` that an installed package brings")
        if wrong := sorted(said & {"options", "secrets"}):
            raise ValueError(f"`{wrong[0]}` is for a relay with a `channel`")
        if self.tls == "none" and self.host not in LOOPBACK:
            raise ValueError(
                f"mail goes to {self.host} in the clear; only a relay on this machine may have `tls: none`"
            )
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` go together")
        return self

    @property
    def drops_repeats(self) -> bool:
        """Whether it promises to drop a message that it has seen, for `idempotency_for`."""
        if self.channel is not None:
            return "idempotency_for" in self.model_fields_set
        return self.idempotency_header is not None


class Staging(Definition):
    """Staging: only addresses at these domains can be reached; outside calls are recorded and not made."""

    domains: tuple[Domain, ...]


class Recommend(Definition):
    """Where recommended products come from: what is bought together, by `event` and its property `item`.

    `hook` names a recommender that an installed package brings instead (docs/extending.md).
    """

    event: Name = "purchase"
    item: Name = "product"
    hook: str | None = None


class OwnedAttribute(Definition):
    """Who an attribute of contacts is true by, and how old it may be; see `journeylab.sender.live.ownership`.

    Attributes:
        source: the one whose word counts: a connector, a token, `webhook`, `inbox` or `import`.
        stream: the connector's stream that has it, where several are pulled.
        conflict: what becomes of what another says of it: nothing of it is taken (`refuse`), all (`accept`), or only
            what fills a gap (`fill`).
        max_age: how old it may be where a message depends on it; without it, of any age.
        stale: what becomes of a message that depends on what is older: it waits (`hold`) or is skipped (`skip`).
    """

    source: str
    stream: Name | None = None
    conflict: Literal["refuse", "accept", "fill"] = "refuse"
    max_age: PositiveDuration | None = None
    stale: Literal["hold", "skip"] = "hold"


class Catalogue(Definition):
    """Which connector knows the products, and how old that may be where a message recommends some.

    Attributes:
        source, stream, max_age, stale: as of an attribute.
    """

    source: str
    stream: Name | None = None
    max_age: PositiveDuration | None = None
    stale: Literal["hold", "skip"] = "hold"


class Tracking(Definition):
    """Whether opens (by a picture) and clicks (by links through `public_url`) are noted; both are off by default."""

    opens: bool = False
    clicks: bool = False


class Purpose(Definition):
    """A purpose as contacts see it, by language (`en`, `pl`), and what of them it may use.

    Attributes:
        title: what its messages are called: "News and offers".
        wording: the text by which consent to it is given; by default a sentence with the title.
        attributes: the attributes of contacts that it may use; see `journeylab.sender.declarations`.
        properties: the properties of events that it may use, by event.
    """

    title: dict[Literal["en", "pl"], OneLine] = Field(min_length=1)
    wording: dict[Literal["en", "pl"], str] = Field(default_factory=dict)
    attributes: tuple[Name, ...] | None = None
    properties: dict[str, tuple[Name, ...]] | None = None

    @model_validator(mode="after")
    def _names_once(self) -> Purpose:
        for what, names in (("attributes", self.attributes or ()), *(self.properties or {}).items()):
            twice = next((one for one in names if names.count(one) > 1), None)
            if twice is not None:
                raise ValueError(f"{what} has {twice!r} twice; keep one")
        return self

    @property
    def declares(self) -> bool:
        """Whether it says what it may use."""
        return self.attributes is not None or self.properties is not None


class Alerts(Definition):
    """Who is told when something needs a person: a webhook; once per cause.

    Attributes:
        url: where; `https`, but on this machine.
        secret: signs what is told.
        ca: a file of certificates to trust instead of the system's.
        tls_minimum: the least version of TLS.
        internal: whether it stands in a private network, where nothing is called unless this says so.
    """

    url: BaseUrl
    secret: SecretReference | None = None
    ca: str | None = None
    tls_minimum: Annotated[Literal["1.2", "1.3"], BeforeValidator(str)] = "1.3"
    internal: bool = False


class Outgoing(Alerts):
    """Who is told of consent and suppression (the CRM), by signed webhooks (Standard Webhooks); at least once."""

    secret: SecretReference


class Statistics(Definition):
    """What is told on schedule of messages and alerts; see `journeylab.sender.sending.statistics`.

    Attributes:
        every: how long a period is, counted from 1970-01-01 UTC.
        to: who is told: names of `incidents` whose kind has a notion of it, or `crm`, `alerts` or `audit`.
    """

    every: PositiveDuration = timedelta(days=1)
    to: tuple[str, ...] = Field(min_length=1)


class Syslog(Definition):
    """A SIEM that takes records by syslog over TLS (RFC 5425).

    Attributes:
        host, port: where it is.
        format: how records are written: `rfc5424`, or `ecs`, `cef` or `ocsf` as the text of such a record.
        tls_minimum: the least version of TLS.
        ca: a PEM file of authorities, instead of the system's.
        timeout: how long to wait for it.
    """

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 6514
    format: Literal["rfc5424", "ecs", "cef", "ocsf"] = "rfc5424"
    tls_minimum: Annotated[Literal["1.2", "1.3"], BeforeValidator(str)] = "1.3"
    ca: str | None = None
    timeout: PositiveDuration = timedelta(seconds=10)


class AuditMail(Definition):
    """A mailbox that takes checkpoints; nobody who runs the sender should be able to delete from it.

    Attributes:
        to: the mailbox.
        relay: the name of the relay through which mail goes there; by default the first one.
    """

    to: Mailbox
    relay: str | None = None


class Audit(Definition):
    """Where the audit log goes, so that nobody who can write to the database can change it unseen.

    Attributes:
        checkpoints: who takes the signed checkpoints: `file:FOLDER`, which should be on another machine or a medium
            that is only added to, `syslog`, `webhook` or `mail`.
        syslog: the SIEM that is told every entry.
        webhook: takes checkpoints by signed webhook (Standard Webhooks), as `audit.checkpoint`.
        mail: takes checkpoints by mail.
    """

    checkpoints: tuple[str, ...] = ()
    syslog: Syslog | None = None
    webhook: Outgoing | None = None
    mail: AuditMail | None = None

    @model_validator(mode="after")
    def _knows_who_takes_checkpoints(self) -> Audit:
        for one in self.checkpoints:
            kind, _, folder = one.partition(":")
            if one not in ("syslog", "webhook", "mail") and not (kind == "file" and folder.strip()):
                raise ValueError(f"{one!r} takes no checkpoints; write file:FOLDER, syslog, webhook or mail")
            if one in ("syslog", "webhook", "mail") and getattr(self, one) is None:
                raise ValueError(f"checkpoints go to {one!r}; say with `{one}:` beside `checkpoints:` what that is")
        return self


class Inbox(Definition):
    """Where other systems put events and contacts: the table `inbox`, and a folder of files.

    Attributes:
        folder: has `events` and `contacts`, whose files are taken; without it there are none.
        timezone: the zone of times that do not say theirs, in files and in the table; without it they are refused.
    """

    folder: str | None = None
    timezone: Zone | None = None


class ScheduledReport(Definition):
    """A report of a journey's release that the sender writes by itself, once in each period.

    Attributes:
        journey: the journey's name.
        every: after which periods: days, weeks (from Monday) or months; each is reported once it is over.
        folder: where the report goes.
        format: `html` or `pdf` (which takes the extra `pdf`).
        language: of the report; by default the sender's.
        title: its heading; by default the journey's.
        templates: a folder of templates that take the place of ours.
        to: mailboxes that are sent it.
    """

    journey: Name
    every: Literal["day", "week", "month"] = "week"
    folder: str = "reports"
    format: Literal["html", "pdf"] = "html"
    language: Literal["en", "pl"] | None = None
    title: OneLine | None = None
    templates: str | None = None
    to: tuple[Mailbox, ...] = ()


class Retention(Definition):
    """How long what is over is kept; see `journeylab.sender.persons.retention`.

    Attributes:
        inactive: after how long without any event or message a person is erased; without it, nobody is.
        hits: how long opens and clicks are kept as they came, once they are events.
        told: how long it is kept what outside systems were told.
        files: how long files of the inbox are kept that were taken.
        stand_ins: how long entries, visits, messages and the like are kept that are left of an erased person; then
            there are counts of them alone.
    """

    inactive: PositiveDuration | None = None
    hits: PositiveDuration = timedelta(days=30)
    told: PositiveDuration = timedelta(days=30)
    files: PositiveDuration = timedelta(days=7)
    stand_ins: PositiveDuration = timedelta(days=1095)


class Access(Definition):
    """Who may do what; see `journeylab.sender.permissions`.

    Attributes:
        people: the roles of each account of the system.
    """

    people: dict[str, tuple[Literal["viewer", "analyst", "operator", "privacy_officer", "admin"], ...]]


class FourEyes(Definition):
    """What takes a second person; see `journeylab.sender.approvals`.

    Attributes:
        promotions_over: a release that can reach more contacts than so many does; without it, none.
        reveals: whether to see or copy what is known of a contact does, or to export the log.
        valid_for: how long a request waits for its approval, and an approval for its use.
    """

    promotions_over: Annotated[int, Field(ge=0)] | None = None
    reveals: bool = False
    valid_for: PositiveDuration = timedelta(hours=24)


class Settings(Definition):
    """What a sender is set to; see the module's text for an example.

    Attributes:
        sender: its name.
        store: the database's URL for SQLAlchemy: SQLite or PostgreSQL, without a password (PGPASSWORD, ~/.pgpass).
        state: the folder of what must outlive the database: the receipts of this machine.
        keys: where the key ring is, a secret; by default `keys.json` in the state folder. In a file the first release
            makes it.
        domain: the domain of Message-IDs.
        from_: who writes (`from` in the file); `reply_to`, who gets answers.
        list_id: RFC 2919's identity of the list, without brackets.
        bounces: the domain of return paths, each of which names its message.
        unsubscribe: the mailbox for unsubscribing by mail, beside the one-click address.
        public_url: where `journeylab serve` is reached from outside.
        postal_address: who stands behind the mail, for its foot.
        language: the language of pages, `en` or `pl`, where nothing else tells.
        messages: the folder of messages; `journeys` are named to `promote`.
        dkim: how messages are signed; without it nothing but transactional mail is promoted.
        relays: in the order in which they are used; the next one where one does not answer.
        webhook_secret: the secret that signs events which come in.
        basis: the purposes whose legal basis is not consent (GDPR Art. 6), and which it is; a withdrawal and an
            erasure count for them all the same.
        purposes: what purposes are called on the pages that contacts see, where one that is not here has its own
            name; and what of contacts each may use. Where any says so, nothing else is kept.
        inbox: where events and contacts come in as files, and the zone of their times.
        calls: the URLs that `call` nodes call, by service.
        crm, alerts: who is told of consent, and of trouble.
        incidents: systems in which people deal with trouble; see `journeylab.connectors.incidents`.
        statistics: who is told counts on schedule.
        audit: where checkpoints of the audit log and its entries go.
        reports: what is reported on schedule, and to whom.
        dashboard: the secret that opens the dashboard and the metrics, which nobody is shown without one.
        connectors: other systems, by name, each of a kind; see `journeylab.connectors.connector`.
        attributes: who attributes are true by, and how old they may be.
        catalogue: who knows the products.
        tracking, recommend, staging: see there.
        access: who may do what; without it whoever can read settings and key ring may do everything.
        four_eyes: what takes a second person; without it nothing does.
        retention: how long what is over is kept.
        backups: how long backups of the database and of the key ring are kept, for the receipts of erasures.
        attempts: how often a message is tried before it has failed.
        lease: how long a claimed message belongs to its worker.
    """

    sender: str
    store: StoreUrl = "sqlite:///journeylab.db"
    state: str = "state"
    keys: SecretReference | None = None
    domain: Domain
    from_: Address = Field(alias="from")
    reply_to: Mailbox | None = None
    list_id: Domain
    bounces: Domain
    unsubscribe: Mailbox | None = None
    public_url: BaseUrl
    postal_address: str = ""
    language: Literal["en", "pl"] = "en"
    messages: str = "messages"
    dkim: Dkim | None = None
    relays: tuple[Relay, ...] = Field(min_length=1)
    webhook_secret: SecretReference | None = None
    basis: dict[str, Literal["contract", "legal_obligation", "legitimate_interest", "vital_interest"]] = Field(
        default_factory=dict
    )
    purposes: dict[str, Purpose] = Field(default_factory=dict)
    inbox: Inbox = Inbox()
    calls: dict[str, Outgoing] = Field(default_factory=dict)
    crm: Outgoing | None = None
    alerts: Alerts | None = None
    incidents: tuple[ForIncidents, ...] = ()
    statistics: Statistics | None = None
    audit: Audit = Audit()
    reports: tuple[ScheduledReport, ...] = ()
    dashboard: SecretReference | None = None
    tracking: Tracking = Tracking()
    recommend: Recommend = Recommend()
    connectors: dict[Name, Kinded] = Field(default_factory=dict)
    attributes: dict[Name, OwnedAttribute] = Field(default_factory=dict)
    catalogue: Catalogue | None = None
    staging: Staging | None = None
    access: Access | None = None
    four_eyes: FourEyes | None = None
    retention: Retention = Retention()
    backups: PositiveDuration = timedelta(days=35)
    attempts: PositiveInt = 8
    lease: PositiveDuration = timedelta(minutes=2)
    folder: Path = Field(default=Path(), exclude=True, repr=False)

    @model_validator(mode="after")
    def _has_distinct_relays(self) -> Settings:
        names = [relay.name for relay in self.relays]
        if len({*names}) < len(names):
            raise ValueError("relays need names of their own")
        mail = self.audit.mail
        if mail is not None and mail.relay not in (None, *names):
            raise ValueError(f"audit: mail: no relay {mail.relay!r}; {known(str(mail.relay), names, 'relays')}")
        return self

    @model_validator(mode="after")
    def _has_distinct_incident_systems(self) -> Settings:
        names = [one.name for one in self.incidents]
        if twice := next((one for one in names if names.count(one) > 1), None):
            raise ValueError(f"incidents: two are named {twice!r}; the outbox tells them apart by their names")
        if taken := next((one for one in names if one in WEBHOOKS), None):
            raise ValueError(f"incidents: {taken!r} is the name of a webhook; give the system another")
        hearing = [*self.webhooks, *(one.name for one in self.incidents if STATISTICS in one.hears)]
        for name in () if self.statistics is None else self.statistics.to:
            if name not in hearing:
                raise ValueError(f"statistics: {name!r} cannot be told them; {known(name, hearing, 'names')}")
        return self

    @model_validator(mode="after")
    def _knows_who_may_approve(self) -> Settings:
        if self.four_eyes is not None and self.access is None:
            raise ValueError("`four_eyes` needs `access`, which says who may approve what another one asks for")
        return self

    @model_validator(mode="after")
    def _knows_the_sources(self) -> Settings:
        taken = next((name for name in self.connectors if name in WAYS_IN), None)
        if taken is not None:
            raise ValueError(f"connectors: {taken!r} is a way in of its own; give the connector another name")
        if self.catalogue is not None and self.catalogue.source not in self.connectors:
            raise ValueError(
                f"catalogue: no connector {self.catalogue.source!r}; "
                f"{known(self.catalogue.source, self.connectors, 'connectors')}"
            )
        if self.catalogue is not None and "catalogue" in self.attributes:
            raise ValueError("attributes: 'catalogue' is what the products are called; give the attribute another name")
        for what, one in (*self.attributes.items(), ("catalogue", self.catalogue)):
            if one is not None and (fault := self._no_stream(one)) is not None:
                raise ValueError(f"{what if what == 'catalogue' else f'attributes: {what}'}: {fault}")
        return self

    def _no_stream(self, one: OwnedAttribute | Catalogue) -> str | None:
        """What is wrong with the stream of a source, if anything is."""
        connector = self.connectors.get(one.source)
        streams = {} if connector is None else connector.pull
        if one.stream is not None and one.stream not in streams:
            return f"nothing named {one.stream!r} is pulled from {one.source}; {known(one.stream, streams, 'streams')}"
        if one.stream is None and len(streams) > 1:
            return f"several streams are pulled from {one.source}; say which with `stream:`: {', '.join(streams)}"
        stream = one.stream or next(iter(streams), None)
        if stream is not None and one.max_age is not None and one.max_age <= streams[stream].every:
            return (
                f"`max_age: {duration_text(one.max_age)}` is over before {stream} of {one.source} is pulled again, "
                f"every {duration_text(streams[stream].every)}; pull it more often, or let it be older"
            )
        return None

    def stream_of(self, one: OwnedAttribute | Catalogue) -> str | None:
        """The stream by which a source is pulled; None for one that is not pulled."""
        connector = self.connectors.get(one.source)
        return one.stream or next(iter(connector.pull if connector is not None else ()), None)

    @property
    def limited(self) -> dict[str, OwnedAttribute]:
        """The attributes that may not be of any age."""
        return {name: one for name, one in self.attributes.items() if one.max_age is not None}

    @property
    def webhooks(self) -> dict[str, Alerts]:
        """The webhooks that are told what happens, by their names."""
        found = {"crm": self.crm, "alerts": self.alerts, "audit": self.audit.webhook}
        return {name: one for name, one in found.items() if one is not None}

    def told_statistics(self) -> list[str]:
        """The names in the outbox of those who are told statistics."""
        to = () if self.statistics is None else self.statistics.to
        return [name if name in WEBHOOKS else f"incidents/{name}" for name in dict.fromkeys(to)]

    def path(self, name: str) -> Path:
        """A path of the settings, which is relative to their file."""
        return self.folder / name

    def secret(self, reference: str) -> str:
        """The secret that a reference in the settings names; see `secret`."""
        return secret(reference, self.folder)

    @property
    def key_ring(self) -> str:
        """Where the key ring is."""
        return self.keys or f"file:{self.state}/keys.json"

    @property
    def is_staging(self) -> bool:
        """Whether nothing leaves but mail to the staging domains."""
        return self.staging is not None

    def may_reach(self, address: str) -> bool:
        """Whether mail may go to an address: anywhere, or in staging to the staging domains alone.

        In staging an address that is no plain one, or whose domain is not written as there, cannot be reached.
        """
        return self.staging is None or (
            address.count("@") == 1 and address.partition("@")[2].lower() in self.staging.domains
        )

    @classmethod
    def read(cls, path: str | Path) -> Settings:
        """The settings in a YAML or JSON file.

        Raises:
            DefinitionError: with every fault of the file and where it stands.
        """
        from journeylab.journeyfile import text_of
        from journeylab.journeyform import part_of
        from journeylab.yamlsource import Document, documents

        path = Path(path)
        found = documents(text_of(path).text, source=str(path), is_json=path.suffix == ".json")
        document, *more = found or [Document(source=str(path))]
        faults = [*document.faults, *(fault for other in more for fault in other.faults)]
        if more and not faults:
            faults = [Fault((), "a file has the settings of one sender", str(path))]
        if not faults and not (isinstance(document.data, dict) and "sender" in document.data):
            faults = [document.fault((), "there are no settings here; they begin with `sender: NAME`")]
        if not faults:
            made, faults = part_of(cls, document.data, document, (), "the settings")
            if made is not None:
                return made.model_copy(update={"folder": path.resolve().parent})
        raise DefinitionError(faults)

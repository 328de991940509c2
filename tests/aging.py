"""A journey that runs live on attributes that another system owns, step by step, for tests of ages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update

from journeylab.journey import Journey
from journeylab.program import Release
from journeylab.sender.live.intake import addresses_of, attributes_of
from journeylab.sender.live.pulls import Puller
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.promotion.frozen import definition_of
from journeylab.sender.sending.claims import release
from journeylab.sender.sending.gate import Passed, Refused, Request, let_pass
from journeylab.sender.sending.preparing import Fault, Made, claimed, frozen, made
from journeylab.sender.sending.settling import Settled, settle
from journeylab.sender.sending.transport import Outcome
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import LiveRun, StillClock
from pulling import PEOPLE, connector
from sendworld import make_settings
from vendors.shopify import Shopify

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OWNED = {"source": "crm", "max_age": "1h"}


def journey(nodes: Mapping[str, Any], **more: Any) -> Journey:
    return Journey.model_validate({"journey": "j", "trigger": {"event": "signup"}, "nodes": nodes, **more})


class Aging(LiveRun):
    """A release that runs on attributes of a CRM, which is pulled every ten minutes.

    Attributes:
        crm: customers with `plan`, as the mock of a shop has orders.
        is_relay_down: whether messages are made and none is taken.
        told: of each message that the relay has, when it passed the gate, and the plan that stands in it.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        crm: Shopify,
        definition: Journey,
        messages: Mapping[str, Sequence[str]],
        *,
        settings: Mapping[str, Any] | None = None,
        **attributes: Mapping[str, Any],
    ) -> None:
        given = {
            "connectors": {"crm": connector(crm, every="10m", people=PEOPLE)},
            "attributes": attributes or {"plan": OWNED},
        }
        sender = make_settings(folder, **(given | dict(settings or {})))
        super().__init__(store, [Release(journey=definition)], settings=sender, basis=("marketing",))
        self.crm, self.sender = crm, sender.model_copy(update={"basis": {"marketing": "contract"}})
        self.puller = Puller(store, self.sender, "w")
        self.told: list[tuple[str, str, datetime, Any]] = []
        self.is_relay_down = False
        kept = {
            name: Message(message=name, subject="Hello", attributes=tuple(names)) for name, names in messages.items()
        }
        values = {"definition": definition_of(definition), "messages": Messages(kept).to_dict()}
        values["hash"] = f"{folder}"  # of a release of its own
        with store.writing() as connection:
            connection.execute(update(t.releases).values(**values))
        self.declare("contact", {"plan": "text"})

    def says(self, customer: str, plan: str | None) -> None:
        """The CRM has another plan for a customer from now on."""
        number = int.from_bytes(customer.encode(), "big") % 10**9
        self.crm.now = max(self.crm.now, self.clock.at)
        self.crm.put(number, customer=customer, mail=f"{customer}@rcpt.test", plan=plan)

    def signs_up(self, customer: str = "ada", **properties: Any) -> None:
        self.receive([{"contact": customer, "event": "signup", "occurred_at": None, "properties": properties}])

    def step(self, by: timedelta = timedelta(0)) -> None:
        """Lets some time pass, and what is due then happen."""
        assert isinstance(self.store.clock, StillClock)
        self.clock.at += by
        self.puller.pull_due()
        self.settle()

    def pass_by(self, time: timedelta, step: timedelta = 10 * MINUTE) -> None:
        for _ in range(time // step):
            self.step(step)

    def send(self) -> int:
        """Carries what may go to the relay, as a worker does."""
        with self.store.writing() as connection:
            claim = claimed(connection, self.sender, "w", 50, self.clock.at)
        making = made(self.store, claim, self._render, self.sender)
        with self.store.writing() as connection:
            aged = let_pass(connection, making.aged, self.clock.at, self.sender)
            ready = frozen(connection, making, self.clock.at)
        if self.is_relay_down:
            with self.store.writing() as connection:
                release(connection, {one.key: one.row.fence for one in ready})
            return 0
        n = sum(answer != Refused("due") for answer in aged.values())
        for one in ready:
            asked = Request(one.key, one.row.fence, one.row.contact, "main")
            with self.store.writing() as connection:
                answer = let_pass(connection, [asked], self.clock.at, self.sender)[one.key]
            n += answer != Refused("due")  # the machine is a microsecond ahead of the clock
            if isinstance(answer, Passed):
                self.told.append((one.row.contact, one.row.message, answer.gated_at, one.body.decode()))
                taken = Outcome("accepted", "dot", 250, text="ok")
                done = Settled(one.key, one.row.fence, one.row.contact, taken, "main", answer.gated_at)
                with self.store.writing() as connection:
                    settle(connection, [done], self.clock.at, self.sender)
        return n

    def _render(self, connection: Connection, rows: Sequence[Row[Any]]) -> list[Made | Fault]:
        contacts = [row.contact for row in rows]
        known, addresses = attributes_of(connection, contacts, self.clock.at), addresses_of(connection, contacts)
        return [Made(str(addresses[one]), str(known[one].get("plan")).encode(), {}) for one in contacts]

    def states(self) -> dict[str, tuple[str, str | None]]:
        """The state and the reason of each message, by its node."""
        with self.store.reading() as connection:
            return {row.node: (row.state, row.reason) for row in connection.execute(select(t.sends))}

    def alerts(self) -> list[str]:
        with self.store.reading() as connection:
            return [*connection.scalars(select(t.alerts.c.cause).where(t.alerts.c.resolved_at.is_(None)))]

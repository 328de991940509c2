"""PostgreSQL's roles: each reads and writes what it is for, and a column that no list has is nobody's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from journeylab.errors import DataError
from journeylab.explorers import release_tables
from journeylab.journey import Journey
from journeylab.sender.acting import Acting
from journeylab.sender.approvals import Wanted, approve, approved_or_asked
from journeylab.sender.databaseroles import COLUMNS, READERS, ROLES, Role, readable, statements
from journeylab.sender.keys import key_ring
from journeylab.sender.live.intake import Incoming, Person, receive, receive_people
from journeylab.sender.permissions import ROLES as ROLES_OF
from journeylab.sender.process import Sender
from journeylab.sender.promotion import releases
from journeylab.sender.promotion.promoting import prepare
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from journeylab.sender.tokens import create, revoke, valid
from outside import settings as settings_of
from promotable import write_key, write_messages
from servers.postgres import Postgres
from servers.smtp import SmtpOracle
from stores import rows_of
from webclient import settings_for

Run = Callable[..., str]
READ_ONLY: tuple[Role, ...] = ("analyst", "auditor", "maintenance")
_prefixes = itertools.count(1)


class Shop:
    """A sender on PostgreSQL whose tables belong to one role, and everybody else comes by another."""

    def __init__(self, server: Postgres, folder: Path, port: int) -> None:
        self.server, self.name, self.prefix = server, server.create(), f"jl{next(_prefixes)}"
        self.url = server.url(self.name)
        write_messages(folder / "messages", "welcome_1")
        write_key(folder / "dkim.pem")
        self.settings: Settings = settings_for(
            folder, relays=[{"host": "127.0.0.1", "port": port, "tls": "none"}], messages=str(folder / "messages"),
            dkim={"domain": "shop.example", "selector": "s1", "key": "dkim.pem"},
            postal_address="Akacja, ul. Prosta 1, 00-001 Warszawa",
        )  # fmt: skip
        self.keys = key_ring(self.settings, create=True)
        self.owner = Store.open(self.url, self.keys, create=True)
        self._stores: list[Store] = []
        self.grant(statements(self.prefix))

    def grant(self, lines: list[str]) -> None:
        with self.owner.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for line in lines:
                connection.exec_driver_sql(line)

    def as_(self, role: Role) -> Store:
        """The store as a role has it."""
        engine = create_engine(self.url)

        @event.listens_for(engine, "connect")
        def _becomes(connection: Any, _: Any) -> None:
            connection.execute(f"set role {self.prefix}_{role}")
            connection.commit()

        found = Store(engine).with_keys(self.keys)
        self._stores.append(found)
        return found

    def close(self) -> None:
        for store in (*self._stores, self.owner):
            store.close()
        self.server.drop(self.name)
        admin = create_engine(self.server.url("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            for role in ROLES:
                connection.exec_driver_sql(f"drop role {self.prefix}_{role}")
        admin.dispose()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmtpOracle]:
    with SmtpOracle(tmp_path_factory.mktemp("relay") / "ledger", keep=True) as one:
        yield one


@pytest.fixture(scope="module")
def shop(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory, oracle: SmtpOracle) -> Iterator[Shop]:
    made = Shop(postgres_server, tmp_path_factory.mktemp("shop"), oracle.port)
    yield made
    made.close()


def refused(store: Store, statement: str) -> bool:
    """Whether the database refuses a statement for want of a permission, and not for another reason."""
    why = ""
    with store.engine.connect() as connection:
        try:
            connection.execute(text(statement))
        except DBAPIError as problem:
            why = str(problem.orig)
        connection.rollback()
    assert "syntax" not in why, why
    assert "does not exist" not in why, why
    return "permission denied" in why or "must be owner" in why


# The table


def test_every_column_of_every_table_stands_in_it_once() -> None:
    there = {name: [one.name for one in table.columns] for name, table in t.metadata.tables.items()}
    listed = {name: [one for kind in kinds.values() for one in kind.split()] for name, kinds in COLUMNS.items()}
    assert {name: sorted(columns) for name, columns in listed.items()} == {
        name: sorted(columns) for name, columns in there.items()
    }


def test_ciphertext_and_digests_are_the_senders_alone() -> None:
    for name, table in t.metadata.tables.items():
        for column in table.columns:
            is_sealed = "LargeBinary" in repr(column.type) or "digest" in column.name or column.name == "sealed_key"
            if is_sealed and name != "tokens":
                assert [role for role in ROLES if column.name in readable(role, name)] == ["sender"], column
    assert not READERS["work"] & {"analyst", "auditor", "maintenance", "source"}  # where the digests of tokens are


def test_the_database_grants_what_the_table_says_and_nothing_else(shop: Shop) -> None:
    with shop.owner.reading() as connection:
        for role in ROLES:
            for name in COLUMNS:
                has = text("select has_column_privilege(:role, :table, :column, 'select')")
                found = {
                    one.name
                    for one in t.metadata.tables[name].columns
                    if connection.scalar(has, {"role": f"{shop.prefix}_{role}", "table": name, "column": one.name})
                }
                assert found == {*readable(role, name)}, (role, name)


def test_a_new_column_and_a_new_table_are_granted_to_nobody(shop: Shop) -> None:
    shop.grant(["alter table contacts add column nickname text", "create table crushes (contact text)"])
    try:
        shop.grant(statements(shop.prefix))
        for role in ROLES:
            assert refused(shop.as_(role), "select nickname from contacts")
            assert refused(shop.as_(role), "select contact from crushes")
            assert refused(shop.as_(role), "update contacts set nickname = ''")
        assert refused(shop.as_("sender"), "insert into contacts (nickname) values ('')")
    finally:
        shop.grant(["alter table contacts drop column nickname", "drop table crushes"])


# Reading


def test_to_an_analyst_every_sealed_column_is_denied(shop: Shop) -> None:
    analyst = shop.as_("analyst")
    for name, table in t.metadata.tables.items():
        for column in table.columns:
            is_open = column.name in readable("analyst", name)
            assert refused(analyst, f'select "{column.name}" from {name}') != is_open, column
            if not is_open:  # nor by a condition, an order or a function
                assert refused(analyst, f'select count(*) from {name} where "{column.name}" is null')
                assert refused(analyst, f'select 1 from {name} order by "{column.name}"')
                assert refused(analyst, f"select row_to_json({name}) from {name}")
    assert refused(analyst, "select * from contacts")
    assert refused(analyst, "copy contacts to stdout")
    assert refused(analyst, "select audit_erase('ada')")


def test_without_the_grants_an_analyst_would_read_the_ciphertext(shop: Shop) -> None:
    analyst = shop.as_("analyst")
    assert refused(analyst, "select address from contacts")
    shop.grant([f"grant select on contacts to {shop.prefix}_analyst"])
    try:
        assert not refused(analyst, "select address from contacts")
        shop.grant(statements(shop.prefix))  # printed anew, it takes back what was given beside it
        assert refused(analyst, "select address from contacts")
    finally:
        shop.grant(statements(shop.prefix))


def test_everybody_can_open_the_store_but_a_source_reads_nothing(shop: Shop) -> None:
    from journeylab.sender.store.migrations import refuse_other_version

    for role in ROLES:
        refuse_other_version(shop.as_(role).engine, "here")
    source = shop.as_("source")
    assert all(refused(source, f"select 1 from {name}") for name in t.metadata.tables)
    put = "insert into inbox (contact, event) values ('ada', 'signup')"
    assert not refused(source, put)
    assert refused(source, "insert into inbox (contact, event, taken_at) values ('ada', 'signup', now())")
    assert refused(source, "delete from inbox")
    assert refused(source, "update inbox set contact = ''")


def test_an_auditor_verifies_the_log_and_sees_nothing_else(shop: Shop) -> None:
    from journeylab.sender.audit.keeping import signer_of
    from journeylab.sender.audit.reading import entries_of, kept_checkpoints, read_frontier
    from journeylab.sender.audit.verifying import verified

    with shop.owner.writing() as connection:
        act(connection, shop.owner.now(connection), "kim", "pause", "welcome", contact="ada")
    auditor = shop.as_("auditor")
    with auditor.snapshot() as connection:
        key = signer_of(shop.settings, shop.keys).key
        found = verified(entries_of(connection), read_frontier(connection), kept_checkpoints(connection), [], key)
    assert found.is_well
    assert found.n_entries >= 1
    theirs = {"audit", "audit_tree", "checkpoints", "audit_positions"}
    assert all(refused(auditor, f"select 1 from {name}") for name in COLUMNS.keys() - theirs)


# Writing


def test_nobody_but_the_sender_changes_anything_but_what_an_operator_decides(shop: Shop) -> None:
    decided = {
        ("contacts", "next_at"), ("releases", "created_by"), ("audit_tree", "size"), ("audit_tree", "frontier"),
        ("tokens", "revoked_at"), ("tokens", "revoked_by"),
        *(("approvals", one) for one in ("expires_at", "approved_at", "approved_by", "used_at")),
        *((name, one.name) for name in ("spans", "pauses") for one in t.metadata.tables[name].columns),
    }  # fmt: skip
    for role in ROLES[1:]:
        store, found = shop.as_(role), set()
        for name, table in t.metadata.tables.items():
            assert refused(store, f"delete from {name}"), (role, name)
            assert refused(store, f"truncate {name} cascade"), (role, name)
            found |= {
                (name, one.name)
                for one in table.columns
                if not refused(store, f'update {name} set "{one.name}" = null')
            }
            assert refused(store, f"drop table {name}"), (role, name)
        assert found == (decided if role == "operator" else set()), role
    for role in READ_ONLY:
        store = shop.as_(role)
        assert all(refused(store, f"insert into {name} default values") for name in t.metadata.tables)


def test_the_sender_adds_to_the_audit_log_and_changes_nothing_in_it(shop: Shop) -> None:
    sender = shop.as_("sender")
    assert refused(sender, "update audit set actor = 'x'")
    assert refused(sender, "delete from audit")
    assert not refused(sender, "select audit_erase('nobody')")


NODES = {"greet": {"send": "welcome_1", "next": "done"}, "done": {"exit": "finished"}}


def test_operator_promotes_sender_ticks_and_sends_analyst_looks(shop: Shop, oracle: SmtpOracle) -> None:
    journey = Journey.model_validate(
        {"journey": "letters", "trigger": {"event": "signup"}, "purpose": "marketing", "nodes": NODES}
    )
    sender, operator, analyst = shop.as_("sender"), shop.as_("operator"), shop.as_("analyst")
    with sender.writing() as connection:
        now = sender.now(connection)
        assert not receive_people(connection, [Person("ada", "ada@mail.example", {"plan": "trial"})], now).refused
    with sender.writing() as connection:
        consent = Incoming("ada", "consent_given", None, {"purpose": "marketing"})
        assert not receive(connection, [consent], sender.now(connection)).refused
    theirs = make_url(shop.url).update_query_dict({"options": f"-c role={shop.prefix}_operator"})
    url = theirs.render_as_string(hide_password=False)
    made = prepare(journey, settings=shop.settings, store=url, without_forecast="only who may is looked at")
    assert made.open(share=0.5, actor="jan").has_changed
    assert not made.open(share=0.5, actor="jan").has_changed
    assert releases.open_fully(operator, "letters", actor="jan").has_changed
    assert releases.pause(operator, "letters", reason="a look", actor="jan").has_changed
    assert releases.resume(operator, "letters", actor="jan").has_changed
    with sender.writing() as connection:
        assert not receive(connection, [Incoming("ada", "signup", None, {})], sender.now(connection)).refused
    with Sender(sender, shop.settings, "worker") as process:
        for _ in range(3):
            process.run_once()
    assert [one.state for one in rows_of(shop.owner, t.sends)] == ["accepted"]
    assert len(oracle.records()) == 1
    assert release_tables(analyst)["runs"]["journey"].tolist() == ["letters"]
    with analyst.reading() as connection:
        assert connection.execute(select(t.sends.c.contact, t.sends.c.state)).all() == [("ada", "accepted")]
    assert releases.roll_back(operator, "letters", reason="over", actor="jan").has_changed


def test_an_operator_makes_tokens_and_approves(shop: Shop) -> None:
    settings = settings_of(access={"people": {"ewa": ["operator"], "jan": ["operator"]}}, four_eyes={})
    ewa, jan = (Acting(one, ROLES_OF["operator"], frozenset({one})) for one in ("ewa", "jan"))
    operator = shop.as_("operator")
    with operator.writing() as connection:
        now = operator.now(connection)
        token = create(connection, ewa, "ci", {"promote"}, timedelta(days=1), now)
        wanted = Wanted("promotion", f"letters/{'a' * 64}", "all", 1.0)
        asked = approved_or_asked(connection, settings, ewa, wanted, now, actor="ewa")
    with operator.writing() as connection:
        now = operator.now(connection)
        assert approve(connection, settings, jan, asked.approval_id, now).approved_by == "jan"
        assert valid(connection, settings, token, now) is not None
        revoke(connection, "ci", "jan", now)


def test_as_an_operator_nothing_can_be_read_of_a_person(shop: Shop) -> None:
    from journeylab.sender.live.inspection import known_of

    operator = shop.as_("operator")
    with operator.reading() as connection, pytest.raises(DBAPIError, match="permission denied"):
        known_of(connection, "ada", reveal=True)


def test_the_sender_erases_a_person(shop: Shop) -> None:
    from journeylab.sender.persons.erasure import erase
    from journeylab.sender.process import WhatRuns

    sender = shop.as_("sender")
    with sender.writing() as connection:
        receive_people(connection, [Person("zoe", "zoe@mail.example", {})], sender.now(connection))
    done = erase(sender, shop.settings, WhatRuns(shop.settings), "zoe", reason="asked for", actor="dpo")
    assert done.n_suppressed == 1


def test_what_is_printed_is_what_is_tested(run: Run) -> None:
    assert run("grants", "--prefix", "shop").splitlines() == statements("shop")
    assert 'grant usage on schema "sender" to "journeylab_sender"' in run("grants", "--schema", "sender")
    assert "is no name of a role" in run("grants", "--prefix", "x'; drop", status=1)
    with pytest.raises(DataError, match="no name"):
        statements("$$")

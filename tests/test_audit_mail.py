"""Checkpoints by mail: a relay takes them, a saved folder of mails is held against the log, nobody is in them."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import dkim
import pytest
from sqlalchemy import text

from journeylab.errors import DataError
from journeylab.sender.audit import folder as folders
from journeylab.sender.audit.folder import outside
from journeylab.sender.audit.keeping import EVERY, Keeper, signer_of
from journeylab.sender.audit.mailing import text_in
from journeylab.sender.mail.dkim import DkimKey, dns_record, write_key
from journeylab.sender.settings import Relay, Settings
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from sendworld import make_settings
from servers.certificates import Authority
from servers.postfix import Postfix
from servers.smtp import Rule, SmtpOracle
from stores import KEYS, rows_of
from test_audit_shipping import causes, done, kept, moved, verify

AUDITOR = "auditor@accountant.example"
pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def settings_for(folder: Path, port: int, **more: Any) -> Settings:
    write_key(folder / "dkim.pem")
    relays = [Relay(name="other", host="127.0.0.1", port=1, tls="none"),
              Relay(name="main", host="127.0.0.1", port=port, tls="none", timeout="5s")]  # fmt: skip
    given = {
        "audit": {"checkpoints": ["mail"], "mail": {"to": AUDITOR, "relay": "main"}},
        "from": {"name": "Our Shop", "address": "hello@shop.example"},
        "dkim": {"domain": "shop.example", "selector": "s1", "key": "dkim.pem"},
    }
    return make_settings(folder, *relays, **given | more)


def saved(oracle: SmtpOracle, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for number, record in enumerate(oracle.records()):
        (folder / f"{number}.eml").write_bytes(record.message)
    return folder


def test_mails_that_were_saved_are_held_against_the_log(store: Store, tmp_path: Path) -> None:
    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        settings = settings_for(tmp_path, oracle.port)
        keeper = Keeper(store, settings)
        for n in (0, 3, 2):
            done(store, n)
            kept(store, keeper)
            moved(store, EVERY)
        mails = saved(oracle, tmp_path / "mails")
    assert causes(store) == []
    assert [(one.rcpt, one.mail_from) for one in oracle.records()] == [([AUDITOR], "hello@shop.example")] * 3
    assert [(one.size, one.taken_by) for one in rows_of(store, t.checkpoints)] == [
        (0, ["mail"]), (3, ["mail"]), (5, ["mail"]),
    ]  # fmt: skip
    found = verify(store, settings, mails)
    assert (found.faults, found.n_outside, found.newest and found.newest.size) == ((), 3, 5)
    # Each has the leaves since the one before, by which a fault is located.
    theirs = outside(mails, signer_of(settings, KEYS).key)
    assert [(one.first, len(one.leaves)) for one in theirs] == [(1, 0), (1, 3), (4, 2)]
    (mails / "other.eml").write_bytes(b"From: a@b.example\nSubject: Lunch?\n\nAt one.\n")
    assert verify(store, settings, mails).is_well


def test_a_changed_entry_is_located_by_mails_alone_and_unseen_without(store: Store, tmp_path: Path) -> None:
    """The attack succeeds on whoever has nothing from outside; mails show it, and which entry it is."""
    from journeylab.sender.audit.entries import sealed
    from journeylab.sender.audit.tree import Frontier

    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        settings = settings_for(tmp_path, oracle.port)
        done(store, 6)
        kept(store, Keeper(store, settings))
        mails = saved(oracle, tmp_path / "mails")
    rows = rows_of(store, t.audit)
    entries = [sealed(one.seq, one.at, "eve" if one.seq == 4 else one.actor, one.action, one.object, one.contact,
                      one.details, bytes.fromhex(one.salt)) for one in rows]  # fmt: skip
    grown = Frontier().grown(one.leaf_hash for one in entries)
    with store.writing() as connection:  # as somebody who owns the database and has the key
        if store.is_sqlite:
            connection.execute(text("drop trigger audit_not_changed"))
        else:
            connection.execute(text("set local session_replication_role = replica"))
        for one in entries:
            values = {"actor": one.actor, "commitment": one.commitment.hex(), "leaf_hash": one.leaf_hash.hex()}
            connection.execute(t.audit.update().where(t.audit.c.seq == one.seq).values(values))
        connection.execute(t.audit_tree.update().values(size=6, frontier=b"".join(grown.hashes).hex()))
        connection.execute(t.checkpoints.delete())
    kept(store, Keeper(store, make_settings(tmp_path)))
    key = signer_of(settings, KEYS).key
    from journeylab.sender.audit.reading import entries_of, kept_checkpoints, read_frontier
    from journeylab.sender.audit.verifying import verified

    with store.snapshot() as connection:
        unseen = verified(entries_of(connection), read_frontier(connection), kept_checkpoints(connection), [], key)
    assert unseen.is_well
    assert [(one.what, one.first) for one in verify(store, settings, mails).faults if one.first] == [("rewritten", 4)]


def test_a_forged_mail_is_a_fault_and_believed_with_the_guard_off(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        settings = settings_for(tmp_path, oracle.port)
        done(store, 3)
        kept(store, Keeper(store, settings))
        mails = saved(oracle, tmp_path / "mails")
    (mail,) = mails.iterdir()
    note = text_in(mail.read_bytes())
    forged = note.replace("shop\n3\n", "shop\n9\n")
    assert forged != note
    mail.write_bytes(b"Content-Type: text/plain; charset=utf-8\n\n" + forged.encode())
    found = verify(store, settings, mails)
    assert any("signature" in one.text for one in found.faults)
    from journeylab.sender.audit.checkpoints import PublicKey

    monkeypatch.setattr(PublicKey, "has_signed", lambda *_: True)
    assert outside(mails, signer_of(settings, KEYS).key)[0].fault is None


def test_the_mail_is_signed_and_has_nobody_in_it(store: Store, tmp_path: Path) -> None:
    canary = "zofia.kanarek"
    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        settings = settings_for(tmp_path, oracle.port)
        with store.writing() as connection:
            act(connection, store.now(connection), "kim", "consent_given", "consent", contact=canary, proof=canary)
        kept(store, Keeper(store, settings))
        (record,) = oracle.records()
    key = DkimKey.read(settings)
    assert key is not None
    txt = "".join(dns_record(key).partition("( ")[2].split('"')[1::2]).encode()
    assert dkim.verify(record.message, dnsfunc=lambda *_, **__: txt)
    mail = message_from_bytes(record.message)
    assert mail["Auto-Submitted"] == "auto-generated"
    whole = record.message.decode() + text_in(record.message) + str(mail.get_payload()[1].get_payload(decode=True))
    assert canary not in whole
    assert "journeylab audit verify --against FOLDER" in whole


def test_what_the_relay_does_not_take_is_an_alert_and_comes_again(store: Store, tmp_path: Path) -> None:
    refusal = Rule(at="rcpt", reply="450 4.2.0 later")
    with SmtpOracle(tmp_path / "ledger", rules=[refusal]) as oracle:
        settings = settings_for(tmp_path, oracle.port)
        keeper = Keeper(store, settings)
        done(store, 1)
        kept(store, keeper)
        moved(store, timedelta(minutes=2))
        kept(store, keeper)
        assert causes(store) == ["audit/checkpoints"]
        oracle.rules = []
        moved(store, timedelta(minutes=1))
        kept(store, keeper)
        assert causes(store) == []
        assert len(oracle.records()) == 1


def test_in_staging_no_checkpoint_is_mailed_elsewhere(store: Store, tmp_path: Path) -> None:
    with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
        settings = settings_for(tmp_path, oracle.port, staging={"domains": ["test.example"]})
        kept(store, Keeper(store, settings))
        assert oracle.records() == []


@pytest.mark.parametrize(
    ("audit", "said"),
    [
        ({"checkpoints": ["mail"]}, "say with `mail:`"),
        ({"mail": {"to": "nobody"}}, "is no e-mail address"),
        ({"mail": {"to": AUDITOR, "relay": "mian"}}, "did you mean 'main'"),
        ({"checkpoints": ["post"]}, "write file:FOLDER, syslog, webhook or mail"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(store: Store, tmp_path: Path, audit: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_settings(tmp_path, audit=audit)


def test_a_folder_without_any_checkpoint_is_none(store: Store, tmp_path: Path) -> None:
    (tmp_path / "lunch.eml").write_bytes(b"Subject: Lunch?\n\nAt one.\n")
    key = signer_of(make_settings(tmp_path), KEYS).key
    with pytest.raises(DataError, match="no checkpoint in it"):
        folders.outside(tmp_path, key)


def test_a_real_relay_takes_it(store: Store, tmp_path: Path, postfix: Postfix, authority: Authority) -> None:
    settings = settings_for(tmp_path, postfix.port)
    to = {"to": f"auditor-{tmp_path.name}@rcpt.test", "relay": "postfix"}
    relay = Relay(name="postfix", host="localhost", port=postfix.port, ca=str(authority.file))
    given = settings.model_dump(by_alias=True) | {"audit": {"checkpoints": ["mail"], "mail": to}, "relays": [relay]}
    settings = Settings.model_validate(given).model_copy(update={"folder": tmp_path})
    done(store, 2)
    kept(store, Keeper(store, settings))
    assert causes(store) == []
    (raw,) = postfix.wait_for(to["to"])
    (tmp_path / "mails").mkdir()
    (tmp_path / "mails" / "1.eml").write_bytes(raw)
    found = verify(store, settings, tmp_path / "mails")
    assert (found.faults, found.newest and found.newest.size) == ((), 2)

"""Tokens of services: what each opens and nothing else, on every route and command, in every state that a token has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from journeylab.errors import DataError
from journeylab.sender.acting import VARIABLE, Acting, account, acting
from journeylab.sender.permissions import PERMISSIONS, ROLES, ROUTES, SCOPES, Permission, Way
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.tokens import LONGEST, PREFIX, create, lamed, listed, looks_like_one, revoke, soon_over, valid
from journeylab.sender.web.serving import served
from outside import settings as settings_of
from stores import MovedClock, rows_of
from webclient import Client, settings_for, signature

Run = Callable[..., str]
SECRET = "a secret of the dashboard"
MAKER = Acting("ewa", frozenset(PERMISSIONS), frozenset({"ewa"}))
FREE = settings_of()
OPENED = {route: way for route, way in ROUTES.items() if way.permission is not None}
BODIES = {
    "POST /events": b'[{"contact": "ada", "event": "signup", "id": "e1"}]',
    "POST /contacts": b'[{"contact": "ada", "address": "ada@mail.example"}]',
    "POST /bounces": b"Subject: hello\r\n\r\nhello",
    "POST /unsubscriptions": b"Subject: hello\r\n\r\nhello",
}

one_database = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def made(store: Store, name: str = "crm", *scope: Permission, days: float = 30) -> str:
    with store.writing() as connection:
        now = store.now(connection)
        return create(connection, MAKER, name, scope or SCOPES, timedelta(days=days), now)


@pytest.fixture
def client(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("DASHBOARD_SECRET", SECRET)
    return Client(served(store, settings_for(tmp_path, dashboard="env:DASHBOARD_SECRET")))  # type: ignore[arg-type]


def shown(client: Client, route: str, token: str, **headers: str) -> httpx.Response:
    method, path = route.split()
    return client(method, path, content=BODIES.get(route), headers={"Authorization": f"Bearer {token}"} | headers)


# What is kept


def test_a_token_is_shown_once_and_only_its_digest_is_kept(store: Store) -> None:
    text = made(store)
    assert re.fullmatch(rf"{PREFIX}[\w-]{{43}}", text)
    (row,) = rows_of(store, t.tokens)
    assert row.digest == sha256(text.encode()).hexdigest()
    everything = repr([rows_of(store, table) for table in t.metadata.tables.values()])
    assert text not in everything
    assert text.removeprefix(PREFIX) not in everything
    assert made(store, "other") != text


def test_making_and_revoking_stand_in_the_audit_log(store: Store) -> None:
    made(store, "crm", "bring_in_events")
    with store.writing() as connection:
        revoke(connection, "crm", "jan", store.now(connection))
    found = [(one.actor, one.action, one.object, one.details) for one in rows_of(store, t.audit)]
    assert found[0][:3] == ("ewa", "token_created", "token/crm")
    assert found[0][3]["may"] == "bring_in_events"
    assert found[1] == ("jan", "token_revoked", "token/crm", {})


def test_a_token_is_bounded_and_for_what_its_maker_may_give(store: Store) -> None:
    operator = Acting("jan", ROLES["operator"], frozenset({"jan"}))
    admin = Acting("it", ROLES["admin"], frozenset({"it"}))

    def refused(says: str, maker: Acting = MAKER, name: str = "crm", scope: Collection[str] = ("see_figures",),
                lifetime: timedelta = timedelta(days=1)) -> None:  # fmt: skip
        with store.writing() as connection, pytest.raises(DataError, match=says):
            create(connection, maker, name, scope, lifetime, store.now(connection))

    for permission in PERMISSIONS.keys() - SCOPES:
        refused(f"no token may have '{permission}'", scope=[permission])
    refused("no token may have 'see_figurs'; did you mean 'see_figures'", scope=["see_figurs"])
    refused("it may not promote and so can give it to nobody", admin, scope=["see_figures", "promote"])
    refused("a token is for something", scope=[])
    refused("names no service", name="CRM of ours")
    refused("at most 400d", lifetime=LONGEST + timedelta(seconds=1))
    refused("at most 400d", lifetime=timedelta(0))
    assert operator.permissions >= SCOPES  # whoever promotes can make tokens of every scope
    made(store)
    refused("crm has a token until 2026-04-01")
    with store.writing() as connection:
        revoke(connection, "crm", "ewa", store.now(connection))
        with pytest.raises(DataError, match="'crm' has no token"):
            revoke(connection, "crm", "ewa", store.now(connection))
    made(store)
    with store.reading() as connection:
        assert [one.revoked_by for one in listed(connection)] == [None, "ewa"]


def test_no_scope_tells_of_persons_or_hands_out_more() -> None:
    assert not SCOPES & {
        "see_contacts", "record_consent", "reveal", "copy_person", "erase_person", "export_log", "manage_keys",
        "manage_tokens", "read_audit", "act_for_others", "send", "decide",
    }  # fmt: skip


def test_it_is_valid_until_its_instant_and_not_at_it(store: Store) -> None:
    text, clock = made(store, days=10), store.clock
    assert isinstance(clock, MovedClock)
    with store.reading() as connection:
        (token,) = listed(connection)
        assert valid(connection, FREE, text, token.expires_at - timedelta(microseconds=1)) == token
        assert valid(connection, FREE, text, token.expires_at) is None
        for other in ("", text[:-1], text + "A", text.upper(), "jlt_" + "A" * 43):
            assert valid(connection, FREE, other, clock.at) is None
        assert looks_like_one(text)
        assert soon_over(connection, token.expires_at - timedelta(days=14, seconds=1)) is None
        said = soon_over(connection, token.expires_at - timedelta(days=14))
        assert said == "1 token is over within 14 days: crm (2026-03-12); make another one in time"
        assert soon_over(connection, token.expires_at) is None


# Routes


@one_database
@pytest.mark.parametrize("route", OPENED)
def test_on_every_route_a_token_of_its_scope_opens(store: Store, client: Client, route: str) -> None:
    permission = OPENED[route].permission
    assert permission is not None
    assert shown(client, route, made(store, "crm", permission)).status_code in (200, 202)


@one_database
@pytest.mark.parametrize("route", OPENED)
def test_on_every_route_a_token_in_another_state_is_refused_alike(store: Store, client: Client, route: str) -> None:
    permission = OPENED[route].permission
    assert permission is not None
    tokens = {
        "expired": made(store, "expired", permission, days=1e-11),
        "revoked": made(store, "revoked", permission),
        "unknown": PREFIX + "A" * 43,
        "wrong scope": made(store, "wrong", *(SCOPES - {permission})),
    }
    with store.writing() as connection:
        revoke(connection, "revoked", "ewa", store.now(connection))
    answers = {state: shown(client, route, text) for state, text in tokens.items()}
    assert {state: one.status_code for state, one in answers.items()} == {
        "expired": 401, "revoked": 401, "unknown": 401, "wrong scope": 403,
    }  # fmt: skip
    assert {one.text for one in answers.values()} == {'{"error":"this token does not open this"}'}
    assert shown(client, route, "").status_code == 401
    assert not rows_of(store, t.contacts)
    assert not rows_of(store, t.events)


@one_database
def test_without_the_scope_of_its_route_any_token_would_bring_in(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = made(store, "prometheus", "see_figures")
    assert shown(client, "POST /events", text).status_code == 403
    monkeypatch.setitem(ROUTES, "POST /events", Way("everybody", "see_figures"))  # type: ignore[arg-type]
    assert shown(client, "POST /events", text).json()["n_new"] == 1


@one_database
@pytest.mark.parametrize("state", ["expired", "revoked"])
def test_without_looking_at_its_state_an_old_token_would_open(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    text = made(store, "crm", "bring_in_events", days=30 if state == "revoked" else 1e-11)
    if state == "revoked":
        with store.writing() as connection:
            revoke(connection, "crm", "ewa", store.now(connection))
    assert shown(client, "POST /events", text).status_code == 401
    monkeypatch.setattr("journeylab.sender.tokens.Token.state", lambda *_: "valid")
    assert shown(client, "POST /events", text).status_code == 200


@one_database
def test_a_token_does_not_stand_in_for_links_and_health_needs_none(store: Store, client: Client) -> None:
    text = made(store)
    for path in ("/u/x", "/p/x", "/confirm/x", "/c/x", "/o/x"):
        with_it, without = shown(client, f"GET {path}", text), client("GET", path)
        assert (with_it.status_code, with_it.text) == (without.status_code, without.text)
    assert client("GET", "/health").status_code == 200


@one_database
def test_who_tries_tokens_is_soon_left_waiting_and_who_has_one_is_not(store: Store, client: Client) -> None:
    text = made(store)
    codes = [shown(client, "GET /metrics", PREFIX + f"{n:043}").status_code for n in range(40)]
    assert (codes[0], codes[-1]) == (401, 429)
    assert shown(client, "GET /metrics", text).status_code == 200


@one_database
@pytest.mark.parametrize("route", OPENED)
def test_in_the_clear_a_token_is_taken_from_this_machine_alone(store: Store, client: Client, route: str) -> None:
    text, (method, path) = made(store), route.split()
    url = f"http://mail.shop.example{path}"

    def asked(ip: str) -> httpx.Response:
        client.ip = ip
        return client(method, url, content=BODIES.get(route), headers={"Authorization": f"Bearer {text}"})

    assert "may have been seen" in asked("192.0.2.77").text
    assert asked("127.0.0.1").status_code in (200, 202)
    assert asked("::1").status_code in (200, 202)


@one_database
def test_without_that_guard_whoever_listens_could_use_it(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"Authorization": f"Bearer {made(store)}"}
    url = "http://mail.shop.example/metrics"
    assert client("GET", url, headers=seen).status_code == 403
    monkeypatch.setattr("journeylab.sender.web.bearers._is_private", lambda _: True)
    assert client("GET", url, headers=seen).status_code == 200


@one_database
def test_what_a_token_brings_twice_is_taken_once(store: Store, client: Client) -> None:
    text = made(store)
    for n_new in (1, 0):
        assert shown(client, "POST /events", text).json()["n_new"] == n_new
    bare = json.dumps([{"contact": "ada", "event": "signup"}]).encode()

    def sent(**headers: str) -> dict[str, Any]:
        given = {"Authorization": f"Bearer {text}"} | headers
        found: dict[str, Any] = client("POST", "/events", content=bare, headers=given).json()
        return found

    assert "`id` is missing" in sent()["refused"][0]["reason"]
    assert [sent(**{"webhook-id": "m1"})["n_new"] for _ in range(2)] == [1, 0]
    assert client.signed("/events", bare, "m1").json()["n_new"] == 1  # another source's
    assert "200 characters" in sent(**{"webhook-id": "m" * 201})["error"]


@one_database
def test_without_an_id_of_its_own_an_event_could_be_sent_again(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import itertools

    from journeylab.sender.web import webhooks

    text, numbers, real = made(store), itertools.count(), webhooks._incoming
    monkeypatch.setattr(webhooks, "_incoming", lambda one, source: real(one, source or f"any/{next(numbers)}"))
    bare = json.dumps([{"contact": "ada", "event": "signup"}]).encode()
    sent = [client("POST", "/events", content=bare, headers={"Authorization": f"Bearer {text}"}) for _ in range(2)]
    assert [one.json()["n_new"] for one in sent] == [1, 1]


@one_database
def test_signature_and_secret_open_as_before_and_a_bad_token_beside_them_does_not(store: Store, client: Client) -> None:
    body = BODIES["POST /events"]
    assert client.signed("/events", body).status_code == 200
    headers = signature(body) | {"Authorization": f"Bearer {PREFIX}{'A' * 43}"}
    assert client("POST", "/events", content=body, headers=headers).status_code == 401
    for header in (f"Bearer {SECRET}", f"bearer {SECRET}"):
        assert client("GET", "/metrics", headers={"Authorization": header}).status_code == 200


@one_database
def test_a_token_needs_no_webhook_secret(store: Store, tmp_path: Path) -> None:
    client = Client(served(store, settings_for(tmp_path, webhook_secret=None)))  # type: ignore[arg-type]
    assert shown(client, "POST /events", made(store)).status_code == 200
    assert client("POST", "/events", content=b"[]").status_code == 404


@one_database
def test_who_leaves_takes_along_the_tokens_that_they_made(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = made(store, "crm", "bring_in_events", "bring_in_contacts")

    def answer(*roles: str) -> int:
        settings = settings_for(tmp_path, access={"people": {"ewa": list(roles), account(): ["operator"]}})
        return shown(Client(served(store, settings)), "POST /events", text).status_code  # type: ignore[arg-type]

    assert [answer("operator"), answer("analyst"), answer()] == [200, 403, 403]
    with store.reading() as connection:
        now = store.now(connection)
        assert lamed(connection, settings_of(access={"people": {}}), now) == ["crm"]
        assert lamed(connection, settings_of(access={"people": {"ewa": ["operator"]}}), now) == []
    monkeypatch.setattr("journeylab.sender.tokens.allowed", lambda *_: SCOPES)
    assert answer() == 200


# The command line

SENDER = """
sender: shop
domain: shop.example
from: {{address: hello@shop.example}}
list_id: news.shop.example
bounces: bounces.shop.example
public_url: https://mail.shop.example
relays: [{{host: 127.0.0.1, tls: none}}]
access: {{people: {{ewa: [operator], {who}: [{roles}]}}}}
"""


@pytest.fixture
def becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A sender in whose settings the account of the tests gets roles."""
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("contact,address\nada,ada@mail.example\n")

    def given(*roles: str) -> None:
        Path("sender.yaml").write_text(SENDER.format(who=account(), roles=", ".join(roles)))

    given("operator")
    return given


def made_by_ewa(run: Run, *scope: str, lifetime: str = "9d") -> str:
    """A token that ewa has made, who is an operator whatever the account becomes."""
    may = [part for one in scope for part in ("--may", one)]
    text = run("tokens", "create", "crm", *may, "--for", lifetime).strip()
    store = Store.open("sqlite:///journeylab.db")
    with store.writing() as connection:
        connection.execute(update(t.tokens).values(created_by="ewa"))
    store.close()
    return text


def test_a_token_is_made_listed_and_revoked(becomes: Callable[..., None], run: Run) -> None:
    assert run("tokens", "list") == "no token\n"
    text = run("tokens", "create", "ci", "--may", "promote", "--may", "check", "--for", "90d").strip()
    assert looks_like_one(text)
    assert re.search(rf"ci +valid +check, promote +20\d\d-.* {account()}", run("tokens", "list"))
    assert text not in run("tokens", "list", "--json")
    data = json.loads(run("tokens", "create", "crm", "--may", "bring_in_events", "--for", "1d", "--json"))
    assert looks_like_one(data["token"])
    assert run("tokens", "revoke", "ci") == "the token of ci opens nothing any more\n"
    assert [one["state"] for one in json.loads(run("tokens", "list", "--json"))["tokens"]] == ["valid", "revoked"]
    assert 'write "90d"' in run("tokens", "create", "x", "--may", "check", "--for", "90", status=2)
    assert "--for" in run("tokens", "create", "x", "--may", "check", status=2)
    for role in ("viewer", "analyst", "privacy_officer"):
        becomes(role)
        assert "that takes the role operator or admin" in run("tokens", "list", status=1)


def test_with_a_token_a_command_acts_as_its_service_and_nothing_more(
    becomes: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = made_by_ewa(run, "bring_in_contacts")
    becomes("privacy_officer")
    assert "may not bring in contacts" in run("contacts", "import", "people.csv", status=1)
    monkeypatch.setenv(VARIABLE, text)
    assert "1 contact new" in run("contacts", "import", "people.csv")
    said = run("contacts", "show", "ada", "--reveal", status=1)
    assert "service:crm may not see contacts by their ids" in said
    assert "its token is for bring_in_contacts" in said
    assert "may not make, see and revoke tokens" in run("tokens", "list", status=1)
    monkeypatch.delenv(VARIABLE)
    assert "ada@mail.example" in run("contacts", "show", "ada", "--reveal")


def test_the_audit_log_names_the_service_and_it_acts_for_nobody_else(
    becomes: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from journeylab.cli.sender import permit, who_acts

    monkeypatch.setenv(VARIABLE, run("tokens", "create", "ci", "--may", "stop", "--for", "9d").strip())
    permit("release pause", {"settings": Path("sender.yaml"), "actor": None})
    assert who_acts(None) == "service:ci"
    with pytest.raises(DataError, match="service:ci may not act in another's name"):
        permit("release pause", {"settings": Path("sender.yaml"), "actor": account()})
    monkeypatch.delenv(VARIABLE)
    permit("release pause", {"settings": Path("sender.yaml"), "actor": None})
    assert who_acts(None) == account()


@pytest.mark.parametrize("state", ["unknown", "empty", "expired", "revoked", "of another store"])
def test_a_token_that_is_none_stops_a_command_whatever_the_account_may(
    becomes: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    text = run("tokens", "create", "crm", "--may", "bring_in_contacts", "--for", "9d").strip()
    if state == "revoked":
        run("tokens", "revoke", "crm")
    elif state == "expired":
        store = Store.open("sqlite:///journeylab.db")
        with store.writing() as connection:
            now = store.now(connection)
            connection.execute(update(t.tokens).values(expires_at=now))
        store.close()
    elif state == "of another store":
        Path("journeylab.db").unlink()
    given = {"unknown": PREFIX + "A" * 43, "empty": ""}.get(state, text)
    monkeypatch.setenv(VARIABLE, given)
    said = run("contacts", "import", "people.csv", status=1)
    assert "opens nothing here" in said
    assert not given or given not in said
    assert not Path("state/keys.json").exists()


def test_without_the_guard_an_expired_token_would_promote(
    becomes: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = made_by_ewa(run, "bring_in_contacts", lifetime="1us")
    becomes("viewer")
    monkeypatch.setenv(VARIABLE, text)
    assert "opens nothing" in run("contacts", "import", "people.csv", status=1)
    monkeypatch.setattr("journeylab.sender.tokens.Token.state", lambda *_: "valid")
    assert "1 contact new" in run("contacts", "import", "people.csv")


def test_doctor_warns_of_tokens_that_are_soon_over(becomes: Callable[..., None], run: Run) -> None:
    run("tokens", "create", "crm", "--may", "check", "--for", "15d")
    assert "tokens:         none is over within 14 days" in run("doctor", "--settings", "sender.yaml", status=1)
    run("tokens", "create", "ci", "--may", "check", "--for", "13d")
    said = run("doctor", "--settings", "sender.yaml", status=1)
    assert re.search(r"NO  tokens: +1 token is over within 14 days: ci \(20", said)
    run("tokens", "create", "crm2", "--may", "bring_in_events", "--for", "90d")
    becomes("admin")
    said = run("doctor", "--settings", "sender.yaml", status=1)
    assert re.search(r"NO  tokens: +made by people who may less by now, and so do they: crm2\n", said)


def test_without_access_a_token_restricts_all_the_same(
    becomes: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run("tokens", "create", "ci", "--may", "check", "--for", "9d").strip()
    Path("sender.yaml").write_text(SENDER.partition("access")[0].format())
    monkeypatch.setenv(VARIABLE, text)
    assert "service:ci may not" in run("contacts", "list", status=1)


def test_a_token_tells_who_is_behind_it(
    becomes: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from journeylab.sender.settings import Settings

    monkeypatch.setenv(VARIABLE, made_by_ewa(run, "promote"))
    who = acting(Settings.read("sender.yaml"))
    assert who == Acting("service:crm", frozenset({"promote"}), frozenset({"service:crm", "ewa", account()}), True)

"""Permissions: the tables are complete, the documentation says the same, and nobody does what the roles do not give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route
from typer.main import get_command

from journeylab.cli import app
from journeylab.errors import DataError
from journeylab.sender.acting import account
from journeylab.sender.permissions import COMMANDS, PERMISSIONS, ROLES, ROUTES, matrix, require
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.web.serving import served
from outside import settings

Run = Callable[..., str]
PERSONAL = {"reveal", "copy_person", "erase_person", "export_log"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), [one.name for one in command.params]
        return
    for name, one in below.items():
        yield from leaves(one, (*path, name))


def test_every_command_stands_in_the_table_and_nothing_else() -> None:
    there = dict(leaves(get_command(app)))
    assert there.keys() == {name for name in COMMANDS if " --" not in name}
    for name in COMMANDS:
        if " --" in name:
            command, _, option = name.partition(" --")
            assert option.replace("-", "_") in there[command]


def test_every_command_that_touches_a_sender_takes_a_permission() -> None:
    reads_the_file_alone = {"check"}  # what settings declare of purposes, and no secret, ring or store
    for name, parameters in leaves(get_command(app)):
        if name not in reads_the_file_alone:
            assert (COMMANDS[name] != "everybody") == ("settings" in parameters), name


def test_every_route_stands_in_the_table_and_nothing_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTSIDE_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    given = settings(
        webhook_secret="env:OUTSIDE_SECRET", dashboard="env:OUTSIDE_SECRET", public_url="https://m.example/x"
    )
    routes: set[str] = set()

    def walk(found: Any) -> None:
        for one in found:
            if isinstance(one, Mount):
                walk(one.routes)
            elif isinstance(one, Route):
                routes.add(f"{' '.join(sorted((one.methods or set()) - {'HEAD'}))} {one.path}")

    app_served: Any = served(store, given.model_copy(update={"folder": tmp_path}))
    while not hasattr(app_served, "routes"):
        app_served = app_served.app  # what measures stands around it
    walk(app_served.routes)
    assert routes == ROUTES.keys()


def test_the_documentation_has_the_tables() -> None:
    assert matrix() in (Path(__file__).parent.parent / "docs" / "permissions.md").read_text(encoding="utf-8")


def test_personal_data_are_for_the_privacy_officer_alone() -> None:
    assert {role for role, ones in ROLES.items() if ones & PERSONAL} == {"privacy_officer"}
    assert not ROLES["admin"] & {"see_contacts", *PERSONAL}
    assert not any("act_for_others" in ones for ones in ROLES.values())
    assert all(ones <= PERMISSIONS.keys() for ones in ROLES.values())


def test_who_is_not_named_may_nothing() -> None:
    given = settings(access={"people": {"ewa": ["viewer", "analyst"]}})
    require(given, "ewa", "see_contacts")
    for permission in PERMISSIONS:
        with pytest.raises(DataError, match=r"eve may not .*; that takes the role"):
            require(given, "eve", permission)


SENDER = """
sender: shop
domain: shop.example
from: {{address: hello@shop.example}}
list_id: news.shop.example
bounces: bounces.shop.example
public_url: https://mail.shop.example
relays: [{{host: 127.0.0.1, tls: none}}]
access: {{people: {{{who}: [{roles}]}}}}
"""


@pytest.fixture
def acting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Callable[..., None]:
    """A sender with one contact, in whose settings the account of the tests gets roles."""
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("contact,address,first_name\nada,ada@mail.example,Ada\n")

    def becomes(*roles: str, who: str | None = None) -> None:
        Path("sender.yaml").write_text(SENDER.format(who=who or account(), roles=", ".join(roles)))

    becomes("operator")
    run("contacts", "import", "people.csv")
    return becomes


@pytest.mark.parametrize(
    ("role", "arguments", "needed"),
    [
        ("viewer", ("contacts", "list"), "analyst or operator or privacy_officer"),
        ("analyst", ("contacts", "show", "ada", "--reveal"), "privacy_officer"),
        ("operator", ("contacts", "show", "ada", "--reveal"), "privacy_officer"),
        ("admin", ("contacts", "show", "ada"), "analyst or operator or privacy_officer"),
        ("admin", ("contacts", "copy", "ada", "--out", "x.json"), "privacy_officer"),
        ("operator", ("contacts", "erase", "ada", "--reason", "x", "--yes"), "privacy_officer"),
        ("operator", ("contacts", "export", "--events", "e", "--contacts", "c"), "privacy_officer"),
        ("privacy_officer", ("keys", "rotate"), "admin"),
        ("analyst", ("promote", "x.yaml"), "operator"),
        ("analyst", ("release", "pause", "x", "--reason", "y"), "operator or privacy_officer"),
        ("viewer", ("run", "--once"), "operator"),
        ("operator", ("audit", "list"), "privacy_officer or admin"),
    ],
)
def test_what_a_role_does_not_give_is_refused(
    acting: Callable[..., None], run: Run, role: str, arguments: tuple[str, ...], needed: str
) -> None:
    acting(role)
    assert f"that takes the role {needed}" in run(*arguments, status=1)
    assert not Path("x.json").exists()


def test_what_a_role_gives_is_done(acting: Callable[..., None], run: Run) -> None:
    acting("privacy_officer")
    assert "first_name = Ada" in run("contacts", "show", "ada", "--reveal")
    acting("analyst")
    assert "Ada" not in run("contacts", "show", "ada")
    acting("admin")
    assert run("keys", "list") == "1: in use, seals 1 contact\n"


def test_nobody_becomes_another_by_environment_or_option(
    acting: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting("privacy_officer", who="dpo")
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "dpo")
    assert f"{account()} may not" in run("contacts", "show", "ada", "--reveal", status=1)
    assert f"{account()} may not" in run("contacts", "show", "ada", "--reveal", "--actor", "dpo", status=1)
    acting("privacy_officer")
    assert "may not act in another's name" in run("contacts", "show", "ada", "--reveal", "--actor", "dpo", status=1)


def test_without_the_guard_all_of_it_would_be_done(
    acting: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting("viewer")
    monkeypatch.setattr("journeylab.sender.acting.allowed", lambda *_: frozenset(PERMISSIONS))
    assert "first_name = Ada" in run("contacts", "show", "ada", "--reveal")


def test_a_command_that_no_table_has_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(COMMANDS, "check")  # type: ignore[arg-type]
    assert "no permission is declared for `check`" in run("check", "x.yaml", status=1)


def test_without_access_nothing_is_restricted() -> None:
    for permission in PERMISSIONS:
        require(settings(), "eve", permission)
    assert Settings.model_fields["access"].default is None

"""Four eyes: nobody alone promotes to many or sees a person, whatever names, tokens and contents they bring."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

import journeylab as jl
from journeylab.errors import DataError, DefinitionError
from journeylab.journey import Journey
from journeylab.sender.acting import VARIABLE, Acting
from journeylab.sender.approvals import Approval, Wanted, approve, approved_or_asked
from journeylab.sender.permissions import ROLES
from journeylab.sender.persons.revealing import revealed
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from outside import settings as settings_of
from promotable import SETTINGS, summary, write_key, write_messages
from stores import START, MovedClock, people, rows_of

Run = Callable[..., str]
Be = Callable[[str], None]
PEOPLE = {
    "ewa": ["operator"], "jan": ["operator"], "ala": ["analyst"], "dpo": ["privacy_officer"],
    "rodo": ["privacy_officer"], "it": ["admin"],
}  # fmt: skip
JOURNEY = """\
journey: care
trigger: {{event: signup}}
nodes:
  pause: {{wait: {days}d, next: done}}
  done: {{exit: finished}}
"""
FOUR = {"promotions_over": 500, "reveals": True}


def says(access: dict[str, list[str]] = PEOPLE, **four: Any) -> None:
    """Writes the settings of the folder in which the test is."""
    more = {"access": {"people": access}, "four_eyes": FOUR | four}
    Path("sender.yaml").write_text(SETTINGS + "".join(f"{name}: {json.dumps(one)}\n" for name, one in more.items()))


def version(days: int) -> None:
    """Writes a version of the journey, with a forecast of its own."""
    Path("care.yaml").write_text(JOURNEY.format(days=days))
    Path("forecast.json").write_text(json.dumps(summary(Journey.read("care.yaml"))))


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> Be:
    """Makes the process run under an account."""

    def become(name: str) -> None:
        monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name=name))

    return become


@pytest.fixture
def folder(tmp_path: Path, sqlite_store_file: Path, monkeypatch: pytest.MonkeyPatch, be: Be) -> Path:
    """Where `care` can be promoted, whose forecast is of 1,000 entries, by ewa to begin with."""
    monkeypatch.chdir(tmp_path)
    write_messages(Path("messages"), "welcome_1")
    write_key(Path("dkim.pem"))
    shutil.copy(sqlite_store_file, "journeylab.db")
    says()
    be("ewa")
    version(3)
    Path("people.csv").write_text("contact,address,plan\nada,ada@mail.example,trial\nzoe,zoe@mail.example,trial\n")
    return tmp_path


def promoted(run: Run, *more: object, status: int = 0) -> str:
    given = ("--forecast", "forecast.json", "--yes")
    return run("promote", "care.yaml", *given, *more, status=status)


def asked(run: Run, *more: object) -> str:
    """The release that now waits for approval."""
    said = promoted(run, *more, status=1)
    found = re.search(r"`journeylab release approve (care/[0-9a-f]{12})`", said)
    assert found, said
    return found[1]


def there(table: Any = t.spans) -> list[Any]:
    store = Store.open("sqlite:///journeylab.db")
    found = rows_of(store, table)
    store.close()
    return found


def changed(**values: Any) -> None:
    store = Store.open("sqlite:///journeylab.db")
    with store.writing() as connection:
        connection.execute(update(t.approvals).values(**values))
    store.close()


# Promotions


def test_a_large_promotion_waits_for_somebody_else(folder: Path, run: Run, be: Be) -> None:
    release = asked(run)
    assert not there()
    assert release == asked(run), "asking again is the same request"
    assert len(there(t.approvals)) == 1
    assert f"{release} waits for approval, asked for by ewa: takes entries of 100% of contacts, up to 1,000" in run(
        "release", "list"
    )
    assert json.loads(run("release", "list", "--json"))["waiting"][0]["asked_by"] == "ewa"
    be("jan")
    said = run("release", "approve", release, "--yes")
    assert "asked for by ewa" in said
    assert "no release of it takes entries yet" in said
    assert "approved; ewa can promote it until" in said
    assert not there()
    be("ewa")
    assert "100% of contacts" in promoted(run)
    assert len(there()) == 1
    log = [(one.actor, one.action, (one.details or {}).get("approved_by")) for one in there(t.audit)]
    assert log == [("ewa", "approval_asked", None), ("jan", "approval_given", None), ("ewa", "promote", "jan")]
    assert there(t.audit)[1].details["asked_by"] == "ewa"


def test_a_small_one_does_not_and_opening_it_in_full_does(folder: Path, run: Run, be: Be) -> None:
    assert "takes the entries of 5%" in promoted(run, "--canary", "5%")
    assert "takes the entries of 50%" in promoted(run, "--canary", "50%")  # 500 are not more than 500
    said = run("release", "full", "care", status=1)
    assert [one.share_to for one in there() if one.until_at is None] == [0.5]
    release = re.findall(r"care/[0-9a-f]{12}", said)[0]
    be("jan")
    assert "up to 1,000" in run("release", "approve", release, "--yes")
    assert "takes all entries" in run("release", "full", "care")
    assert there(t.audit)[-1].details["approved_by"] == "jan"


def test_without_the_guard_one_person_would_promote_to_all(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(run, status=1)
    monkeypatch.setattr("journeylab.sender.promotion.promoting.asked_or_approved", lambda *_, **__: None)
    assert "100% of contacts" in promoted(run)


def test_nobody_approves_what_they_asked_for_under_any_name(folder: Path, run: Run, be: Be) -> None:
    release = asked(run)
    assert "ewa is behind this request of ewa" in run("release", "approve", release, "--yes", status=1)
    assert "No such option" in run("release", "approve", release, "--yes", "--actor", "jan", status=2)
    for who, why in (("ala", "ala may not promote"), ("it", "it may not promote"), ("eve", "eve may not promote")):
        be(who)
        assert why in run("release", "approve", release, "--yes", status=1)
    be("ewa")
    assert "say --yes" in run("release", "approve", release, status=2)
    assert "takes a second person" in promoted(run, status=1)
    assert not there()


def test_without_the_guard_they_would(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    release = asked(run)
    changed(people=[])
    run("release", "approve", release, "--yes")
    assert "100% of contacts" in promoted(run)


def test_whoever_is_named_as_the_actor_is_no_second_person(
    folder: Path, run: Run, be: Be, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="ewa may not act in another's name"):
        jl.promote("care.yaml", forecast="forecast.json", actor="jan")
    monkeypatch.setitem(ROLES, "operator", ROLES["operator"] | {"act_for_others"})  # type: ignore[index]
    done = jl.promote("care.yaml", forecast="forecast.json", actor="jan")
    assert (done.action, done.release_id, done.share) == ("ask", None, 1.0)
    release = re.findall(r"care/[0-9a-f]{12}", done.sentence)[0]
    for who in ("jan", "ewa"):
        be(who)
        assert f"{who} is behind this request of jan" in run("release", "approve", release, "--yes", status=1)


def test_neither_a_token_nor_who_made_it_is_the_second_person_of_its_job(
    folder: Path, run: Run, be: Be, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = run("tokens", "create", "ci", "--may", "promote", "--for", "9d").strip()
    be("runner")
    monkeypatch.setenv(VARIABLE, token)
    release = asked(run)
    assert there(t.approvals)[0].asked_by == "service:ci"
    assert "service:ci is a service" in run("release", "approve", release, "--yes", status=1)
    be("jan")
    assert "service:ci is a service" in run("release", "approve", release, "--yes", status=1)
    monkeypatch.delenv(VARIABLE)
    be("ewa")
    assert "ewa is behind this request of service:ci" in run("release", "approve", release, "--yes", status=1)
    be("jan")
    run("release", "approve", release, "--yes")
    be("runner")
    monkeypatch.setenv(VARIABLE, token)
    assert "100% of contacts" in promoted(run)


def test_other_content_is_asked_for_anew(folder: Path, run: Run, be: Be) -> None:
    release = asked(run)
    be("jan")
    run("release", "approve", release, "--yes")
    be("ewa")
    version(4)
    other = asked(run)
    assert other != release
    assert not there()
    be("jan")
    said = run("release", "approve", release, "--yes", status=1)
    assert f"{release} waits for nobody's approval" in said
    assert other in said


def test_without_the_hash_an_approval_would_hold_for_what_nobody_saw(
    folder: Path, run: Run, be: Be, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asked(run)
    be("jan")
    run("release", "approve", release, "--yes")
    be("ewa")
    version(4)
    asked(run)
    old = there(t.approvals)[0].object
    real = Wanted

    def unbound(kind: Any, _: str, *more: Any) -> Wanted:
        return real(kind, old, *more)

    monkeypatch.setattr("journeylab.sender.promotion.foureyes.Wanted", unbound)
    assert "100% of contacts" in promoted(run)


def test_an_approval_is_for_its_share_and_not_for_more(folder: Path, run: Run, be: Be) -> None:
    release = asked(run, "--canary", "60%")
    be("jan")
    assert "60% of contacts, up to 600" in run("release", "approve", release, "--yes")
    be("ewa")
    assert asked(run) == release
    assert "takes the entries of 60%" in promoted(run, "--canary", "60%")
    be("jan")
    assert "100% of contacts" in run("release", "approve", release, "--yes")


@pytest.mark.parametrize("before", ["approval", "promotion"])
def test_what_is_over_is_asked_for_anew(folder: Path, run: Run, be: Be, before: str) -> None:
    release = asked(run)
    be("jan")
    if before == "promotion":
        run("release", "approve", release, "--yes")
        assert f"{release} waits for nobody" in run("release", "approve", release, "--yes", status=1)
    changed(expires_at=START - timedelta(days=9999))
    assert f"{release} waits for nobody" in run("release", "approve", release, "--yes", status=1)
    be("ewa")
    asked(run)
    assert len(there(t.approvals)) == 2


def test_who_lost_the_role_neither_approves_nor_has_approved(folder: Path, run: Run, be: Be) -> None:
    release = asked(run)
    says(PEOPLE | {"jan": ["analyst"]})
    be("jan")
    assert "jan may not promote" in run("release", "approve", release, "--yes", status=1)
    says()
    run("release", "approve", release, "--yes")
    says({name: roles for name, roles in PEOPLE.items() if name != "jan"} | {"kim": ["operator"]})
    be("ewa")
    asked(run)
    assert not there()
    be("kim")
    run("release", "approve", release, "--yes")
    assert "100% of contacts" in promoted(run)  # kim herself: ewa has asked for it


def test_asking_does_not_make_a_release_that_was_rolled_back_good_again(folder: Path, run: Run, be: Be) -> None:
    promoted(run, "--canary", "5%")
    run("release", "rollback", "care", "--reason", "a typo")
    release = asked(run)
    be("jan")
    run("release", "approve", release, "--yes")
    assert "was rolled back" in promoted(run, status=1)
    assert "100% of contacts" in promoted(run, "--again")


def test_many_small_releases_take_a_second_person_as_a_large_one_does(folder: Path, run: Run, be: Be) -> None:
    promoted(run, "--canary", "30%")
    version(4)
    said = promoted(run, "--canary", "30%", status=1)
    assert "up to 300 of them, after 300 by what was promoted lately: that takes a second person" in said
    assert "takes the entries of 20%" in promoted(run, "--canary", "20%")
    release = asked(run, "--canary", "30%")
    be("jan")
    run("release", "approve", release, "--yes")
    promoted(run, "--canary", "30%")
    version(6)
    assert "after 500 by what" in promoted(run, "--canary", "1%", status=1)  # 300, and the 200 before its approval
    says(valid_for="1us")
    assert "takes the entries of 1%" in promoted(run, "--canary", "1%")


def test_without_looking_back_many_small_ones_would_reach_all(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(run, "--canary", "50%")
    version(4)
    promoted(run, "--canary", "50%", status=1)
    monkeypatch.setattr("journeylab.sender.promotion.foureyes._lately", lambda *_: 0)
    assert "takes the entries of 50%" in promoted(run, "--canary", "50%")


def test_contacts_in_the_store_count_where_the_forecast_says_less(folder: Path, run: Run) -> None:
    run("contacts", "import", "people.csv")
    says(promotions_over=1)
    Path("forecast.json").unlink()
    given = ("--without-forecast", "new", "--yes")
    said = run("promote", "care.yaml", *given, status=1)
    assert "up to 2 of them: that takes a second person" in said
    assert "50% of contacts" in run("promote", "care.yaml", *given, "--canary", "50%")


def test_doctor_names_what_has_grown_over_the_number_and_who_is_alone(folder: Path, run: Run) -> None:
    says(promotions_over=1000)
    promoted(run)
    assert "two are wanted to promote to more than 1,000" in run("doctor", "--settings", "sender.yaml", status=1)
    says(promotions_over=999)
    said = run("doctor", "--settings", "sender.yaml", status=1)
    assert "nobody approved: care" in said
    says({"ewa": ["operator"], "dpo": ["privacy_officer"]})
    said = run("doctor", "--settings", "sender.yaml", status=1)
    assert re.search(r"NO  four eyes: +nobody could approve: to promote to more than 500 contacts, to see", said)
    Path("sender.yaml").write_text(SETTINGS)
    said = run("doctor", "--settings", "sender.yaml", status=1)
    assert re.search(r"ok  four eyes: +nothing takes a second person", said)


def test_without_four_eyes_nothing_is_asked(folder: Path, run: Run) -> None:
    Path("sender.yaml").write_text(SETTINGS)
    assert "100% of contacts" in promoted(run)
    assert not there(t.approvals)


def test_four_eyes_without_roles_is_refused(folder: Path, run: Run) -> None:
    Path("sender.yaml").write_text(SETTINGS + "four_eyes: {reveals: true}\n")
    assert "`four_eyes` needs `access`" in promoted(run, status=1)
    with pytest.raises((DefinitionError, ValueError), match="promotions_over"):
        settings_of(access={"people": {}}, four_eyes={"promotions_over": -1})


# Persons


@pytest.fixture
def imported(folder: Path, run: Run, be: Be) -> Be:
    """The same sender with two contacts."""
    run("contacts", "import", "people.csv")
    return be


SHOW = ("contacts", "show", "ada", "--reveal")


def test_seeing_a_person_takes_another_privacy_officer_once(imported: Be, run: Run) -> None:
    imported("dpo")
    assert "say it with --purpose" in run(*SHOW, status=1)
    said = run(*SHOW, "--purpose", "ticket 4711", status=1)
    assert "ada@mail.example" not in said
    assert "`journeylab contacts approve 1`" in said
    assert "contacts approve 1`" in run(*SHOW, status=1)
    assert "dpo is behind this request" in run("contacts", "approve", "1", status=1)
    assert re.search(r"1 +reveal +ada +dpo +20.* ticket 4711", run("contacts", "requests"))
    imported("ewa")
    assert "ewa may not see the personal data" in run("contacts", "approve", "1", status=1)
    imported("rodo")
    assert json.loads(run("contacts", "requests", "--json"))["requests"][0]["contact"] == "ada"
    assert "dpo may see what is known of ada for 'ticket 4711', once" in run("contacts", "approve", "1")
    assert "was approved by rodo already" in run("contacts", "approve", "1", status=1)
    assert run("contacts", "requests") == "nothing waits\n"
    assert "ada@mail.example" not in run(*SHOW, "--purpose", "curious", status=1)  # it is dpo's
    imported("dpo")
    assert "zoe@mail.example" not in run("contacts", "show", "zoe", "--reveal", "--purpose", "ticket 4711", status=1)
    assert "contacts approve" in run(*SHOW, "--purpose", "something else", status=1)
    assert "contacts approve" in run("contacts", "copy", "ada", "--purpose", "ticket 4711", "--out", "x", status=1)
    assert not Path("x").exists()
    assert "ada@mail.example" in run(*SHOW, "--purpose", "ticket 4711")
    assert "ada@mail.example" not in run(*SHOW, "--purpose", "ticket 4711", status=1)
    log = [(one.actor, one.action, one.contact) for one in there(t.audit) if one.contact == "ada"]
    assert log[:3] == [
        ("dpo", "approval_asked", "ada"), ("rodo", "approval_given", "ada"), ("rodo", "approval_asked", "ada"),
    ]  # fmt: skip
    assert ("dpo", "contact_revealed", "ada") in log
    (shown,) = [one for one in there(t.audit) if one.action == "contact_revealed"]
    assert shown.details == {"purpose": "ticket 4711", "approval": 1, "approved_by": "rodo"}


def test_copying_takes_one_too_and_what_is_not_revealed_takes_none(imported: Be, run: Run) -> None:
    imported("dpo")
    run("contacts", "copy", "ada", "--purpose", "Art. 15", "--out", "x.json", status=1)
    imported("rodo")
    assert "dpo may copy what is known of ada" in run("contacts", "approve", "1")
    imported("dpo")
    run("contacts", "copy", "ada", "--out", "x.json")
    assert "ada@mail.example" in Path("x.json").read_text()
    assert "address: known" in run("contacts", "show", "ada")
    assert "goes with --reveal" in run("contacts", "show", "ada", "--purpose", "x", status=2)
    assert "no contact 'eve'" in run("contacts", "show", "eve", "--reveal", "--purpose", "x", status=1)
    assert len(there(t.approvals)) == 1


def test_who_may_not_look_at_one_alone_does_not_export_all(imported: Be, run: Run) -> None:
    imported("dpo")
    files = ("--events", "e.parquet", "--contacts", "c.parquet")
    assert "say it with --purpose" in run("contacts", "export", *files, status=1)
    run("contacts", "export", *files, "--purpose", "spring", status=1)
    assert not Path("e.parquet").exists()
    imported("rodo")
    assert "1" in run("contacts", "requests")
    assert "dpo may export the log of all contacts for 'spring'" in run("contacts", "approve", "1")
    run("contacts", "export", *files, "--purpose", "spring", status=1)  # it is dpo's
    imported("dpo")
    run("contacts", "export", *files)
    assert Path("e.parquet").exists()
    run("contacts", "export", *files, "--purpose", "spring", status=1)
    (done,) = [one.details for one in there(t.audit) if one.action == "log_exported"]
    assert done == {"purpose": "spring", "approval": 1, "approved_by": "rodo", "n_contacts": 2, "n_events": 2}


def test_without_the_guard_one_officer_would_see_everybody(
    imported: Be, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported("dpo")
    run(*SHOW, "--purpose", "curious", status=1)
    monkeypatch.setattr(Approval, "holds", lambda *_: True)
    assert "ada@mail.example" in run(*SHOW, "--purpose", "curious")


def test_requests_to_promote_are_not_approved_as_requests_to_see(imported: Be, run: Run) -> None:
    imported("ewa")
    asked(run)
    says(PEOPLE | {"jan": ["operator", "privacy_officer"]})
    imported("jan")
    assert "`journeylab release approve` is for that" in run("contacts", "approve", "1", status=1)
    assert "there is no request 7" in run("contacts", "approve", "7", status=1)


def test_erasing_a_person_takes_the_requests_along(imported: Be, run: Run) -> None:
    imported("dpo")
    run(*SHOW, "--purpose", "ticket 4711", status=1)
    run("contacts", "erase", "ada", "--reason", "asked for", "--yes")
    assert not there(t.approvals)
    assert "4711" not in repr(there(t.audit))


DPO = Acting("dpo", frozenset({"reveal", "copy_person"}), frozenset({"dpo"}))
RODO = Acting("rodo", frozenset({"reveal", "copy_person"}), frozenset({"rodo"}))


def four(**more: Any) -> Settings:
    return settings_of(access={"people": PEOPLE}, four_eyes=FOUR | more)


def test_an_approval_to_see_is_used_up_and_ends_by_itself(store: Store) -> None:
    clock = store.clock
    assert isinstance(clock, MovedClock)
    wanted = Wanted("reveal", "contact", "ticket", contact="ada")

    def ask() -> Approval:
        with store.writing() as connection:
            return approved_or_asked(connection, four(valid_for="1h"), DPO, wanted, store.now(connection), actor="dpo")

    def given(number: int) -> None:
        with store.writing() as connection:
            approve(connection, four(valid_for="1h"), RODO, number, store.now(connection))

    first = ask()
    given(first.approval_id)
    clock.move(minutes=59)
    assert ask().holds(four())
    assert not ask().holds(four()), "once"
    given(2)
    clock.move(minutes=61)
    assert ask().approval_id == 3
    clock.move(minutes=61)
    with pytest.raises(DataError, match="request 3 was good until"):
        given(3)
    with store.writing() as connection, pytest.raises(DataError, match="no `four_eyes`"):
        approve(connection, settings_of(), RODO, 3, store.now(connection))


def test_of_several_at_once_one_sees(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    wanted = Wanted("reveal", "contact", "ticket", contact="ada")

    def ask(_: int = 0) -> bool:
        with store.writing() as connection:
            found = approved_or_asked(connection, four(), DPO, wanted, store.now(connection), actor="dpo")
            return found.holds(four())

    ask()
    with store.writing() as connection:
        approve(connection, four(), RODO, 1, store.now(connection))
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(ask, range(4))) == 1


def test_in_python_it_is_the_account_that_asks(store: Store, be: Be) -> None:
    people(store, "ada")
    be("ala")
    with pytest.raises(DataError, match="ala may not see the personal data"):
        revealed(store, four(), "ada", purpose="x")
    be("dpo")
    with pytest.raises(DataError, match="dpo may not act in another's name"):
        revealed(store, four(), "ada", purpose="x", actor="rodo")
    found = revealed(store, four(), "ada", purpose="x")
    assert isinstance(found, Approval)
    assert found.asked_by == "dpo"
    assert isinstance(revealed(store, settings_of(), "ada"), dict)
    with store.reading() as connection:
        assert [*connection.scalars(select(t.audit.c.action))] == ["approval_asked", "contact_revealed"]

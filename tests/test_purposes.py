"""A journey reads what its purpose declares, or the build fails; and the record says what each journey processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from journeylab.journey import Journey, Policy
from journeylab.sender.mail.messages import Messages
from journeylab.sender.process import Sender
from journeylab.sender.promotion.frozen import Frozen
from journeylab.sender.promotion.promoting import prepare
from journeylab.sender.promotion.purposes import undeclared_by_releases
from journeylab.sender.sending.alerts import open_alerts
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from promotable import SETTINGS

Run = Callable[..., str]
JOURNEY = """\
journey: hello
trigger: {event: signup, where: plan == "trial"}
quiet_hours: {from: "21:00", to: "08:00"}
nodes:
  greet: {send: welcome, next: ask}
  ask:
    decide:
      - if: sum("purchase.amount") > 100 and country == "PL"
        go: care
    else: done
  care: {run: care, next: done}
  done: {exit: finished}
"""
CARE = """\
journey: care
trigger: {event: never}
nodes:
  ask:
    decide:
      - if: segment("young") > 0.5
        go: done
    else: done
  done: {exit: finished}
segments:
  young: age < 30
"""
MESSAGE = """\
message: welcome
subject: Hello
attributes: [first_name]
entry: [shop]
recommend: 2
example: {first_name: Ala, entry.shop: here}
"""
HTML = """\
<!doctype html><html lang="en"><head><title>{{ subject }}</title></head><body><p>{{ first_name }} {{ entry.shop }}</p>
{% for one in recommend(2) %}<p>{{ one }}</p>{% endfor %}
<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>
"""
EXPERIMENT = """\
experiment: ask_or_not
journey: hello.yaml
split: holdout
control: holdout
primary: {revenue: order.total, where: channel == "web"}
features: [age, plan]
segments: [shoe_size]
stopping: {planned_n: 100, rule: fixed}
window: 7d
"""
ALL = """\
purposes:
  marketing:
    title: {en: News and offers}
    attributes: [country, age, first_name]
    properties: {signup: [plan, shop], purchase: [amount, product]}
"""


def declared(text: str) -> None:
    Path("sender.yaml").write_text(SETTINGS + text)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("messages").mkdir()
    for name, text in (("hello", JOURNEY), ("care", CARE), ("messages/welcome", MESSAGE)):
        Path(f"{name}.yaml").write_text(text)
    Path("messages/welcome.html").write_text(HTML)
    declared(ALL)
    return tmp_path


def checked(run: Run, *files: str, status: int = 0) -> dict[str, object]:
    said = run("check", *(files or ("hello.yaml",)), "--settings", "sender.yaml", "--json", status=status)
    found: dict[str, object] = json.JSONDecoder().raw_decode(said)[0]
    return found


def faults(run: Run, *files: str) -> list[str]:
    said = run("check", *(files or ("hello.yaml",)), "--settings", "sender.yaml", status=1)
    return [line for line in said.splitlines() if "the purpose" in line]


def promoting() -> tuple[list[str], list[str]]:
    found = prepare("hello.yaml", settings="sender.yaml", without_forecast="new").findings
    return tuple(
        [f"{one.place}: {one.message}" for one in of if one.check == "purposes"]
        for of in (found.errors, found.warnings)
    )  # type: ignore[return-value]


def test_a_journey_that_reads_what_is_declared_is_sound(run: Run) -> None:
    found = checked(run)
    assert (found["sound"], found["unused"]) == (True, [])
    assert promoting() == ([], [])


def test_the_record_names_purpose_basis_and_all_that_is_read(run: Run) -> None:
    (one,) = checked(run)["processing"]  # type: ignore[misc]
    assert one == {
        "journey": "hello",
        "version": Journey.read("hello.yaml").version,
        "purpose": "marketing",
        "title": "News and offers",
        "basis": "consent",
        "attributes": ["age", "country", "first_name", "timezone"],
        "properties": {"purchase": ["amount", "product"], "signup": ["plan", "shop"]},
    }
    said = run("check", "hello.yaml", "--settings", "sender.yaml")
    assert "hello    marketing  consent  age, country, first_name, timezone" in said
    declared("basis: {marketing: legitimate_interest}\n")
    (one,) = checked(run)["processing"]  # type: ignore[misc]
    assert (one["basis"], one["title"]) == ("legitimate_interest", "")
    assert (one["attributes"][-2:], one["properties"]["signup"]) == (["plan", "timezone"], ["plan", "shop"])


NONE = """\
purposes:
  marketing: {title: {en: News}, attributes: [county], properties: {signup: [plans], purchase: [product]}}
  service: {title: {en: Service}, attributes: [age], properties: {purchase: [amount]}}
"""


def test_all_that_is_not_declared_is_told_with_its_place_and_who_declares_it(run: Run) -> None:
    declared(NONE)
    said = faults(run)
    assert [one.partition(": the purpose")[0].replace(str(Path.cwd()), "") for one in said] == [
        "hello.yaml:2:33: trigger.where",
        "hello.yaml:8:13: nodes.ask.decide.0.if",
        "hello.yaml:8:13: nodes.ask.decide.0.if",
        "care.yaml:11:10: segments.young",
        "/messages/welcome.yaml:3:14: attributes.0",
        "/messages/welcome.yaml:4:9: entry.0",
    ]
    assert said[0].endswith(
        "the purpose 'marketing' may not use the property 'plan' of 'signup' (nor the attribute of that name), and no "
        "purpose may; did you mean 'plans'? Known properties of signup for marketing: plans."
    )
    assert "may not use the property 'amount' of 'purchase', and service may" in said[1]
    assert "the attribute 'country', and no purpose may; did you mean 'county'?" in said[2]
    assert "the attribute 'age', and service may" in said[3]
    assert checked(run, status=1)["sound"] is False
    found, _ = promoting()
    assert [one.partition(": ")[2].partition(": ")[2] for one in found] == [
        one.partition(": ")[2].partition(": ")[2] for one in said
    ]


def test_without_declarations_nothing_is_refused(run: Run) -> None:
    declared("purposes: {marketing: {title: {en: News}}}\n")
    assert checked(run)["sound"] is True
    assert promoting() == ([], [])


def test_a_purpose_that_declares_nothing_while_others_do_is_at_fault(run: Run) -> None:
    declared("purposes: {service: {title: {en: S}, attributes: [age]}, marketing: {title: {en: News}}}\n")
    (one,) = faults(run)
    assert one.startswith("hello.yaml:1:1: purpose: the purpose 'marketing' declares nothing, and others do")
    assert "Read is: age, country, first_name, purchase.amount, purchase.product, signup.plan" in one
    assert len(promoting()[0]) == 1


def test_what_a_journey_sets_itself_it_may_not_read_undeclared(run: Run) -> None:
    """To set an attribute somewhere would else be a way to read whatever is known of the contact under its name."""
    own = JOURNEY.replace("{run: care, next: done}", "{set: {income: 1}, next: done}")
    Path("hello.yaml").write_text(own.replace('country == "PL"', "income == 1"))
    assert ["income" in one for one in faults(run)] == [True]


def test_what_nothing_reads_is_told_as_something_to_take_out(run: Run) -> None:
    declared(ALL.replace("[country,", "[country, salary,").replace("{signup", "{visit: [page], signup"))
    assert checked(run)["unused"] == [
        {
            "place": "sender.yaml: purposes.marketing.attributes",
            "message": "attribute 'salary': nothing for marketing reads it; take it out",
        },
        {
            "place": "sender.yaml: purposes.marketing.properties.visit",
            "message": "property 'page' of 'visit': nothing for marketing reads it; take it out",
        },
    ]
    _, warnings = promoting()
    assert [one.partition(";")[0] for one in warnings] == [
        "purposes.marketing.attributes: attribute 'salary': nothing for marketing reads it",
        "purposes.marketing.properties.visit: property 'page' of 'visit': nothing for marketing reads it",
    ]


def test_an_experiment_reads_for_the_purpose_of_its_journey(run: Run) -> None:
    Path("hello.yaml").write_text(JOURNEY.replace("quiet_hours", "holdout: 10%\nquiet_hours"))
    Path("ask.yaml").write_text(EXPERIMENT)
    assert [one.partition(": the purpose")[0] for one in faults(run, "hello.yaml", "ask.yaml")] == [
        "ask.yaml:5:10: primary",
        "ask.yaml:5:40: primary.where",
        "ask.yaml:7:12: segments.0",
        "ask.yaml:6:17: features.1",
    ]


def test_a_message_that_is_missing_is_told(run: Run) -> None:
    Path("hello.yaml").write_text(JOURNEY.replace("welcome", "welcom"))
    said = run("check", "hello.yaml", "--settings", "sender.yaml", status=1)
    assert "hello.yaml:5:17: nodes.greet.send: there is no message 'welcom'; did you mean 'welcome'?" in said


def test_what_is_declared_twice_is_refused(run: Run) -> None:
    declared("purposes: {marketing: {title: {en: News}, attributes: [age, age]}}\n")
    assert "attributes has 'age' twice" in run("check", "hello.yaml", "--settings", "sender.yaml", status=1)


def test_settings_that_declare_less_than_a_release_reads_are_told_where_it_runs(folder: Path, store: Store) -> None:
    read = Settings.read("sender.yaml")
    messages = Messages.read(read.path(read.messages))
    with store.writing() as connection:
        release = Frozen(Journey.read("hello.yaml"), Policy(), messages).row()
        release |= {"created_at": store.now(connection), "created_by": "a test"}
        (key,) = connection.execute(insert(t.releases), release).inserted_primary_key
        span = {"release_id": key, "from_at": store.now(connection), "share_from": 0.0, "share_to": 1.0}
        connection.execute(insert(t.spans), span | {"share_salt": ""})
    version = Journey.read("hello.yaml").version
    for said, found in (
        (ALL, []),
        (ALL.replace("country, ", "").replace("amount, ", ""), [f"hello {version}: country, purchase.amount"]),
        ("purposes: {marketing: {title: {en: News}}}\n", []),
    ):
        declared(said)
        own = Settings.read("sender.yaml").model_copy(update={"dkim": None})
        with store.reading() as connection:
            assert undeclared_by_releases(connection, own) == found
        with Sender(store, own, "worker") as sender:
            sender.run_once()
        with store.reading() as connection:
            texts = [one.text for one in open_alerts(connection) if one.cause == "purposes/undeclared"]
        assert [text.partition("not kept: ")[2] for text in texts] == found

"""The sender's settings: every fault of the file at once and where it stands, and no secret in any message."""

import json
from datetime import timedelta

import pytest

from journeylab.errors import DataError, DefinitionError
from journeylab.sender.settings import Settings, secret

LEAST = """\
sender: shop
domain: shop.example
from: {name: Our Shop, address: hello@shop.example}
list_id: news.shop.example
bounces: bounces.shop.example
public_url: https://mail.shop.example
relays:
  - {host: smtp.example}
"""
FULL = """\
sender: shop
store: postgresql+psycopg://sender@db.example/journeylab
state: kept
domain: Shop.example.
from: {name: Our Shop, address: hello@shop.example}
reply_to: help@shop.example
list_id: news.shop.example
bounces: bounces.shop.example
unsubscribe: leave@shop.example
public_url: https://mail.shop.example/m/
postal_address: |
  Our Shop
  ul. Prosta 1, 00-001 Warszawa
language: pl
dkim: {domain: shop.example, selector: s1, key: dkim.pem}
relays:
  - {name: main, host: smtp.example, port: 587, user: shop, password: env:RELAY_PASSWORD, tls_minimum: 1.3}
  - {name: spare, host: 127.0.0.1, tls: none, idempotency_header: X-Idempotency-Key, idempotency_for: 1h}
webhook_secret: file:webhook.txt
calls:
  loyalty: {url: https://loyalty.example/points, secret: env:LOYALTY}
crm: {url: https://crm.example/hooks, secret: env:CRM}
alerts: {url: http://127.0.0.1:9000/alerts}
tracking: {clicks: true}
staging: {domains: [staging.example, żółw.example]}
attempts: 3
lease: 90s
"""


def read(tmp_path, text, name="sender.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return Settings.read(path)


def faults(tmp_path, text):
    with pytest.raises(DefinitionError) as caught:
        read(tmp_path, text)
    return [(fault.line, ".".join(map(str, fault.path)), fault.message) for fault in caught.value.faults]


def test_least_settings_have_safe_defaults(tmp_path):
    settings = read(tmp_path, LEAST)
    [relay] = settings.relays
    assert (relay.tls, relay.tls_minimum, relay.port, relay.connections) == ("starttls", "1.3", 25, 1)
    assert (settings.tracking.opens, settings.tracking.clicks, settings.is_staging) == (False, False, False)
    assert settings.store == "sqlite:///journeylab.db"
    assert settings.path("dkim.pem") == tmp_path.resolve() / "dkim.pem"
    assert settings.may_reach("anyone@anywhere.example")


def test_full_settings_are_read_and_names_are_brought_to_one_form(tmp_path):
    settings = read(tmp_path, FULL)
    assert (settings.domain, settings.public_url) == ("shop.example", "https://mail.shop.example/m")
    assert [relay.name for relay in settings.relays] == ["main", "spare"]
    assert settings.relays[0].tls_minimum == "1.3"
    assert settings.relays[1].idempotency_for == timedelta(hours=1)
    assert settings.calls["loyalty"].url == "https://loyalty.example/points"
    assert settings.lease == timedelta(seconds=90)
    assert settings.staging.domains == ("staging.example", "xn--w-uga1v8h.example")


def test_json_says_the_same_as_yaml(tmp_path):
    data = {
        "sender": "shop", "domain": "shop.example", "from": {"name": "Our Shop", "address": "hello@shop.example"},
        "list_id": "news.shop.example", "bounces": "bounces.shop.example",
        "public_url": "https://mail.shop.example", "relays": [{"host": "smtp.example"}],
    }  # fmt: skip
    assert read(tmp_path, json.dumps(data), "sender.json") == read(tmp_path, LEAST)


def test_every_fault_is_told_at_once_with_its_line(tmp_path):
    text = """\
sender: shop
domain: shop example
from: {nam: Our Shop, address: hello}
list_id: news.shop.example
bounces: bounces.shop.example
public_url: http://mail.shop.example
bounce: x.example
calls:
  loyalty: {ulr: https://loyalty.example, secret: env:LOYALTY}
relays:
  - {host: smtp.example, port: 70000}
  - {name: spare, host: smtp.example, conections: 2}
  - {name: plain, host: smtp.example, tls: none}
"""
    found = faults(tmp_path, text)
    assert sorted((line, place) for line, place, _ in found) == [
        (2, "domain"), (3, "from.address"), (3, "from.nam"), (6, "public_url"), (7, "bounce"),
        (9, "calls.loyalty.ulr"), (9, "calls.loyalty.url"), (11, "relays.0.port"),
        (12, "relays.1.conections"), (13, "relays.2"),
    ]  # fmt: skip
    said = {place: message for _, place, message in found}
    assert "did you mean 'name'?" in said["from.nam"]
    assert "did you mean 'bounces'?" in said["bounce"]
    assert "did you mean 'connections'?" in said["relays.1.conections"]
    assert "did you mean 'url'?" in said["calls.loyalty.ulr"]
    assert "must begin with https://" in said["public_url"]
    assert "in the clear" in said["relays.2"]
    assert said["relays.0.port"] == "port must be at most 65535, got 70000"


def test_what_is_missing_is_named(tmp_path):
    assert [message for *_, message in faults(tmp_path, "sender: shop\n")] == [
        f"the settings needs `{key}`" for key in ("domain", "from", "list_id", "bounces", "public_url", "relays")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no settings"),
        ("journey: hello\n", "no settings here; they begin with `sender: NAME`"),
        (LEAST + "---\n" + LEAST, "the settings of one sender"),
        (LEAST + "domain: other.example\n", "twice"),
        ("sender: [", "no YAML"),
    ],
)
def test_files_that_are_no_settings_are_refused(tmp_path, text, message):
    assert message in faults(tmp_path, text)[0][2]


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DefinitionError, match="no such file"):
        Settings.read(tmp_path / "sender.yaml")


@pytest.mark.parametrize("host", ["smtp.example", "10.0.0.1", "localhost.example", "127.0.0.1.example"])
def test_mail_in_the_clear_stays_on_this_machine(tmp_path, host):
    text = LEAST.replace("{host: smtp.example}", f"{{host: {host}, tls: none}}")
    assert f"mail goes to {host} in the clear" in faults(tmp_path, text)[0][2]


@pytest.mark.parametrize("host", ["127.0.0.1", '"::1"', "localhost"])
def test_relay_on_this_machine_may_be_plain(tmp_path, host):
    assert read(tmp_path, LEAST.replace("{host: smtp.example}", f"{{host: {host}, tls: none}}")).relays[0].tls == "none"


@pytest.mark.parametrize(
    ("relay", "message"),
    [
        ("{host: a.example, user: shop}", "`user` and `password` go together"),
        ("{host: a.example, password: env:P}", "`user` and `password` go together"),
        ("{host: a.example, tls_minimum: 1.1}", "tls_minimum is 1.2 or 1.3, not"),
        ("{host: a.example, tls: ssl}", "tls is starttls, implicit or none, not 'ssl'"),
        ('{host: a.example, idempotency_header: "A: b"}', "idempotency_header"),
        ("{host: a.example, connections: 0}", "connections"),
        ("{host: a.example}\n  - {host: b.example}", "relays need names of their own"),
    ],
)
def test_relays_that_cannot_be_meant_are_refused(tmp_path, relay, message):
    assert message in faults(tmp_path, LEAST.replace("{host: smtp.example}", relay))[0][2]


@pytest.mark.parametrize(
    "url",
    [
        "https://", "ftp://a.example", "mail.shop.example", "https://a.example/?x=1", "https://a.example?",
        "https://a.example#", "https://a.example:99999", r'"https://a.example\\b"', '"https://a.example/\\r\\nb"',
        '"https://a.example/ b"', "https://[::1", "http://localhost.example", "https://żółw.example", "javascript:x",
    ],
)  # fmt: skip
def test_addresses_that_are_no_web_servers_are_refused(tmp_path, url):
    [(line, place, message)] = faults(tmp_path, LEAST.replace("https://mail.shop.example", url))
    assert (line, place) == (6, "public_url")
    assert "web server" in message or "https://" in message


@pytest.mark.parametrize(
    "domain",
    ["shop", "-shop.example", "shop..example", '"shop.example\\0"', "a@shop.example", "[127.0.0.1]", "shop.example/x"],
)
def test_texts_that_are_no_domains_are_refused(tmp_path, domain):
    [(line, place, message)] = faults(tmp_path, LEAST.replace("domain: shop.example", f"domain: {domain}"))
    assert (line, place) == (2, "domain")
    assert "is no domain" in message


def test_domain_is_encoded_by_the_rules_in_force(tmp_path):
    assert read(tmp_path, LEAST.replace("domain: shop.", "domain: straße.")).domain == "xn--strae-oqa.example"


def test_name_of_who_writes_has_no_line_breaks(tmp_path):
    text = LEAST.replace("name: Our Shop", 'name: "Our Shop\\r\\nBcc: all@shop.example"')
    assert "no line breaks" in faults(tmp_path, text)[0][2]


HIDDEN = "hunter2-is-no-reference"


@pytest.mark.parametrize(
    "text",
    [
        LEAST.replace("{host: smtp.example}", f"{{host: smtp.example, user: shop, password: {HIDDEN}}}"),
        LEAST + f"webhook_secret: {HIDDEN}\n",
        LEAST + f"crm: {{url: https://crm.example, secret: {HIDDEN}}}\n",
        LEAST + f"alerts: {{url: https://alerts.example, secret: [{HIDDEN}]}}\n",
        LEAST + f"calls: {{loyalty: {{url: https://l.example, secret: {HIDDEN}}}}}\n",
        LEAST + f"store: postgresql+psycopg://sender:{HIDDEN}@db.example/journeylab\n",
        LEAST + f"store: postgresql://db.example/journeylab?password={HIDDEN}\n",
        LEAST.replace("https://mail", f"https://shop:{HIDDEN}@mail"),
        LEAST + f"crm: {{url: https://crm:{HIDDEN}@crm.example, secret: env:CRM}}\n",
    ],
)
def test_secret_in_the_settings_is_refused_and_not_shown(tmp_path, text):
    with pytest.raises(DefinitionError) as caught:
        read(tmp_path, text)
    assert HIDDEN not in f"{caught.value}{caught.value!r}"
    assert "PASSWORD" in str(caught.value).upper() or "env:NAME" in str(caught.value)


@pytest.mark.parametrize("store", ["mysql://db.example/x", "sqlite://", "journeylab.db"])
def test_stores_that_are_not_served_are_refused(tmp_path, store):
    assert "SQLite or PostgreSQL" in faults(tmp_path, LEAST + f"store: {store}\n")[0][2]


def test_secrets_are_read_from_where_they_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAY_PASSWORD", "from the environment")
    (tmp_path / "webhook.txt").write_text("from a file\n")
    settings = read(tmp_path, FULL)
    assert settings.secret(settings.relays[0].password) == "from the environment"
    assert settings.secret(settings.webhook_secret) == "from a file"
    assert "from " not in repr(settings).replace("from_", "")


def test_secrets_come_from_systemd_and_from_programs_that_ask_a_key_service(tmp_path, monkeypatch):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "relay").write_text("of systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    for name, text in {"asks": "echo from a service", "fails": f"echo {HIDDEN} >&2; exit 3"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o700)
    assert secret("credential:relay", tmp_path) == "of systemd"
    assert secret("command:asks", tmp_path) == "from a service"
    with pytest.raises(DataError, match="command:fails: the program ended with 3"):
        secret("command:fails", tmp_path)
    with pytest.raises(DataError, match="no credential's name"):
        secret("credential:../relay", tmp_path)


def test_secrets_that_are_not_there_are_named_and_never_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff" + HIDDEN.encode())
    for reference, message in {
        "env:NO_SUCH_SECRET": "set the environment variable NO_SUCH_SECRET",
        "file:missing": "cannot be read: No such file",
        "file:empty": "is empty",
        "file:binary": "no UTF-8",
        "env:": "written env:NAME, file:PATH",
        HIDDEN: "written env:NAME, file:PATH",
        "credential:relay": "only a service that systemd starts has credentials",
        "command:missing": "the program cannot be run: No such file",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            secret(reference, tmp_path)
        assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "is_reached"),
    [
        ("anna@staging.example", True),
        ("anna@STAGING.example", True),
        ("anna@shop.example", False),
        ("anna@sub.staging.example", False),
        ("anna@notstaging.example", False),
        ("anna@shop.example, jan@staging.example", False),
        ('"a@shop.example"@staging.example', False),
        ("anna@staging.example, jan@shop.example", False),
        ("staging.example", False),
        ("", False),
    ],
)
def test_staging_reaches_its_domains_alone(tmp_path, address, is_reached):
    settings = read(tmp_path, FULL)
    assert settings.is_staging
    assert settings.may_reach(address) is is_reached

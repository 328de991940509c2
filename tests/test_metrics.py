"""Metrics: as Prometheus reads them, the same as the store, and without anybody in them."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select, text
from starlette.applications import Starlette

from busystore import CANARIES, fill
from journeylab.errors import DataError
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.web.app import application
from journeylab.sender.web.limits import Buckets
from journeylab.sender.web.metrics import Measured, Measures, metrics_routes
from webclient import Client, settings_for

SECRET = "a-secret-that-is-long-enough"
BEARER = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHBOARD_SECRET", SECRET)


def app_of(store: Store, folder: Path, **more: Any) -> Starlette:
    settings = settings_for(folder, **{"dashboard": "env:DASHBOARD_SECRET"} | more)
    app = application(store, settings, clock=lambda: 0.0)
    seconds = itertools.count()
    measures = Measures(store, settings, lambda: next(seconds) / 100)
    if not any(getattr(route, "path", "") == "/metrics" for route in app.routes):
        app.router.routes.extend(metrics_routes(measures, settings))
        app.add_middleware(Measured, measures=measures)
    return app


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_of(text_: str) -> Samples:
    return {
        (sample.name.removeprefix("journeylab_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text_)
        for sample in family.samples
    }


def scraped(client: Client) -> Samples:
    answer = client("GET", "/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return samples_of(answer.text)


def one(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Client:
    return Client(app_of(store, tmp_path, relays=[{"name": "main", "host": "127.0.0.1", "tls": "none"}]))


def test_they_say_what_is_in_the_store(store: Store, client: Client) -> None:
    fill(store)
    found = scraped(client)
    with store.reading() as connection:
        rows = connection.execute(select(t.sends.c.state, func.count()).group_by(t.sends.c.state))
        for state, n in rows:
            assert one(found, "sends", journey="welcome", state=state) == n
    assert one(found, "sends", journey="welcome", state="expired") == 0
    assert one(found, "store_up") == 1
    assert one(found, "send_latency_seconds", journey="welcome", quantile="0.5") == 3
    assert one(found, "queue_age_seconds") == pytest.approx(60 * (23 * 53 + 1), abs=0.1)
    assert [one(found, "relay_state", relay="main", state=state) for state in ("closed", "half_open", "open")] == [
        0,
        0,
        1,
    ]
    assert one(found, "outbox", target="crm", state="waiting") == 1
    assert one(found, "outbox_age_seconds", target="crm") == pytest.approx(3 * 3600, abs=0.1)
    assert one(found, "calls", service="scoring", state="failed") == 1
    assert one(found, "alerts", severity="critical") == 1
    assert one(found, "alerts", severity="info") == 0
    assert one(found, "forecast_outside", journey="welcome", version="v1") == 1
    assert one(found, "release_share", journey="winback", version="v7") == 0.05
    assert (one(found, "paused", journey="winback"), one(found, "paused", journey="welcome")) == (1, 0)
    assert one(found, "worker_seen_seconds", worker="host-1") < 1


def test_machines_are_told_apart_from_people(store: Store, client: Client) -> None:
    fill(store)
    found = scraped(client)
    assert one(found, "open_rate", journey="welcome", by="people") == 20 / 40
    assert one(found, "open_rate", journey="welcome", by="machines") == 10 / 40
    assert one(found, "click_rate", journey="welcome", by="people") == 24 / 40
    assert one(found, "click_rate", journey="welcome", by="machines") == 6 / 40


def test_nobody_is_in_them(store: Store, client: Client) -> None:
    fill(store)
    text_ = client("GET", "/metrics", headers=BEARER).text
    assert "@" not in text_
    for contact in CANARIES:
        assert contact not in text_


def test_answers_are_counted_by_route_and_no_token_is_kept(store: Store, client: Client) -> None:
    client("GET", "/u/some-token")
    assert client("GET", "/nothing/here").status_code == 404
    assert client("GET", "/health").status_code == 200
    assert client("BREW", "/health").status_code == 405
    found = scraped(client)
    assert one(found, "http_request_seconds_count", route="/u/{rest:path}", method="GET", status="200") == 1
    assert one(found, "http_request_seconds_count", route="other", method="GET", status="404") == 1
    assert one(found, "http_request_seconds_count", route="/health", method="GET", status="200") == 1
    assert one(found, "http_request_seconds_sum", route="/health", method="GET", status="200") == pytest.approx(0.01)
    assert one(found, "http_request_seconds_count", route="/health", method="other", status="405") == 1
    assert one(found, "http_handled_share") == 1
    assert "some-token" not in client("GET", "/metrics", headers=BEARER).text


def test_without_the_store_the_rest_is_said(store: Store, client: Client) -> None:
    with store.writing() as connection:
        connection.execute(text("alter table relays rename to gone"))
    try:
        found = scraped(client)
    finally:
        with store.writing() as connection:
            connection.execute(text("alter table gone rename to relays"))
    assert one(found, "store_up") == 0
    assert not [name for name, _ in found if name == "sends"]
    assert "http_handled_share" in {name for name, _ in found}


def test_an_empty_store_has_metrics_as_well(client: Client) -> None:
    found = scraped(client)
    assert one(found, "store_up") == 1
    assert one(found, "queue_age_seconds") == 0
    assert one(found, "relay_state", relay="main", state="closed") == 1


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


def test_only_who_has_the_secret_sees_them(client: Client) -> None:
    for headers in (BEARER, basic(SECRET)):
        assert client("GET", "/metrics", headers=headers).status_code == 200
    wrong = ({}, {"authorization": "Bearer x"}, basic("ż"), {"authorization": "Basic %"}, {"authorization": SECRET})
    for headers in wrong:
        answer = client("GET", "/metrics", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert "journeylab_" not in answer.text


def test_who_guesses_waits_and_is_not_told_when_it_is_right(client: Client) -> None:
    statuses = [client("GET", "/metrics", headers=basic(f"guess {n}")).status_code for n in range(40)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert client("GET", "/metrics", headers=BEARER).status_code == 429
    assert Client(client.app, ip="203.0.113.9")("GET", "/metrics", headers=BEARER).status_code == 200


def test_with_the_limit_off_guessing_goes_on_until_it_is_right(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buckets, "has", lambda *_: True)
    guesses = [f"guess {n}" for n in range(200)] + [SECRET]
    statuses = [client("GET", "/metrics", headers=basic(guess)).status_code for guess in guesses]
    assert statuses[-1] == 200


def test_without_a_secret_there_are_none(store: Store, tmp_path: Path) -> None:
    assert Client(app_of(store, tmp_path, dashboard=None))("GET", "/metrics").status_code == 404


def test_a_secret_that_can_be_guessed_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHBOARD_SECRET", "hunter2")
    with pytest.raises(DataError, match="env:DASHBOARD_SECRET can be guessed") as problem:
        app_of(store, tmp_path)
    assert "hunter2" not in str(problem.value)

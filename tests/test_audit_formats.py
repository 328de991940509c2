"""What a SIEM reads: golden records, one event one record whatever is in it, and a real rsyslog that takes them."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab.sender.audit.entries import sealed
from journeylab.sender.audit.formats import FORMATS, Event, Source, event_of, framed, record, visible

SOURCE = Source("shop", "shop.example", "1.0")
AT = datetime(2026, 3, 2, 9, 0, 0, 250000, tzinfo=UTC)
LEAF = "ab" * 32
EVENT = Event(17, LEAF, AT, "kim", "roll_back", "welcome/5f3a", '{"reason":"too many \\"opens\\" [all]|=","to":3}')

GOLDEN = {
    "rfc5424": (
        "<108>1 2026-03-02T09:00:00.250000Z shop.example journeylab - roll_back "
        f'[journeylab@32473 seq="17" leaf="{LEAF}" actor="kim" action="roll_back" object="welcome/5f3a" sender="shop" '
        'details="{\\"reason\\":\\"too many \\\\\\"opens\\\\\\" [all\\]|=\\",\\"to\\":3}"] kim: roll_back welcome/5f3a'
    ),
    "ecs": (
        '{"@timestamp":"2026-03-02T09:00:00.250000Z","ecs":{"version":"8.11.0"},"event":{"kind":"event",'
        '"category":["configuration"],"type":["change"],"action":"roll_back","sequence":17,'
        f'"id":"{LEAF}","module":"journeylab","dataset":"journeylab.audit","outcome":"success","severity":4}},'
        '"message":"kim: roll_back welcome/5f3a","user":{"name":"kim"},'
        '"service":{"type":"journeylab","name":"shop","version":"1.0"},"host":{"name":"shop.example"},'
        f'"journeylab":{{"object":"welcome/5f3a","leaf":"{LEAF}","sender":"shop",'
        '"details":"{\\"reason\\":\\"too many \\\\\\"opens\\\\\\" [all]|=\\",\\"to\\":3}"}}'
    ),
    "cef": (
        "CEF:0|JourneyLab|JourneyLab|1.0|roll_back|roll back|6|rt=1772442000250 externalId=17 suser=kim act=roll_back "
        f"dvchost=shop.example cs1Label=object cs1=welcome/5f3a cs2Label=leaf cs2={LEAF} cs3Label=sender cs3=shop "
        'msg={"reason":"too many \\\\"opens\\\\" [all]|\\=","to":3}'
    ),
    "ocsf": (
        '{"class_uid":3004,"category_uid":3,"activity_id":3,"type_uid":300403,"severity_id":3,"status_id":1,'
        '"time":1772442000250,"message":"kim: roll_back welcome/5f3a","actor":{"user":{"name":"kim"}},'
        '"entity":{"name":"welcome/5f3a","type":"roll_back"},"metadata":{"version":"1.1.0","sequence":17,'
        f'"uid":"{LEAF}","log_name":"audit","product":{{"name":"JourneyLab","vendor_name":"JourneyLab",'
        f'"version":"1.0"}}}},"unmapped":{{"host":"shop.example","leaf":"{LEAF}","sender":"shop",'
        '"details":"{\\"reason\\":\\"too many \\\\\\"opens\\\\\\" [all]|=\\",\\"to\\":3}"}}'
    ),
}


@pytest.mark.parametrize("form", FORMATS)
def test_records_are_as_they_were(form: str) -> None:
    assert record(EVENT, SOURCE, form) == GOLDEN[form]


def test_what_concerns_a_contact_stays_at_home() -> None:
    for contact, details in [("zofia", {"purpose": "canary"}), ("zofia", {})]:
        entry = sealed(1, AT, "kim", "contact_revealed", "contact", contact, details, bytes(32))
        for form in FORMATS:
            said = record(event_of(entry), SOURCE, form)
            assert "canary" not in said
            assert "zofia" not in said
            assert entry.leaf_hash.hex() in said
    reason = sealed(1, AT, "kim", "pause", "welcome", None, {"reason": "ada@mail.example asks"}, bytes(32))
    assert "(address) asks" in event_of(reason).details


# Parsers of the tests' own, after the formats' documents


def parse_rfc5424(line: str) -> dict[str, str]:
    fields = r' [a-z]+="(?:[^"\\\]]|\\["\\\]])*"'
    header = r"<(\d{1,3})>1 (\S+) ([!-~]{1,255}) journeylab - ([!-~]{1,32}) "
    match = re.fullmatch(header + r"\[journeylab@32473((?:" + fields + r")*)\] (.*)", line)
    assert match, line
    found = re.findall(r' ([a-z]+)="((?:[^"\\\]]|\\["\\\]])*)"', match[5])
    return {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in found}


def parse_cef(line: str) -> dict[str, str]:
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", line, maxsplit=7)
    assert len(parts) == 8, line
    assert parts[0] == "CEF:0"
    # A name begins after a blank and ends with an equals sign that is not escaped.
    found = [*re.finditer(r"(?:^| )([A-Za-z0-9]+)=", parts[7])]
    ends = [*(one.start() for one in found[1:]), len(parts[7])]
    values = {one[1]: parts[7][one.end() : end] for one, end in zip(found, ends, strict=True)}
    assert all(re.fullmatch(r"(?:[^=\\]|\\=|\\\\)*", value) for value in values.values()), line
    return {name: re.sub(r"\\([=\\])", r"\1", value) for name, value in values.items()}


def parse_ecs(line: str) -> dict[str, str]:
    data = json.loads(line)
    return {"seq": str(data["event"]["sequence"]), "leaf": data["journeylab"]["leaf"], "actor": data["user"]["name"],
            "object": data["journeylab"]["object"], "details": data["journeylab"].get("details", "")}  # fmt: skip


def parse_ocsf(line: str) -> dict[str, str]:
    data = json.loads(line)
    return {"seq": str(data["metadata"]["sequence"]), "leaf": data["unmapped"]["leaf"],
            "actor": data["actor"]["user"]["name"], "object": data["entity"]["name"],
            "details": data["unmapped"].get("details", "")}  # fmt: skip


PARSERS: dict[str, Any] = {"rfc5424": parse_rfc5424, "ecs": parse_ecs, "cef": parse_cef, "ocsf": parse_ocsf}
CEF_NAMES = {"seq": "externalId", "leaf": "cs2", "actor": "suser", "object": "cs1", "details": "msg"}
NASTY = st.text(
    st.sampled_from("\n\r\t\x00\x1b\x7f\x85\u2028\u2029\ufeff|=]\"\\[<>{} a%-'é漢😀") | st.characters(codec="utf-8"),
    max_size=30,
) | st.sampled_from(
    ["\n<108>1 - - - - - - forged", '"] forged', "x\nCEF:0|forged", "a act=forged", '"}\n{"forged":1', "\\"]
)


@given(NASTY, NASTY, NASTY, NASTY, NASTY)
def test_whatever_is_in_an_event_it_is_one_record(actor: str, action: str, what: str, details: str, host: str) -> None:
    event = Event(17, LEAF, AT, actor, action, what, details)
    source = dataclasses.replace(SOURCE, host=host, sender=actor)
    for form in FORMATS:
        line = record(event, source, form)
        assert len(line.splitlines()) == 1
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", line)
        assert "\ufeff" not in line.removeprefix("\ufeff").replace(" \ufeff", " ", 1)
        got = PARSERS[form](line)
        if form == "cef":
            got = {name: got.get(key, "") for name, key in CEF_NAMES.items()}
        expected = {
            "seq": "17",
            "leaf": LEAF,
            "actor": visible(actor),
            "object": visible(what),
            "details": visible(details),
        }
        if form == "ocsf":
            expected["object"] = expected["object"] or "sender"
        assert {name: got.get(name, "") for name in expected} == expected


@given(st.lists(st.tuples(NASTY, NASTY), max_size=5), st.sampled_from(FORMATS))
def test_a_stream_is_cut_where_it_was_put_together(said: list[tuple[str, str]], form: str) -> None:
    events = [Event(n, LEAF, AT, actor, "pause", "welcome", details) for n, (actor, details) in enumerate(said)]
    stream = b"".join(framed(one, SOURCE, form) for one in events)
    found = []
    while stream:
        length, _, rest = stream.partition(b" ")
        found.append(rest[: int(length)].decode())
        stream = rest[int(length) :]
    assert len(found) == len(events)
    assert [re.search(r' seq="(\d+)"', one)[1] for one in found] == [str(one.seq) for one in events]  # type: ignore[index]


def test_a_field_in_a_value_of_cef_is_escaped() -> None:
    line = record(dataclasses.replace(EVENT, actor="kim act=forged"), SOURCE, "cef")
    assert "suser=kim act\\=forged act=roll_back" in line

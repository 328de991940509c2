"""Mautic's campaigns: what is wrong with an export is said with its place, and odd values are not guessed at."""

from __future__ import annotations

import copy
import json
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings

from importing import EXPORTS
from journeylab.errors import DefinitionError
from journeylab.importers import import_journeys
from journeylab.importers.outcomes import Verdict
from mutatedexports import mutated, told


@pytest.fixture
def export():
    """The welcome campaign, to be spoilt: five events, 1 to 5."""
    return json.loads((EXPORTS / "mautic" / "welcome.json").read_text(encoding="utf-8"))


@pytest.fixture
def faults(tmp_path):
    """The faults of an export, each as it is told."""

    def faults(data) -> list[str]:
        path = tmp_path / "export.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(DefinitionError) as refused:
            import_journeys(path, "mautic")
        return [str(one).removeprefix(f"{path}: ") for one in refused.value.faults]

    return faults


@pytest.fixture
def made(tmp_path):
    """The journeys of an export."""

    def made(data, **options):
        path = tmp_path / "export.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return import_journeys(path, "mautic", **options)

    return made


def event(export, i):
    return export[0]["campaign_event"][i]


def one_condition(kind, config, **entities):
    """A campaign that asks one condition and sends an e-mail where it holds."""
    common = {"campaign_id": 1, "trigger_mode": "immediate", "decisionPath": None, "parent_id": None}
    events = [
        {**common, "id": 1, "name": "Asked", "type": kind, "event_type": "condition", "properties": config},
        {**common, "id": 2, "name": "Mail", "type": "email.send", "event_type": "action", "parent_id": 1,
         "decisionPath": "yes", "properties": {"email": 9}},
    ]  # fmt: skip
    campaign = {"id": 1, "name": "One condition", "canvas_settings": []}
    sources = {"dependencies": [{"forms": [{"campaign": 1, "forms": 1}]}]}
    return [{"campaign": [campaign], "campaign_event": events, **entities, **sources}]


def asked(made, config, kind="lead.field_value", **entities):
    """The condition of such a campaign."""
    return made(one_condition(kind, config, **entities)).journeys[0].nodes["asked"].decide[0].condition


# What is wrong


def spoilt(change):
    def spoil(export):
        change(export)
        return export

    return spoil


def put(i, **values):
    return spoilt(lambda export: event(export, i).update(values))


def drop(i, key):
    return spoilt(lambda export: event(export, i).pop(key))


MALFORMED = [
    (put(1, type="email.opened"), "0.campaign_event.1.type", "is none of the types of events that are known"),
    (put(1, event_type="wish"), "0.campaign_event.1.event_type", "'wish' is none of the kinds of events"),
    (put(1, parent_id=77), "0.campaign_event.1.parent_id", "there is no event '77' that it could follow"),
    (put(0, parent_id=2), "0.campaign_event.0.parent_id", "follow each other in a circle"),
    (put(2, decisionPath="maybe"), "0.campaign_event.2.decisionPath", "on its path yes or no, not maybe"),
    (put(4, id=1), "0.campaign_event.4.id", "two events with the id 1"),
    (put(0, campaign_id=9), "0.campaign_event.0.campaign_id", "there is no campaign 9"),
    (put(4, trigger_interval="soon"), "0.campaign_event.4.trigger_interval", "there must be a number here"),
    (put(4, trigger_interval=-3), "0.campaign_event.4.trigger_interval", "no delay from none to a hundred years"),
    (put(4, trigger_interval=40000), "0.campaign_event.4.trigger_interval", "no delay from none to a hundred years"),
    (put(4, trigger_interval_unit="q"), "0.campaign_event.4.trigger_interval_unit", "none of the units of time"),
    (put(4, trigger_mode="later"), "0.campaign_event.4.trigger_mode", "none of the trigger modes"),
    (put(4, trigger_hour="half past"), "0.campaign_event.4.trigger_hour", "is no time of day such as 09:00:00"),
    (put(4, triggerRestrictedDaysOfWeek=[7]), "0.campaign_event.4.triggerRestrictedDaysOfWeek", "0 (Sunday) to 6"),
    (put(4, trigger_mode="date"), "0.campaign_event.4.triggerDate", "this is missing"),
    (put(4, trigger_mode="date", trigger_date="soon"), "0.campaign_event.4.trigger_date", "'soon' is no instant"),
    (put(4, properties={"email_type": "marketing"}), "0.campaign_event.4.properties.email", "this is missing"),
    (put(4, properties="x"), "0.campaign_event.4.properties", "there must be an object here"),
    (put(1, parent_id=None), "0.campaign_event.1.parent_id", "follows an e-mail only, and this one follows none"),
    (drop(3, "id"), "0.campaign_event.3.id", "this is missing"),
    (spoilt(lambda e: e[0].pop("campaign")), "0.campaign", "this is missing"),
    (spoilt(lambda e: e[0]["dependencies"][0].pop("forms")), "0.campaign.0", "no segment and no form brings contacts"),
    (spoilt(lambda e: e[0].update(campaign_event=[])), "0.campaign.0", "no event follows its sources"),
    (spoilt(lambda e: e[0].update(email={"id": 1})), "0.email", "there must be a list here, not an object"),
    (spoilt(lambda e: e.__setitem__(0, 5)), "0", "there must be an object here, not 5"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "place", "reason"), MALFORMED, ids=[f"{a[1]}-{i}" for i, a in enumerate(MALFORMED)])
def test_what_is_wrong_is_said_with_its_place(export, faults, spoil, place, reason):
    found = faults(spoil(export))
    assert any(one.startswith(f"{place}: ") and reason in one for one in found), found


def test_all_that_is_wrong_is_said_at_once(export, faults):
    event(export, 1)["type"] = "email.openend"
    event(export, 4)["trigger_interval_unit"] = "fortnight"
    found = faults(export)
    assert len(found) >= 2
    assert "did you mean 'email.open'?" in found[0]


def test_a_jump_that_leads_nowhere_is_refused(export, faults):
    event(export, 4) | {}
    event(export, 4).update(type="campaign.jump_to_event", properties={"jumpToEvent": 99})
    assert any("there is no event '99' to jump to" in one for one in faults(export))


def test_jumps_that_take_no_time_are_refused_at_their_place(faults):
    export = one_condition("lead.field_value", {"field": "x", "operator": "empty", "value": ""})
    event(export, 1).update(type="campaign.jump_to_event", properties={"jumpToEvent": 1})
    assert any(one.startswith("0.campaign_event.0: ") and "takes no time" in one for one in faults(export))


def test_a_jump_to_itself_is_refused(faults):
    export = one_condition("lead.field_value", {"field": "x", "operator": "empty", "value": ""})
    event(export, 1).update(type="campaign.jump_to_event", properties={"jumpToEvent": 2})
    assert any("lead in a circle to nowhere" in one for one in faults(export))


# How it may come


def test_an_archive_is_read_like_the_file_in_it(export, tmp_path, made):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("entity_data.json", json.dumps(export))
        archive.writestr("assets/guide.pdf", b"%PDF")
    assert import_journeys(path, "mautic").journeys == made(export).journeys


def test_one_campaign_may_stand_without_the_list_around_it(export, made):
    assert made(export[0]).journeys == made(export).journeys


def test_paths_that_only_the_canvas_has_are_taken_from_there(export, made):
    whole = made(export).journeys
    for one in export[0]["campaign_event"]:
        del one["decisionPath"]
    assert made(export).journeys == whole


def test_what_the_editor_keeps_beside_an_event_is_no_setting(export, made):
    whole = made(export)
    plain = copy.deepcopy(export)
    for one in plain[0]["campaign_event"]:
        inner = one["properties"].get("properties") if isinstance(one["properties"], dict) else None
        if inner:
            one["properties"] = {key: one["properties"][key] for key in inner}
    assert made(plain).journeys == whole.journeys


def test_the_zone_of_local_times_is_the_one_that_is_said(made):
    export = json.loads((EXPORTS / "mautic" / "birthday.json").read_text(encoding="utf-8"))
    found = made(export, timezone="Europe/Warsaw")
    assert found.journeys[0].timezone == "Europe/Warsaw"
    assert not [one for one in found.losses.outcomes if one.element == "time zone"]


def test_a_setting_that_is_not_known_is_reported(export, made):
    event(export, 0)["moodOfTheDay"] = "good"
    left = [one.element for one in made(export).losses.of(Verdict.left_out)]
    assert "setting 'moodOfTheDay'" in left


def test_messages_are_known_by_what_the_system_calls_them(export, made):
    assert made(export).messages == {"hello": "11", "tips": "12", "reminder": "13"}


def test_campaigns_of_one_name_do_not_end_each_other(made):
    second = json.loads((EXPORTS / "mautic" / "bulk.json").read_text(encoding="utf-8"))[1]
    other = copy.deepcopy(second)
    other["campaign"][0]["id"] = 99
    for one in other["campaign_event"]:
        one["campaign_id"] = 99
    other["dependencies"] = [{"forms": [{"campaign": 99, "forms": 1}]}]
    journeys = made([second, other]).journeys
    ends = [one.exit_when[0].event for one in journeys]
    assert ends == ["second_of_two_left"] * 2 + ["second_of_two_99_left"] * 2
    assert len({one.journey for one in journeys}) == 4


# Comparisons


@pytest.mark.parametrize(("operator", "value", "expected"), [
    ("=", "Poland", 'x == "Poland"'),
    ("=", 5, "x == 5"),
    ("=", "5", "x == 5"),
    ("=", "-1.5", "x == -1.5"),
    ("=", "007", 'x == "007"'),
    ("=", 'say "hi"', 'x == "say \\"hi\\""'),
    ("!=", "Poland", 'missing(x) or x != "Poland"'),
    ("gt", "5", "x > 5"),
    ("gte", "2026-03-01", 'x >= "2026-03-01"'),
    ("lt", 5, "x < 5"),
    ("lte", 5, "x <= 5"),
    ("empty", None, "missing(x)"),
    ("!empty", None, "not missing(x)"),
    ("in", ["a", "b"], 'x in ["a", "b"]'),
    ("in", ["1", "b"], 'x in ["1", "b"]'),
    ("in", {"0": "a", "2": "b"}, 'x in ["a", "b"]'),
    ("!in", ["a"], 'missing(x) or x not in ["a"]'),
    ("between", ["1", "9"], "x >= 1 and x <= 9"),
    ("!between", ["1", "9"], "missing(x) or not (x >= 1 and x <= 9)"),
])  # fmt: skip
def test_operators_are_conditions(made, operator, value, expected):
    assert asked(made, {"field": "x", "operator": operator, "value": value}) == expected


@pytest.mark.parametrize(("operator", "value"), [
    ("like", "a%"), ("regexp", "^a"), ("startsWith", "a"), ("endsWith", "a"), ("contains", "a"), ("!like", "a"),
    ("date", "anniversary"), ("gt", "high"), ("between", ["a", "b"]), ("=", ["a"]),
])  # fmt: skip
def test_what_no_condition_says_is_a_flag_that_contacts_bring(made, operator, value):
    found = made(one_condition("lead.field_value", {"field": "x", "operator": operator, "value": value}))
    condition = found.journeys[0].nodes["asked"].decide[0].condition
    assert condition.startswith("filter_x_")
    assert any(
        condition in one.becomes and "which the contacts have to have" in one.note for one in found.losses.outcomes
    )


def test_flags_of_different_comparisons_differ_though_their_names_are_cut(made):
    long = "a" * 60
    export = one_condition("lead.field_value", {"field": "x", "operator": "like", "value": long + "1"})
    other = copy.deepcopy(export[0]["campaign_event"][0]) | {"id": 3, "parent_id": 1, "decisionPath": "no"}
    other["properties"] = {"field": "x", "operator": "like", "value": long + "2"}
    export[0]["campaign_event"].append(other)
    nodes = made(export).journeys[0].nodes
    assert nodes["asked"].decide[0].condition != nodes["asked_2"].decide[0].condition


def test_types_of_fields_that_came_along_decide_what_a_value_is(made):
    fields = [{"id": 1, "alias": "x", "type": "text"}]
    assert asked(made, {"field": "x", "operator": "=", "value": "5"}, custom_field=fields) == 'x == "5"'


@pytest.mark.parametrize(("config", "reason"), [
    ({"field": "x", "operator": "~", "value": 1}, "is none of the operators"),
    ({"field": "x", "operator": "between", "value": [1]}, "there are 1"),
    ({"field": "x", "operator": "in", "value": []}, "a list of texts and numbers"),
    ({"field": "x", "operator": "in", "value": [None]}, "a list of texts and numbers"),
    ({"operator": "=", "value": 1}, "this is missing"),
])  # fmt: skip
def test_comparisons_that_are_none_are_refused(faults, config, reason):
    found = faults(one_condition("lead.field_value", config))
    assert any(one.startswith("0.campaign_event.0.properties") and reason in one for one in found)


def test_segments_that_are_among_their_own_filters_are_refused(faults):
    def of(identity, other):
        one = {"glue": "and", "field": "leadlist", "type": "leadlist", "operator": "in", "filter": [other]}
        return {"id": identity, "name": f"S{identity}", "filters": [one]}

    export = one_condition("lead.segments", {"segments": [1]}, lists=[of(1, 2), of(2, 1)])
    assert any("among its own filters" in one for one in faults(export))


def test_segments_of_one_name_are_flags_of_their_own(made):
    lists = [{"id": i, "name": "VIP", "filters": []} for i in range(1, 5)]
    found = made(one_condition("lead.segments", {"segments": [1, 2, 3, 4]}, lists=lists))
    assert {str(one.condition) for one in found.journeys[0].segments.values()} == {
        "in_vip",
        "in_vip_2",
        "in_vip_3",
        "in_vip_4",
    }


def test_points_of_a_group_are_an_attribute_of_their_own(made):
    groups = [{"id": 4, "name": "Loyalty"}]
    config = {"operator": "gt", "score": 10, "group": 4}
    assert asked(made, config, "lead.points", pointGroup=groups) == "points_loyalty > 10"
    assert asked(made, {"operator": "gt", "score": 10, "group": None}, "lead.points") == "points > 10"


def test_do_not_contact_is_asked_of_any_channel_by_its_reason(made):
    assert asked(made, {"channels": ["email"], "reason": 2}, "lead.dnc") == "do_not_contact_email_bounced"
    assert asked(made, {"channels": ["email", "sms"]}, "lead.dnc") == "do_not_contact_email or do_not_contact_sms"


# What nobody exports


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated("mautic"))
def test_a_spoilt_export_is_read_or_refused_with_places(data, tmp_path):
    told(data, "mautic", tmp_path)


@pytest.mark.nightly
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated("mautic"))
def test_many_spoilt_exports_are_read_or_refused_with_places(data, tmp_path):
    told(data, "mautic", tmp_path)


def test_a_long_chain_of_events_is_read(made):
    export = one_condition("lead.field_value", {"field": "x", "operator": "empty", "value": ""})
    tag = {"campaign_id": 1, "type": "lead.changetags", "event_type": "action", "properties": {"add_tags": ["t"]}}
    chain = [{**tag, "id": i, "name": f"Tag {i}", "parent_id": i - 1} for i in range(3, 1200)]
    export[0]["campaign_event"] += chain
    assert len(made(export).journeys[0].nodes) > 1190


def test_more_events_than_a_campaign_has_are_refused(faults):
    export = one_condition("lead.field_value", {"field": "x", "operator": "empty", "value": ""})
    tag = {"campaign_id": 1, "type": "lead.changetags", "event_type": "action", "properties": {"add_tags": ["t"]}}
    export[0]["campaign_event"] += [{**tag, "id": i, "name": "t", "parent_id": 2} for i in range(3, 2100)]
    assert any("no campaign needs more than 2000" in one for one in faults(export))

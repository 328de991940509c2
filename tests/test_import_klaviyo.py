"""Klaviyo: what is wrong with a flow is told at its place, and filters say what they say there."""

import copy
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings

from importing import EXPORTS
from journeylab.conditions import parse
from journeylab.errors import DefinitionError
from journeylab.importers import Verdict, export_journey, import_journeys
from journeylab.importers.draft import Draft
from journeylab.importers.export import Export
from journeylab.importers.klaviyo.actiontypes import NODE_TYPES
from journeylab.importers.klaviyo.filters import Filters
from mutatedexports import mutated

CART = json.loads((EXPORTS / "klaviyo" / "abandoned_cart.json").read_text(encoding="utf-8"))
DEFINITION = "data.attributes.definition"


def definition(export):
    return export["data"]["attributes"]["definition"]


def actions(export):
    return definition(export)["actions"]


def faults(export):
    with pytest.raises(DefinitionError) as refused:
        import_journeys(export, "klaviyo")
    return [str(fault).removeprefix("the export: ") for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.clear(), "there is neither `data`, as the API answers, nor a `definition`"),
        (lambda e: e.update(data=[]), "there is no journey in here"),
        (
            lambda e: e["data"].update(type="campaign"),
            "data.type: 'campaign' is none of the resources of an export of flows that are known; "
            "Known resources of an export of flows: flow.",
        ),
        (
            lambda e: e["data"]["attributes"].pop("definition"),
            "data.attributes.definition: there is none; ask the API for it with additional-fields[flow]=definition",
        ),
        (lambda e: definition(e).pop("actions"), f"{DEFINITION}.actions: this is missing"),
        (lambda e: definition(e).pop("triggers"), f"{DEFINITION}.triggers: this is missing"),
        (
            lambda e: definition(e).update(triggers=[]),
            f"{DEFINITION}.triggers: a flow has one trigger, and here are 0",
        ),
        (
            lambda e: definition(e)["triggers"][0].update(type="metrics"),
            f"{DEFINITION}.triggers.0: 'metrics' is no known type; did you mean 'metric'?",
        ),
        (
            lambda e: definition(e)["triggers"][0].update(type="send-sms"),
            f"{DEFINITION}.triggers.0.type: send-sms is no trigger",
        ),
        (
            lambda e: definition(e).update(entry_action_id="9"),
            f"{DEFINITION}.entry_action_id: there is no action '9'; Known actions: 1, 2, 3, 4, 5, 6.",
        ),
        (
            lambda e: actions(e)[0]["links"].update(next="22"),
            f"{DEFINITION}.actions.0.links.next: there is no action '22'; did you mean '2'? Known actions: "
            "1, 2, 3, 4, 5, 6.",
        ),
        (
            lambda e: actions(e)[1].update(type="send-mail"),
            f"{DEFINITION}.actions.1: 'send-mail' is no known type; did you mean 'send-email'?",
        ),
        (lambda e: actions(e)[1].update(type="metric"), f"{DEFINITION}.actions.1.type: metric is no action"),
        (lambda e: actions(e)[1].pop("data"), f"{DEFINITION}.actions.1.data: this is missing"),
        (
            lambda e: actions(e)[1].update(id="1"),
            f"{DEFINITION}.actions.1.id: another action has the id '1', too",
        ),
        (
            lambda e: actions(e)[0]["data"].update(unit="fortnights"),
            f"{DEFINITION}.actions.0.data.unit: 'fortnights' is none of the units that are known; "
            "Known units: days, hours, minutes.",
        ),
        (
            lambda e: actions(e)[0]["data"].update(value="soon"),
            f"{DEFINITION}.actions.0.data.value: there must be a number here, not 'soon'",
        ),
        (
            lambda e: actions(e)[0]["data"].update(value=-1),
            f"{DEFINITION}.actions.0.data.value: a delay cannot be negative",
        ),
        (
            lambda e: actions(e)[0]["data"].update(value=10**9),
            f"{DEFINITION}.actions.0.data.value: 6e+10 minutes is longer than a hundred years (rule 2)",
        ),
        (
            lambda e: actions(e)[2]["data"].update(delay_until_time="25:00:00"),
            f"{DEFINITION}.actions.2.data.delay_until_time: 25:00 is no time of day",
        ),
        (
            lambda e: actions(e)[2]["data"].update(delay_until_weekdays=["moonday"]),
            f"{DEFINITION}.actions.2.data.delay_until_weekdays: 'moonday' is no day of the week",
        ),
        (
            lambda e: actions(e)[3]["data"]["profile_filter"]["condition_groups"][0].update(conditions=[]),
            f"{DEFINITION}.actions.3.data.profile_filter.condition_groups: this split asks nothing",
        ),
        (
            lambda e: actions(e)[3]["data"]["profile_filter"]["condition_groups"][0]["conditions"][0].update(
                type="mood"
            ),
            f"{DEFINITION}.actions.3.data.profile_filter.condition_groups.0.conditions.0.type: 'mood' is no known "
            "condition;",
        ),
        (
            lambda e: actions(e)[0].update(type="target-date"),
            f"{DEFINITION}.actions.0.type: only a flow that a date property triggers has a date to wait for",
        ),
        (
            lambda e: actions(e)[3]["links"].update(next_if_true="4"),
            f"{DEFINITION}.actions.3: as nodes.split: the loop split -> split takes no time;",
        ),
        (
            lambda e: definition(e)["reentry_criteria"].update(unit="year"),
            f"{DEFINITION}.reentry_criteria.unit: 'year' is none of the units that are known; "
            "Known units: alltime, day, hour, week.",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place(change, said):
    export = copy.deepcopy(CART)
    change(export)
    assert any(fault.startswith(said) for fault in faults(export)), faults(export)


def test_all_faults_are_told_at_once():
    export = copy.deepcopy(CART)
    actions(export)[0]["data"]["unit"] = "fortnights"
    actions(export)[1]["links"]["next"] = "99"
    definition(export)["triggers"] = []
    assert len(faults(export)) == 3


def test_a_setting_that_nobody_looked_at_is_reported():
    export = copy.deepcopy(CART)
    actions(export)[0]["data"]["surprise"] = 3
    left = import_journeys(export, "klaviyo").losses.of(Verdict.left_out)
    assert [one.element for one in left] == ["setting 'surprise'"]
    assert left[0].place == ("data", "attributes", "definition", "actions", 0, "data", "surprise")


def test_the_id_of_each_message_is_kept():
    assert dict(import_journeys(CART, "klaviyo").messages) == {"you_left_something": "M001", "still_there": "M003"}


def test_flows_are_read_as_the_api_lists_them_and_as_they_are_created():
    one = CART["data"]
    listed = import_journeys({"data": [one, one], "included": CART["included"]}, "klaviyo")
    assert [journey.journey for journey in listed.journeys] == ["abandoned_cart", "abandoned_cart_2"]
    attributes = {"name": "Abandoned cart", "definition": copy.deepcopy(definition(CART))}
    for action in attributes["definition"]["actions"]:
        action["temporary_id"] = action.pop("id")
    created = import_journeys(attributes, "klaviyo").journeys[0]
    assert [*created.nodes] == [*listed.journeys[0].nodes]


def test_metrics_are_called_by_their_ids_where_nothing_says_their_names():
    export = {"data": CART["data"]}
    made = import_journeys(export, "klaviyo")
    assert made.journeys[0].trigger.event == "CHECKT"
    assert made.journeys[0].exit_when[0].event == "ORDERD"


def test_a_draft_in_a_live_flow_is_passed_by_and_in_a_draft_everything_is_done():
    export = copy.deepcopy(CART)
    actions(export)[1]["data"]["status"] = "draft"
    assert "you_left_something" not in import_journeys(export, "klaviyo").journeys[0].nodes
    export["data"]["attributes"]["status"] = "draft"
    assert "you_left_something" in import_journeys(export, "klaviyo").journeys[0].nodes


def test_smart_sending_of_some_messages_is_left_out():
    export = copy.deepcopy(CART)
    actions(export)[1]["data"]["message"]["smart_sending_enabled"] = False
    made = import_journeys(export, "klaviyo")
    assert made.journeys[0].cap is None
    assert all(node.when_capped == "wait" for node in made.journeys[0].nodes.values() if node.verb == "send")
    assert "smart sending" in [one.element for one in made.losses.of(Verdict.left_out)]


def test_it_takes_no_journeys():
    made = import_journeys(CART, "klaviyo")
    with pytest.raises(Exception, match="cannot be exported to 'klaviyo'"):
        export_journey(made.journeys[0], "klaviyo")


def said(*conditions, of_entry=False, titles=None):
    """What a filter of one group says, and what was noted."""
    data = {"condition_groups": [{"conditions": [copy.deepcopy(one) for one in conditions]}]}
    export = Export(data)
    draft = Draft(export, NODE_TYPES, "flow", export.top)
    filters = Filters(draft, titles or {})
    text = filters.said(export.part_of(data, ()), of_entry=of_entry)
    assert text is not None
    parse(text)
    assert not [place for place, _ in export.unread() if place != ("condition_groups",)]
    return text, [one.note for one in draft.outcomes if one.verdict is Verdict.approximated]


def of(name, kind, operator, value=None, **more):
    asked = {"type": kind, "operator": operator, **more}
    return {"type": "profile-property", "property": name, "filter": asked | ({} if value is None else {"value": value})}


def metric(operator, value, timeframe, measurement="count", filters=None):
    return {
        "type": "profile-metric", "metric_id": "M", "measurement": measurement,
        "measurement_filter": {"type": "numeric", "operator": operator, "value": value},
        "timeframe_filter": {"type": "date", **timeframe}, "metric_filters": filters,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (of("plan", "string", "equals", "pro"), 'plan == "pro"'),
        (of("properties['plan']", "string", "not-equals", "pro"), '(missing(plan) or plan != "pro")'),
        (of("location['country']", "string", "in", ["PL", "DE"]), 'country in ["PL", "DE"]'),
        (of("plan", "string", "not-in", ["a"]), '(missing(plan) or plan not in ["a"])'),
        (of("plan", "string", "equals"), "missing(plan)"),
        (of("plan", "string", "equals", 'say "hi"'), r'plan == "say \"hi\""'),
        (of("seats", "numeric", "less-than-or-equal", 3), "seats <= 3"),
        (of("seats", "numeric", "not-equals", 3.5), "(missing(seats) or seats != 3.5)"),
        (of("seats", "numeric", "between", start=1, end=5), "(1 <= seats <= 5)"),
        (of("vip", "boolean", "equals", value=False), "vip == false"),
        (of("ends", "date", "before", date="2026-05-01T00:00:00+00:00"), 'ends < "2026-05-01"'),
        (
            of("ends", "date", "between-static", start="2026-05-01T00:00:00Z", end="2026-06-01T12:00:00Z"),
            '(ends >= "2026-05-01" and ends <= "2026-06-01T12:00:00Z")',
        ),
        (of("topics", "list", "not-contains", "Big news"), "not topics_big_news"),
        (of("plan", "existence", "is-set"), "not missing(plan)"),
        (of("plan", "existence", "not-set"), "missing(plan)"),
        (metric("greater-than", 0, {"operator": "alltime"}), 'did("M")'),
        (metric("equals", 0, {"operator": "in-the-last", "unit": "day", "quantity": 30}), 'not did("M", "30d")'),
        (metric("greater-than-or-equal", 3, {"operator": "alltime"}), 'count("M") >= 3'),
        (
            metric("greater-than", 99.5, {"operator": "in-the-last", "unit": "hour", "quantity": 48}, "sum"),
            'sum("M.amount", "2d") > 99.5',
        ),
        (
            metric("less-than", 2, {"operator": "between", "start": 30, "end": 7, "unit": "day"}),
            'count("M", "30d") - count("M", "7d") < 2',
        ),
        (metric("equals", 2, {"operator": "between", "start": 0, "end": 7, "unit": "day"}), 'count("M", "7d") == 2'),
        (metric("greater-than", 0, {"operator": "flow-start"}), 'since("M") < since("entered_flow")'),
        (
            metric("greater-than", 0, {"operator": "alltime"}, filters=[
                {"property": "Item Name", "filter": {"type": "string", "operator": "equals", "value": "Boot"}},
                {"property": "$value", "filter": {"type": "numeric", "operator": "greater-than", "value": 5}},
            ]),
            "did(\"M\", where='Item_Name == \"Boot\" and amount > 5')",
        ),
        ({"type": "profile-group-membership", "is_member": True, "group_ids": ["A1", "b2"]}, "(in_a1 or in_b2)"),
        ({"type": "profile-group-membership", "is_member": False, "group_ids": ["A1"]}, "not in_a1"),
        (
            {"type": "profile-not-sent-email", "timeframe_filter": {"type": "date", "operator": "alltime"}},
            'not did("sent")',
        ),
    ],
)  # fmt: skip
def test_a_filter_says_what_it_says_there(condition, text):
    assert said(condition)[0] == text


@pytest.mark.parametrize(
    ("condition", "flag", "why"),
    [
        (of("city", "string", "regex", "^W"), "property_city_regex_w", "no condition looks into a text"),
        (of("ends", "date", "in-the-next", unit="day", quantity=3), "property_ends_in_the_next_3_day", "how near"),
        (of("topics", "list", "length-equals", 2), "property_topics_length_equals_2", "an attribute has one value"),
        (metric("greater-than", 2, {"operator": "flow-start"}), "metric_m_count", "since the entry began"),
        (
            metric("equals", 2, {"operator": "anniversary-last", "unit": "day", "quantity": 1}),
            "metric_m_count", "window",
        ),
        ({"type": "profile-sample", "percentage": 10}, "sample_10", "chance is no condition"),
        (
            {"type": "profile-not-sent-sms", "timeframe_filter": {"type": "date", "operator": "alltime"}},
            "not_sent_sms", "other channels",
        ),
    ],
)  # fmt: skip
def test_what_no_condition_says_is_a_flag_attribute(condition, flag, why):
    text, notes = said(condition)
    assert text == flag
    assert any(why in note and f"flag attribute {flag}" in note for note in notes)


def test_two_filters_that_are_called_alike_are_two_attributes():
    text, _ = said(of("city", "string", "contains", "a" * 50), of("city", "string", "contains", "a" * 51))
    first, second = text.strip("()").split(" or ")
    assert second == f"{first}_2"


def test_the_trigger_s_event_is_asked_by_its_own_properties():
    condition = {
        "type": "metric-property", "metric_id": "M", "field": "$value",
        "filter": {"type": "numeric", "operator": "greater-than", "value": 5},
    }  # fmt: skip
    assert said(condition)[0] == "amount > 5"
    assert said(condition, of_entry=True)[0] == "entry.amount > 5"


@settings(max_examples=40, deadline=None)
@given(mutated("klaviyo"))
def test_whatever_is_wrong_is_a_fault_of_the_export(data):
    with suppress(DefinitionError):
        import_journeys(data, "klaviyo").text()

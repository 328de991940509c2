"""Eloqua's campaigns: what is wrong with an export is said with its place, and odd values are not guessed at."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from importing import EXPORTS
from journeylab.errors import DefinitionError
from journeylab.importers import import_journeys
from journeylab.importers.outcomes import Verdict
from mutatedexports import mutated, told


@pytest.fixture
def export():
    """The welcome campaign, to be spoilt: a segment, an e-mail, a decision, a wait, two e-mails and a page."""
    return json.loads((EXPORTS / "eloqua" / "welcome.json").read_text(encoding="utf-8"))


@pytest.fixture
def launch():
    """The launch of a product: a segment of once, an e-mail at the best hour, one in batches, a date."""
    return json.loads((EXPORTS / "eloqua" / "product_launch.json").read_text(encoding="utf-8"))


def made(data, **options):
    return import_journeys(data, "eloqua", **options)


def faults(data) -> list[str]:
    with pytest.raises(DefinitionError) as refused:
        made(data)
    return [str(one).removeprefix("the export: ") for one in refused.value.faults]


def step(export, i):
    return export["elements"][i]


def terminal(export, i, k=0):
    return step(export, i)["outputTerminals"][k]


def notes(found) -> str:
    return "\n".join(map(str, found.losses.outcomes))


# What is wrong


MALFORMED = [
    (lambda e: step(e, 1).update(type="CampaignEmial"), "elements.1.type", "did you mean 'CampaignEmail'?"),
    (lambda e: step(e, 1).pop("type"), "elements.1.type", "this is missing"),
    (lambda e: step(e, 1).pop("id"), "elements.1.id", "this is missing"),
    (lambda e: step(e, 3).update(id="2"), "elements.3.id", "two steps with the id 2"),
    (lambda e: terminal(e, 1).update(connectedId="99"), "elements.1.outputTerminals.0.connectedId", "no step '99'"),
    (lambda e: terminal(e, 1).pop("connectedId"), "elements.1.outputTerminals.0.connectedId", "this is missing"),
    (lambda e: terminal(e, 2).update(terminalType="maybe"), "elements.2.outputTerminals.0.terminalType", "terminals"),
    (lambda e: terminal(e, 2, 1).update(terminalType="yes"), "elements.2.outputTerminals.1.terminalType", "two others"),
    (lambda e: terminal(e, 3).update(connectedId="1"), "elements.3.outputTerminals", "a step by which contacts enter"),
    (lambda e: step(e, 1).update(outputTerminals={}), "elements.1.outputTerminals", "there must be a list here"),
    (lambda e: step(e, 1).pop("emailId"), "elements.1.emailId", "this is missing"),
    (lambda e: step(e, 0).pop("segmentId"), "elements.0.segmentId", "this is missing"),
    (lambda e: step(e, 0).update(reEvaluationFrequency="5"), "elements.0.reEvaluationFrequency", "from a minute to a"),
    (lambda e: step(e, 2).update(evaluateNoAfter="soon"), "elements.2.evaluateNoAfter", "there must be a number here"),
    (lambda e: step(e, 2).update(evaluateNoAfter="-60"), "elements.2.evaluateNoAfter", "a period is not negative"),
    (lambda e: step(e, 2).update(numberOfOpens="0"), "elements.2.numberOfOpens", "a number of one or more"),
    (lambda e: step(e, 3).pop("waitFor"), "elements.3.waitFor", "this is missing"),
    (lambda e: step(e, 3).update(waitFor="9e12"), "elements.3.waitFor", "longer than a hundred years"),
    (lambda e: step(e, 3).update(waitUntil="tomorrow"), "elements.3.waitUntil", "'tomorrow' is no instant"),
    (lambda e: step(e, 1).update(sendTimePeriod="whenever"), "elements.1.sendTimePeriod", "none of the ways to send"),
    (lambda e: step(e, 1).update(isAllowingResend="perhaps"), "elements.1.isAllowingResend", "true or false"),
    (lambda e: e.pop("name"), "name", "this is missing"),
    (lambda e: e.pop("elements"), "elements", "this is missing"),
    (lambda e: e.update(elements=[]), "elements", "no segment, feeder or input brings contacts into it"),
    (lambda e: e["elements"].pop(0), "elements", "no segment, feeder or input brings contacts into it"),
    (lambda e: e["elements"].insert(0, 7), "elements.0", "there must be an object here, not 7"),
    (lambda e: e.update(startAt="spring"), "startAt", "'spring' is no instant"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "place", "reason"), MALFORMED, ids=[f"{a[1]}-{i}" for i, a in enumerate(MALFORMED)])
def test_what_is_wrong_is_said_with_its_place(export, spoil, place, reason):
    spoil(export)
    found = faults(export)
    assert any(one.startswith(f"{place}: ") and reason in one for one in found), found


def test_all_that_is_wrong_is_said_at_once(export):
    step(export, 2).update(numberOfOpens="none")
    step(export, 3).update(waitFor="long")
    assert {one.split(":")[0] for one in faults(export)} == {"elements.2.numberOfOpens", "elements.3.waitFor"}


def test_what_is_wrong_with_the_graph_is_said_before_what_hangs_on_it(export):
    terminal(export, 1).update(connectedId="99")
    step(export, 4).pop("emailId")
    found = {one.split(":")[0] for one in faults(export)}
    assert found == {"elements.1.outputTerminals.0.connectedId", "elements.4.emailId"}


def test_a_loop_that_takes_no_time_is_refused_at_its_place(export):
    step(export, 2).update(evaluateNoAfter="0")
    step(export, 5)["outputTerminals"] = [{"connectedId": "3", "terminalType": "out"}]
    assert any("takes no time" in one for one in faults(export))


# How it may come


def test_a_page_of_campaigns_is_each_of_them(export, launch):
    page = {"type": "QueryResultCampaign", "elements": [export, launch], "total": 2, "page": 1, "pageSize": 2}
    assert made(page).journeys == (*made(export).journeys, *made(launch).journeys)


def test_files_of_an_archive_are_each_a_campaign(export, launch, tmp_path):
    path = tmp_path / "campaigns.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.json", json.dumps(export))
        archive.writestr("2.json", json.dumps(launch))
    assert made(path).journeys == (*made(export).journeys, *made(launch).journeys)


def test_numbers_and_flags_may_be_texts_or_not(export):
    whole = made(export).journeys
    for one in export["elements"]:
        for key, value in one.items():
            if isinstance(value, str) and (value.isdecimal() or value in ("true", "false")):
                one[key] = json.loads(value)
    assert made(export).journeys == whole


def test_a_setting_that_is_not_known_is_reported(export):
    step(export, 1)["moodOfTheDay"] = "good"
    assert any(one.element == "setting 'moodOfTheDay'" for one in made(export).losses.of(Verdict.left_out))


def test_a_step_to_which_nothing_leads_is_reported(export):
    del step(export, 4)["outputTerminals" if "outputTerminals" in step(export, 4) else "name"]
    terminal(export, 3).update(connectedId="6")
    assert any("nothing leads to it" in one.note for one in made(export).losses.of(Verdict.left_out))


def test_messages_are_known_by_the_ids_of_their_e_mails(export):
    assert made(export).messages == {"welcome": "101", "first_steps": "102", "did_you_miss_it": "103"}


# Beginnings


def test_a_segment_of_once_is_looked_at_when_the_campaign_starts(launch):
    trigger = made(launch).journeys[0].trigger
    assert trigger.every == timedelta(days=36_525)
    assert datetime(1970, 1, 5, tzinfo=UTC) + trigger.offset == datetime(2026, 3, 2, 9, tzinfo=UTC)


def test_without_a_start_it_is_looked_at_every_day_and_said(launch):
    del launch["startAt"]
    found = made(launch)
    assert found.journeys[0].trigger.every == timedelta(days=1)
    assert "the export does not say when" in notes(found)


def test_looks_are_counted_from_the_start(export):
    export["startAt"] = "1772442000"
    assert made(export).journeys[0].trigger.offset == timedelta(hours=9)


def test_re_entry_by_membership_is_left_out_and_said(export):
    export["isMemberAllowedReEntry"] = "true"
    found = made(export)
    assert found.journeys[0].trigger.reentry == "never"
    assert any(one.element == "re-entry" for one in found.losses.of(Verdict.left_out))


def test_two_feeders_are_one_trigger(export):
    feeder = {"type": "CampaignCloudFeeder", "outputTerminals": [{"connectedId": "2", "terminalType": "out"}]}
    export["elements"][0] = {**feeder, "id": "1", "name": "A"}
    export["elements"].append({**feeder, "id": "20", "name": "B"})
    trigger = made(export).journeys[0].trigger
    assert (trigger.event, trigger.where) == ("contact_fed", 'feeder == "A" or feeder == "B"')


# E-mails


def test_hours_of_a_schedule_are_a_window_of_its_days(export):
    step(export, 1)["schedule"] = {"elements": [
        {"relativeStart": str(day * 86400 + 8 * 3600), "relativeEnd": str(day * 86400 + 20 * 3600)} for day in (0, 6)
    ]}  # fmt: skip
    nodes = made(export).journeys[0].nodes
    assert nodes["hours_of_welcome"].data()["wait_until"] == {"between": ["08:00", "20:00"], "days": ["sat", "sun"]}


def test_a_schedule_without_ends_lasts_to_the_end_of_the_day(export):
    step(export, 1)["schedule"] = {"elements": [{"relativeStart": 86400 + 9 * 3600}]}
    nodes = made(export).journeys[0].nodes
    assert nodes["hours_of_welcome"].data()["wait_until"] == {"between": ["09:00", "24:00"], "days": ["mon"]}


@pytest.mark.parametrize(
    "part", [{"relativeStart": -1}, {"relativeStart": 700000}, {"relativeStart": 5, "relativeEnd": 4}]
)
def test_a_schedule_that_is_no_part_of_a_week_is_refused(export, part):
    step(export, 1)["schedule"] = {"elements": [part]}
    assert any("is no part of a day of the week" in one for one in faults(export))


@pytest.mark.parametrize(("setting", "said"), [
    ({"stoType": "optimized"}, "its hour is the best of the next day"),
    ({"sendTimePeriod": "sendEmailsOverANumberOfDays", "sendTimeLength": "3"}, "in batches over 3d"),
    ({"isAllowingSentToUnsubscribe": "true"}, "those who are unsubscribed are not sent it here"),
    ({"isAllowingSentToMasterExclude": "true"}, "those who are excluded from all e-mails are not sent it here"),
])  # fmt: skip
def test_what_a_send_does_differently_is_said(export, setting, said):
    step(export, 1).update(setting)
    found = made(export)
    assert said in notes(found)
    assert any(one.element == "CampaignEmail 'Welcome'" for one in found.losses.of(Verdict.approximated))


def test_an_e_mail_that_may_be_sent_again_is_not_asked_for(export):
    again = {**step(export, 1), "id": "30", "name": "Again"}
    step(export, 5)["outputTerminals"] = [{"connectedId": "30", "terminalType": "out"}]
    del again["outputTerminals"]
    export["elements"].append(again)
    assert {"may_welcome", "may_again"} <= set(made(export).journeys[0].nodes)
    for one in (step(export, 1), again):
        one["isAllowingResend"] = "true"
    assert not {"may_welcome", "may_again"} & set(made(export).journeys[0].nodes)


# Comparisons


def compared(condition):
    """The condition that a comparison of a field becomes, and the journeys."""
    found = made({"id": "1", "name": "One", "elements": [
        {"type": "CampaignSegment", "id": "1", "name": "In", "segmentId": "5",
         "outputTerminals": [{"connectedId": "2", "terminalType": "out"}]},
        {"type": "CampaignContactFieldComparisonRule", "id": "2", "name": "Asked", "fieldId": "7",
         "condition": condition, "outputTerminals": [{"connectedId": "3", "terminalType": "yes"}]},
        {"type": "CampaignEmail", "id": "3", "name": "Mail", "emailId": "9"},
    ]})  # fmt: skip
    return found.journeys[0].nodes["asked"].decide[0].condition, found


@pytest.mark.parametrize(("condition", "expected"), [
    ({"type": "TextValueCondition", "operator": "equal", "value": "A"}, 'field_7 == "A"'),
    ({"type": "TextValueCondition", "operator": "equal", "value": "5"}, 'field_7 == "5"'),
    ({"type": "TextValueCondition", "operator": "notEqual", "value": "A"}, 'missing(field_7) or field_7 != "A"'),
    ({"type": "TextValueCondition", "operator": "blank"}, "missing(field_7)"),
    ({"type": "TextValueCondition", "operator": "notBlank"}, "not missing(field_7)"),
    ({"type": "NumericValueCondition", "operator": "greater", "value": "5"}, "field_7 > 5"),
    ({"type": "NumericValueCondition", "operator": "notLess", "value": "5.5"}, "field_7 >= 5.5"),
    ({"type": "NumericValueCondition", "operator": "notGreater", "value": "-5"}, "field_7 <= -5"),
    ({"type": "NumericValueCondition", "operator": "equal", "value": 5}, "field_7 == 5"),
    ({"type": "DateValueCondition", "operator": "before", "value": "2026-03-01"}, 'field_7 < "2026-03-01"'),
    ({"type": "TextSetCondition", "operator": "in", "quickListString": "a, b"}, 'field_7 in ["a", "b"]'),
    ({"type": "TextSetCondition", "operator": "notIn", "quickListString": "a"},
     'missing(field_7) or field_7 not in ["a"]'),
])  # fmt: skip
def test_comparisons_are_conditions(condition, expected):
    assert compared(condition)[0] == expected


@pytest.mark.parametrize("condition", [
    {"type": "TextValueCondition", "operator": "contains", "value": "A"},
    {"type": "TextValueCondition", "operator": "equal", "value": "A*"},
    {"type": "DateValueCondition", "operator": "before", "value": "1772442000"},
    {"type": "RelativeDateCondition", "operator": "withinLast", "value": "7"},
    {"type": "TextSetCondition", "operator": "in", "optionListId": "4"},
])  # fmt: skip
def test_what_no_condition_says_is_a_flag_that_contacts_bring(condition):
    flag, found = compared(condition)
    assert flag.startswith("field_7_")
    assert any(flag in one.becomes and "which the contacts have to have" in one.note for one in found.losses.outcomes)


@pytest.mark.parametrize(("condition", "reason"), [
    ({"type": "NumericValueCondition", "operator": "greater", "value": "many"}, "'many' is no number"),
    ({"type": "TextValueCondition", "operator": "equal"}, "this is missing"),
    ({"type": "TextValueCondition", "value": "A"}, "this is missing"),
    ({"type": "TextSetCondition", "operator": "in", "quickListString": " , "}, "the list is empty"),
])  # fmt: skip
def test_comparisons_that_are_none_are_refused(condition, reason):
    with pytest.raises(DefinitionError, match=reason):
        compared(condition)


def test_an_e_mail_of_another_campaign_is_asked_for_by_its_message(export):
    step(export, 2).update(emailId="999", withinLast="172800")
    node = made(export).journeys[0].nodes["opened_"]
    assert node.decide[0].condition == 'did("opened", "2d", where="message == \\"email_999\\"")'
    assert made(export).messages["email_999"] == "999"


# What nobody exports


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated("eloqua"))
def test_a_spoilt_export_is_read_or_refused_with_places(data, tmp_path):
    told(data, "eloqua", tmp_path)


@pytest.mark.nightly
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated("eloqua"))
def test_many_spoilt_exports_are_read_or_refused_with_places(data, tmp_path):
    told(data, "eloqua", tmp_path)


def test_a_long_chain_of_steps_is_read(export):
    waits = [
        {"type": "CampaignWaitAction", "id": str(i), "name": f"Wait {i}", "waitFor": "60",
         "outputTerminals": [{"connectedId": str(i + 1), "terminalType": "out"}]}
        for i in range(1000, 2500)
    ]  # fmt: skip
    waits[-1]["outputTerminals"] = []
    step(export, 5)["outputTerminals"] = [{"connectedId": "1000", "terminalType": "out"}]
    export["elements"] += waits
    assert len(made(export).journeys[0].nodes) > 1500

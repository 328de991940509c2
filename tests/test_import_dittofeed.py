"""Dittofeed: what is wrong with an export is told, and journeys of ours that go there come back doing the same."""

import copy
import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importing import EXPORTS
from journeylab import Decide, EventLog, Exit, Journey, Send, Split, Trigger, Wait, WaitFor, replay
from journeylab.errors import DefinitionError
from journeylab.importers import Verdict, export_journey, import_journeys

WELCOME = json.loads((EXPORTS / "dittofeed" / "welcome.json").read_text(encoding="utf-8"))
ONBOARDING = json.loads((EXPORTS / "dittofeed" / "onboarding.json").read_text(encoding="utf-8"))


def nodes(export):
    return export["journeys"][0]["definition"]["nodes"]


def definition(export):
    return export["journeys"][0]["definition"]


def faults(export):
    with pytest.raises(DefinitionError) as refused:
        import_journeys(export, "dittofeed")
    return [str(fault).removeprefix("the export: ") for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.clear(), "there is neither `journeys` nor a `definition` with an `entryNode`"),
        (lambda e: e.update(journeys=[]), "there is no journey in here"),
        (lambda e: e.update(journeys={}), "journeys: there must be a list here, not an object"),
        (
            lambda e: e["journeys"][0].pop("definition"),
            "journeys.0: this journey has neither a `definition` nor a `draft`",
        ),
        (lambda e: definition(e).pop("nodes"), "journeys.0.definition.nodes: this is missing"),
        (lambda e: definition(e).pop("entryNode"), "journeys.0.definition.entryNode: this is missing"),
        (
            lambda e: definition(e)["entryNode"].update(type="StartNode"),
            "journeys.0.definition.entryNode.type: 'StartNode' is none of the entry nodes that are known; did you mean "
            "'EntryNode'? Known entry nodes: EntryNode, EventEntryNode.",
        ),
        (
            lambda e: definition(e)["entryNode"].update(child="m9"),
            "journeys.0.definition.entryNode.child: there is no node 'm9'",
        ),
        (
            lambda e: nodes(e)[0].update(type="MesageNode"),
            "journeys.0.definition.nodes.0.type: 'MesageNode' is none of the nodes that are known; did you mean "
            "'MessageNode'? Known nodes: DelayNode, ExperimentSplitNode, MessageNode, RandomCohortNode, RateLimitNode, "
            "SegmentSplitNode, WaitForNode.",
        ),
        (lambda e: nodes(e)[0].pop("child"), "journeys.0.definition.nodes.0.child: this is missing"),
        (
            lambda e: nodes(e)[0]["variant"].update(type="Pigeon"),
            "journeys.0.definition.nodes.0.variant.type: 'Pigeon' is none of the channels that are known; "
            "Known channels: Email, MobilePush, Sms, Webhook.",
        ),
        (
            lambda e: nodes(e)[1]["variant"].update(seconds="soon"),
            "journeys.0.definition.nodes.1.variant.seconds: there must be a number here, not 'soon'",
        ),
        (
            lambda e: nodes(e)[2]["variant"].update(trueChild="d1"),
            None,  # a loop that takes time is sound
        ),
        (
            lambda e: nodes(e)[2]["variant"].update(trueChild="s1"),
            "journeys.0.definition.nodes.2: as nodes.is_has_bought: the loop is_has_bought -> is_has_bought takes no "
            "time; put a wait into it (rule 24)",
        ),
        (
            lambda e: e["segments"][0]["definition"]["entryNode"].update(timesOperator=">"),
            "segments.0.definition.entryNode.timesOperator: '>' is none of the operators that are known; did you mean "
            "'>='? Known operators: <, =, >=.",
        ),
        (lambda e: e["segments"][0].pop("definition"), "segments.0.definition: this is missing"),
    ],
)
def test_a_fault_is_told_with_its_place(change, said):
    export = copy.deepcopy(WELCOME)
    change(export)
    if said is None:
        assert import_journeys(export, "dittofeed").journeys
    else:
        assert said in faults(export)


def test_all_faults_of_a_journey_are_told_at_once():
    export = copy.deepcopy(WELCOME)
    nodes(export)[0].pop("child")
    nodes(export)[1]["variant"].update(seconds=None)
    definition(export)["entryNode"].update(event=None)
    assert faults(export) == [
        "journeys.0.definition.nodes.0.child: this is missing",
        "journeys.0.definition.nodes.1.variant.seconds: this is missing",
        "journeys.0.definition.entryNode.event: this is missing",
    ]


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"hour": 24}, "24:30 is no time of day"),
        ({"minute": 61}, "9:61 is no time of day"),
        ({"hour": 9.5}, "there must be a whole number here, not 9.5"),
        ({"allowedDaysOfWeek": [7]}, "days of the week are 0 (Sunday) to 6 (Saturday)"),
        ({"defaultTimezone": "Europe/Warsow"}, "'Europe/Warsow' is no time zone; did you mean 'Europe/Warsaw'?"),
    ],
)
def test_a_local_time_that_is_none_is_refused(variant, said):
    export = copy.deepcopy(ONBOARDING)
    nodes(export)[0]["variant"].update(variant)
    assert any(said in one for one in faults(export))


def test_what_nobody_looked_at_is_left_out_aloud():
    export = copy.deepcopy(WELCOME)
    nodes(export)[0]["variant"]["sparkle"] = {"colour": "gold"}
    left = import_journeys(export, "dittofeed").losses.of(Verdict.left_out)
    assert [(one.place, one.element) for one in left] == [
        (("journeys", 0, "definition", "nodes", 0, "variant", "sparkle"), "setting 'sparkle'")
    ]


def test_values_with_all_kinds_of_quotes_stay_what_they_are():
    export = copy.deepcopy(ONBOARDING)
    value = 'it\'s "quoted" \\ and more'
    export["segments"][1]["definition"]["entryNode"]["operator"]["value"] = value
    (journey,) = import_journeys(export, "dittofeed").journeys
    log = EventLog.from_rows(
        [
            {"contact": "ada", "event": "attribute_changed", "occurred_at": at, "name": name, "value": to}
            for at, name, to in (
                ("2026-03-02T08:00Z", "plan", "trial"), ("2026-03-03T12:00Z", "activated", value)
            )
        ],
        contacts=[{"contact": "ada", "company": "Example Ltd", "plan": None, "activated": None}],
    )  # fmt: skip
    sends = replay(journey, log, until="2026-03-09T00:00Z").sends
    assert list(sends["message"]) == ["start", "tips"]


# The way there and back

SCHEMA = {  # the types of Dittofeed's open source, as far as journeys are made of them here
    "type": "object",
    "required": ["entryNode", "exitNode", "nodes"],
    "additionalProperties": False,
    "properties": {
        "entryNode": {
            "oneOf": [
                {
                    "required": ["type", "segment", "child"],
                    "properties": {
                        "type": {"const": "EntryNode"}, "segment": {"type": "string"}, "child": {"type": "string"},
                        "reEnter": {"type": "boolean"},
                    },
                    "additionalProperties": False,
                },
                {
                    "required": ["type", "event", "child"],
                    "properties": {
                        "type": {"const": "EventEntryNode"}, "event": {"type": "string"}, "child": {"type": "string"},
                        "key": {"type": "string"},
                    },
                    "additionalProperties": False,
                },
            ]
        },
        "exitNode": {"const": {"type": "ExitNode"}},
        "nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "type"],
                "oneOf": [
                    {
                        "properties": {"type": {"const": "DelayNode"}, "child": {"type": "string"}},
                        "required": ["variant", "child"],
                    },
                    {
                        "properties": {
                            "type": {"const": "WaitForNode"}, "timeoutSeconds": {"type": "number"},
                            "timeoutChild": {"type": "string"},
                            "segmentChildren": {
                                "items": {
                                    "required": ["id", "segmentId"], "additionalProperties": False,
                                    "properties": {"id": {"type": "string"}, "segmentId": {"type": "string"}},
                                }
                            },
                        },
                        "required": ["timeoutSeconds", "timeoutChild", "segmentChildren"],
                    },
                    {
                        "properties": {
                            "type": {"const": "SegmentSplitNode"},
                            "variant": {
                                "required": ["type", "segment", "trueChild", "falseChild"],
                                "properties": {"type": {"const": "Boolean"}},
                            },
                        },
                        "required": ["variant"],
                    },
                    {
                        "properties": {
                            "type": {"const": "RandomCohortNode"},
                            "children": {"items": {"required": ["id", "percent", "name"]}, "minItems": 1},
                        },
                        "required": ["children"],
                    },
                    {
                        "properties": {
                            "type": {"const": "MessageNode"},
                            "variant": {
                                "required": ["type", "templateId"],
                                "properties": {"type": {"enum": ["Email", "Webhook"]}},
                            },
                        },
                        "required": ["variant", "child"],
                    },
                ],
            },
        },
    },
}  # fmt: skip

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bob", "cyd", "dan"]),
        st.sampled_from(["signup", "visit", "purchase"]),
        st.integers(0, 20 * 24),
        st.sampled_from(["PL", "DE"]),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=20,
)


@st.composite
def sayable(draw):
    """A journey that Dittofeed can say but for what differs by its table: no waits for what happened before."""
    condition = st.sampled_from(
        [
            'did("purchase")', 'not did("visit")', 'count("visit", "3d") >= 2', 'count("purchase") < 1',
            'last("purchase.amount") >= 50', 'did("visit", where="country == \'PL\'")', 'last("visit.country") == "PL"',
            'did("purchase") and not did("visit", "7d")', 'count("visit") >= 1 or last("purchase.amount") < 10',
            'did("visit", where="country in [\'PL\', \'DE\']")', "segment(\"keen\") >= 0.5",
        ]
    )  # fmt: skip
    n = draw(st.integers(1, 5))
    made = {}
    for i in range(n):
        onward = f"n{i + 1}" if i + 1 < n else "done"
        other = draw(st.sampled_from([f"n{j}" for j in range(i + 1, n)] + ["done"]))
        kind = draw(st.sampled_from(["send", "wait", "decide", "wait_for"]))
        if kind == "send":
            made[f"n{i}"] = Send(send=f"mail_{i}", next=onward)
        elif kind == "wait":
            made[f"n{i}"] = Wait(wait=draw(st.sampled_from(["1h", "90m", "2d", "36h"])), next=onward)
        elif kind == "decide":
            clauses = [{"if": draw(condition), "go": other} for _ in range(draw(st.integers(1, 2)))]
            made[f"n{i}"] = Decide.model_validate({"decide": clauses, "else": onward})
        else:
            what = draw(st.sampled_from(['event("download")', 'event("download", where="country == \'PL\'")']))
            data = {"wait_for": what, "within": "2d", "then": other, "else": onward}
            made[f"n{i}"] = WaitFor.model_validate(data)
    made["done"] = Exit(exit="finished")
    trigger = draw(
        st.sampled_from(
            [Trigger(event="signup"), Trigger(event="signup", where='country == "PL"', reentry="after_exit")]
        )
    )
    whole = Journey(journey="made", trigger=trigger, nodes=made, segments={"keen": 'count("visit", "5d") >= 2'})
    reached, waiting = set(), [whole.first]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [target for _, target, _ in made[name].branches()]
    return whole.model_copy(update={"nodes": {name: node for name, node in made.items() if name in reached}})


@settings(max_examples=60, deadline=None)
@given(journey=sayable(), events=EVENTS)
def test_a_journey_that_goes_there_and_comes_back_sends_the_same(journey, events):
    data = export_journey(journey, "dittofeed").data
    jsonschema.validate(data["journeys"][0]["definition"], SCHEMA)
    back = import_journeys(data, "dittofeed").journeys[0]
    rows = [
        {
            "contact": contact, "event": event, "country": country, "amount": amount,
            "occurred_at": f"2026-03-{1 + hour // 24:02d}T{hour % 24:02d}:00Z",
        }
        for contact, event, hour, country, amount in events
    ]  # fmt: skip
    rows += [{"contact": "eve", "event": one, "occurred_at": "2026-03-01T00:00Z", "country": "GB", "amount": 1}
             for one in ("visit", "purchase", "download")]  # fmt: skip
    log = EventLog.from_rows(rows)
    until = "2026-04-20T00:00Z"
    assert _sends(replay(journey, log, until=until)) == _sends(replay(back, log, until=until))


def _sends(replayed):
    sends = replayed.sends
    return sorted(zip(sends["contact"], sends["message"], sends["decided_at"].astype(str), strict=True))


def test_arms_of_a_split_go_there_with_their_shares():
    journey = Journey(
        journey="test",
        trigger=Trigger(event="signup"),
        nodes={
            "arms": Split(split={"a": "60%", "b": "40%"}),
            "a": Send(send="short", next="done"),
            "b": Send(send="long", next="done"),
            "done": Exit(exit="finished"),
        },
    )
    made = export_journey(journey, "dittofeed")
    cohort = made.data["journeys"][0]["definition"]["nodes"][0]
    assert cohort["children"] == [{"id": "a", "name": "a", "percent": 60.0}, {"id": "b", "name": "b", "percent": 40.0}]
    back = import_journeys(made.data, "dittofeed").journeys[0]
    assert {str(share) for share in back.nodes["cohort"].split.values()} == {"3/5", "2/5"}


def test_what_it_cannot_have_is_told_all_at_once_and_what_it_does_not_have_is_left_out_aloud():
    journey = Journey.from_data(
        {
            "journey": "much", "timezone": "Europe/Warsaw", "trigger": {"date": "birthday"},
            "exit_when": [{"event": "purchase", "goal": True}], "quiet_hours": {"from": "21:00", "to": "08:00"},
            "cap": {"sends": 3, "within": "7d"}, "holdout": "5%",
            "nodes": {
                "ask": {"decide": [{"if": 'sum("purchase.amount") > 3', "go": "mail"}], "else": "done"},
                "mail": {"send": "a", "at": "best", "next": "done"},
                "done": {"exit": "finished"},
            },
        }
    )  # fmt: skip
    with pytest.raises(DefinitionError) as refused:
        export_journey(journey, "dittofeed")
    assert [str(one) for one in refused.value.faults] == [
        "much: trigger.date: Dittofeed cannot have this: a journey that begins at a date",
        'much: nodes.ask: Dittofeed cannot have this: no segment of it asks this: sum("purchase.amount") > 3',
    ]
    nodes = {"mail": {"send": "a", "at": "best", "next": "done"}, "done": {"exit": "finished"}}
    fewer = Journey.from_data(journey.data() | {"trigger": {"event": "signup"}, "nodes": nodes})
    losses = export_journey(fewer, "dittofeed").losses
    assert [one.element for one in losses.of(Verdict.left_out)] == ["exit_when", "quiet_hours", "cap", "holdout"]
    assert "send a" in [one.element for one in losses.of(Verdict.approximated)]

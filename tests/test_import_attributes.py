"""Attributes that stand for what an export names: of each thing another one, and of the same thing the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab.importers import Verdict, import_journeys
from journeylab.importers.draft import Draft
from journeylab.importers.export import Export

LABELS = st.text("ab -_é", min_size=1, max_size=5)


def draft(folds=False):
    export = Export({"name": "x"})
    return Draft(export, (), "x", export.top, folds=folds)


@given(st.lists(st.tuples(st.sampled_from(["field", "segment", "filter"]), LABELS), min_size=1, max_size=12))
def test_two_things_never_share_an_attribute_and_one_thing_has_one(asked):
    of = draft()

    def attribute(kind, label):
        part = of.export.top
        if kind == "field":
            return of.attribute(label, part)
        return of.flag_of(label, part, "a") if kind == "segment" else of.flag_of_filter(label, part, "no reason")

    found = {one: attribute(*one) for one in asked}
    assert len(set(found.values())) == len(found)
    assert {one: attribute(*one) for one in asked} == found
    assert {name for (_, label), name in found.items() if name != label} <= {one.becomes[0] for one in of.outcomes}


def test_names_that_differ_by_case_are_one_field_only_where_the_system_says_so():
    of = draft(folds=True)
    assert [of.attribute("Plan"), of.attribute("plan"), of.attribute("PLAN")] == ["plan"] * 3
    of = draft()
    assert [of.attribute("Plan"), of.attribute("plan"), of.attribute("PLAN")] == ["plan", "plan_2", "plan_3"]


@pytest.mark.parametrize("second", ["Big spenders!", "big-spenders"])
def test_two_segments_of_like_names_are_asked_apart(second):
    export = {
        "name": "Sale",
        "definition": {
            "entryNode": {"type": "EventEntryNode", "event": "signup", "child": "one"},
            "exitNode": {"type": "ExitNode"},
            "nodes": [
                {"id": "one", "type": "SegmentSplitNode", "name": "First",
                 "variant": {"type": "Boolean", "segment": "Big spenders", "trueChild": "mail", "falseChild": "two"}},
                {"id": "two", "type": "SegmentSplitNode", "name": "Second",
                 "variant": {"type": "Boolean", "segment": second, "trueChild": "mail", "falseChild": "ExitNode"}},
                {"id": "mail", "type": "MessageNode", "name": "Sale", "child": "ExitNode",
                 "variant": {"type": "Email", "templateId": "t1"}},
            ],
        },
    }  # fmt: skip
    made = import_journeys(export, "dittofeed")
    (journey,) = made.journeys
    assert {one.condition for one in journey.segments.values()} == {"segment_big_spenders", "segment_big_spenders_2"}
    assert any("flag attribute segment_big_spenders_2" in one.note for one in made.losses.of(Verdict.approximated))

"""Braze: what is wrong with the details of a Canvas is told with its place."""

import copy
import json

import pytest

from importing import EXPORTS
from journeylab.errors import DefinitionError
from journeylab.importers import Verdict, import_journeys

DECISION = json.loads((EXPORTS / "braze" / "decision.json").read_text(encoding="utf-8"))
VARIANTS = json.loads((EXPORTS / "braze" / "variants.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.pop("name"), "name: this is missing"),
        (lambda e: e.pop("steps"), "steps: this is missing"),
        (lambda e: e.pop("variants"), "variants: this is missing"),
        (lambda e: e.update(variants=[]), "variants: a Canvas has at least one variant"),
        (lambda e: e.update(steps="none"), "steps: there must be a list here, not 'none'"),
        (lambda e: e["steps"].append(3), "steps.3: there must be an object here, not 3"),
        (lambda e: e["steps"][0].pop("id"), "steps.0.id: this is missing"),
        (lambda e: e["steps"][0].update(next_paths={}), "steps.0.next_paths: there must be a list here, not an object"),
        (
            lambda e: e["steps"][0]["next_paths"][0].update(next_step_id="s9"),
            "steps.0.next_paths: there is no step 's9'",
        ),
        (lambda e: e["variants"][0].update(first_step_ids=["s9"]), "variants.0.first_step_ids: there is no step 's9'"),
        (
            lambda e: e["steps"][1].update(next_step_ids=[{}]),
            "steps.1.next_step_ids.0: there must be a text or a number here, not an object",
        ),
        (
            lambda e: e["steps"][1]["messages"].update(m={"channel": 4}),
            None,  # ids and names are numbers in some exports
        ),
        (
            lambda e: e["steps"][1].update(next_paths=[{"name": "null", "next_step_id": "s1"}]),
            "the loop",
        ),
    ],
)
def test_a_fault_is_told_with_its_place(change, said):
    export = copy.deepcopy(DECISION)
    change(export)
    if said is None:
        assert import_journeys(export, "braze").journeys
        return
    with pytest.raises(DefinitionError) as refused:
        import_journeys(export, "braze")
    assert any(said in str(fault) for fault in refused.value.faults)


def test_types_are_told_by_their_letters():
    for written in ("decision_split", "Decision Split", "DECISION-SPLIT", "decisionSplit", "Decision split step"):
        export = copy.deepcopy(DECISION)
        export["steps"][0]["type"] = written
        elements = [one.element for one in import_journeys(export, "braze").losses.outcomes]
        assert "Decision Split 'Has paid'" in elements


def test_shares_of_variants_that_are_not_in_the_export_are_equal_and_said_so():
    made = import_journeys(VARIANTS, "braze")
    shares = made.journeys[0].nodes["variants"].split
    assert [round(float(one), 5) for one in shares.values()] == [0.33333, 0.33333, 0.33333]
    assert sum(shares.values()) == 1
    assert "variants" in [one.element for one in made.losses.of(Verdict.approximated)]

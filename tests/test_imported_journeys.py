"""Journeys of other systems: each export of `journeyexports` becomes sound journeys that do what is expected."""

import pytest

from importing import EXPORTS, PAGE, exports, imported, loss_report, losses_file, page, results
from journeylab.importers.outcomes import Verdict
from journeylab.importers.systems import BUILT_IN, system_of
from journeylab.journeyfile import read

ALL = [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in exports()]


@pytest.mark.parametrize("path", ALL)
def test_an_export_becomes_journeys_that_do_what_is_expected(path, tmp_path):
    wrong = [f"{one.case.text}: {problem}" for one in results(path, tmp_path) for problem in one.problems]
    assert not wrong


@pytest.mark.parametrize("path", ALL)
def test_its_loss_report_is_the_one_that_was_read(path):
    assert loss_report(imported(path)) == losses_file(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ALL)
def test_what_was_converted_is_a_file_of_sound_journeys_with_comments(path, tmp_path):
    made = imported(path)
    made.save(tmp_path / "journeys.yaml")
    assert list(read(tmp_path / "journeys.yaml").journeys) == list(made.journeys)
    text = (tmp_path / "journeys.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# Made of {path.name} ({path.parent.name})")
    assert ("# left out:" in text) == bool(made.losses.of(Verdict.left_out))


@pytest.mark.parametrize("system", BUILT_IN)
def test_there_are_ten_exports_of_each_system_and_each_node_type_is_in_one(system):
    paths = exports(system)
    elements = [one.element for path in paths for one in imported(path).losses.outcomes]
    unseen = [
        one.name
        for one in system_of(system).node_types
        if not any(element == one.name or element.startswith(f"{one.name} ") for element in elements)
    ]
    assert unseen == []
    assert len(paths) >= 10


def test_the_page_lists_what_becomes_of_each_node_type():
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "cd tests && python -m importing page"


def test_every_folder_of_exports_is_of_a_system():
    assert {path.name for path in EXPORTS.iterdir()} == {*BUILT_IN}

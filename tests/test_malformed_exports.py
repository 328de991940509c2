"""Exports with faults: whatever is wrong with one is told with its place, and nothing else happens."""

import copy
import json
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importing import exports
from journeylab.errors import DataError, DefinitionError
from journeylab.importers import import_journeys
from journeylab.importers.systems import BUILT_IN

ODD = [None, True, -1, 0, 10**12, 0.5, "", "nowhere", "-5", "NaN", [], {}, [None], [[]], {"type": "nothing"}, "x" * 500]


def places(data, path=()):
    """The places of all values in plain data."""
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(data, path, value, remove):
    """The data with the value at a place changed, or gone."""
    if not path:
        return value
    made = copy.deepcopy(data)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = copy.deepcopy(value)
    return made


def samples(system):
    return [json.loads(path.read_text(encoding="utf-8")) for path in exports(system) if path.suffix == ".json"]


@st.composite
def damaged(draw, system):
    """An export of which a few values are others: gone, odd, or those from another place of it."""
    data = draw(st.sampled_from(samples(system)))
    for _ in range(draw(st.integers(1, 3))):
        everywhere = list(places(data))
        path = draw(st.sampled_from(everywhere))
        other = data
        for key in draw(st.sampled_from(everywhere)):
            other = other[key]
        value = draw(st.sampled_from([*ODD, other]))
        data = changed(data, path, value, draw(st.booleans()))
    return data


@pytest.mark.parametrize("system", BUILT_IN)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_export_is_read_or_refused_with_a_place(system, data):
    export = data.draw(damaged(system))
    if not isinstance(export, dict):
        return
    faults = ()
    try:
        made = import_journeys(export, system)
    except DefinitionError as problem:
        faults = problem.faults
    assert all(fault.message and fault.source for fault in faults)
    assert faults or made.text()


@pytest.mark.parametrize("system", BUILT_IN)
@pytest.mark.parametrize(
    "export", [{}, {"name": "x"}, {"name": None}, {"type": 3}], ids=["empty", "name", "null", "type"]
)
def test_what_is_no_export_is_refused(system, export):
    with pytest.raises(DefinitionError):
        import_journeys(export, system)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", b"", "it is no JSON"),
        ("a.json", b"\xff\xfe", "it is no JSON: it is no UTF-8 text"),
        ("a.json", b"[" * 5000, "nested more than 100 levels deep"),
        ("a.json", b'{"name": NaN}', "NaN is no JSON"),
        ("a.json", b"[]", "there must be an object here, not a list"),
        ("a.yaml", b"name: x\n", "it is no JSON"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_its_name(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text)
    with pytest.raises(DefinitionError) as refused:
        import_journeys(path, "dittofeed")
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DefinitionError, match="cannot be read: No such file"):
        import_journeys(tmp_path / "none.json", "dittofeed")
    with pytest.raises(DefinitionError, match="cannot be read: Is a directory"):
        import_journeys(tmp_path, "dittofeed")


def test_an_archive_without_an_export_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DefinitionError, match="there is no JSON file in this archive"):
        import_journeys(path, "dittofeed")


def test_a_broken_archive_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", "{}" * 500)
    whole = path.read_bytes()
    path.write_bytes(whole[:36] + b"\xff\xff\xff" + whole[39:])
    with pytest.raises(DefinitionError, match="the archive cannot be unpacked"):
        import_journeys(path, "dittofeed")


def test_a_file_of_an_archive_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("campaign.json", "{}{}")
    with pytest.raises(DefinitionError, match=r"campaign\.json: it is no JSON"):
        import_journeys(path, "dittofeed")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b" " * (51 * 2**20))
    with pytest.raises(DefinitionError, match="unpacks to more than 50 MB"):
        import_journeys(path, "dittofeed")


def test_an_unknown_system_and_zone_name_what_there_is():
    with pytest.raises(DataError, match="did you mean 'hubspot'"):
        import_journeys({}, "hubsopt")
    with pytest.raises(DataError, match="did you mean 'Europe/Warsaw'"):
        import_journeys({}, "hubspot", timezone="Europe/Warsow")

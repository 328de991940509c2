"""Journey files: what is read, what is refused and where, what is written, and the published schema."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from journeylab import schema
from journeylab.errors import DefinitionError
from journeylab.journey import Journey
from journeylab.journeyfile import read, save
from journeylab.journeytext import plain_text
from journeylab.yamltext import yaml_text

TRIAL = """\
# Owned by the growth team.
journey: trial_welcome
title: Welcome for new trial accounts
purpose: marketing
timezone: Europe/Warsaw
trigger:
  event: signup
  where: plan == "trial" and country in ["PL", "DE"]
  reentry: never
exit_when:
  - {event: purchase, goal: true}
  - {event: account_closed}
quiet_hours: {from: "21:00", to: "08:00"}
cap: {sends: 3, within: 7d}
holdout: 5%
nodes:
  # the first message
  hello:      {send: welcome_1, at: best, next: read}
  read:       {wait_for: opened(hello), within: 3d, then: offer, else: pause}   # three days
  offer:      {split: {discount: 40%, free_month: 40%, plain: 20%}}   # each arm is a node
  discount:
    send: offer_discount
    at: {between: ["09:00", "17:00"], days: [mon, tue, wed, thu, fri]}
    next: value
  free_month: {send: offer_free_month, next: value}
  plain:      {send: offer_plain, next: value}

  # who is worth it
  value:
    decide:
      - if: sum("purchase.amount", "90d") >= 500
        go: vip
      # those who are nearly gone
      - if: segment("dormant") >= 0.6
        go: pause
    else: done
  vip:        {run: vip_care, next: done}
  pause:      {wait: 4d, next: nudge}
  nudge:      {send: reminder, skipped: done, next: done}
  done:       {exit: finished}
segments:
  dormant:
    weights:
      - {when: 'since("visit") > "30d"', weight: 2.0}
      - {when: 'not did("opened", "60d")', weight: 1.5}
    bias: -2
"""
VIP = """\
journey: vip_care
trigger: {event: became_vip}
nodes:
  letter: {send: vip_letter, next: done}
  done: {exit: finished}
"""
SHORT = "journey: short\ntrigger: {event: signup}\nnodes:\n  done: {exit: finished}\n"


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    (tmp_path / "vip_care.yaml").write_text(VIP)
    path = tmp_path / "trial_welcome.yaml"
    path.write_text(TRIAL)
    return path


def refused(path: Path) -> str:
    """What is said of a bad file, each fault as `line:column: path: message`."""
    with pytest.raises(DefinitionError) as caught:
        read(path)
    return str(caught.value).replace(f"{path}:", "")


def written(tmp_path: Path, text: str, name: str = "journey.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def with_nodes(nodes: str) -> str:
    return f"journey: short\ntrigger: {{event: signup}}\nnodes:\n{nodes}"


def test_a_file_is_read_with_the_part_beside_it(trial: Path) -> None:
    journey = Journey.read(trial)
    assert list(journey.nodes)[:3] == ["hello", "read", "offer"]
    assert journey.parts["vip_care"].nodes["letter"].data() == {"send": "vip_letter", "next": "done"}


def test_json_says_the_same_as_yaml(trial: Path) -> None:
    journey = Journey.read(trial)
    journey.save(trial.with_suffix(".json"))
    assert Journey.read(trial.with_suffix(".json")) == journey


def test_a_file_may_hold_several_journeys_their_segments_and_a_policy(tmp_path: Path) -> None:
    parent = """
  - journey: first
    trigger: {segment: keen, every: 1w}
    nodes: {care: {run: second, next: done}, done: {exit: finished}}
"""
    child = "  - " + SHORT.replace("short", "second").replace("\n", "\n    ").rstrip() + "\n"
    text = f"journeys:{parent}{child}segments: {{keen: paid}}\npolicy: {{cap: {{sends: 2, within: 1d}}}}\n"
    portfolio = read(written(tmp_path, text))
    assert [one.journey for one in portfolio.journeys] == ["first", "second"]
    assert portfolio.one("first").parts["second"] == portfolio.one("second")
    assert list(portfolio.one("first").known_segments) == ["keen"]
    assert portfolio.policy.data() == {"cap": {"sends": 2, "within": "1d"}}


def test_a_unit_is_kept_in_files(tmp_path: Path) -> None:
    path = written(tmp_path, SHORT.replace("nodes:", "unit: household # who lives together\nnodes:"))
    journey = Journey.read(path)
    assert journey.unit == "household"
    assert Journey.from_data(journey.data()) == journey
    save(journey.model_copy(update={"unit": "account"}), path)
    assert "unit: account # who lives together\n" in path.read_text()
    save(journey.model_copy(update={"unit": "contact"}), path)
    assert "unit" not in Journey.read(path).data()


def test_the_holdout_of_a_policy_is_kept_in_files(tmp_path: Path) -> None:
    text = "journeys:\n  - " + SHORT.replace("\n", "\n    ").rstrip() + "\npolicy: {holdout: 2.5%, salt: q3}\n"
    assert read(written(tmp_path, text)).policy.data() == {"holdout": "2.5%", "salt": "q3"}


def test_a_file_may_hold_several_documents(tmp_path: Path) -> None:
    portfolio = read(written(tmp_path, f"{SHORT}---\n{VIP}"))
    assert [one.journey for one in portfolio.journeys] == ["short", "vip_care"]


def test_windows_line_ends_and_a_byte_order_mark_are_read_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "journey.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SHORT.replace("\n", "\r\n").encode())
    journey = Journey.read(path)
    save(journey.model_copy(update={"priority": 2}), path)
    text = SHORT.replace("nodes:", "priority: 2\nnodes:")
    assert path.read_bytes() == b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


def test_all_faults_are_named_at_once_with_their_places(tmp_path: Path) -> None:
    text = """\
journey: bad
titel: Oops
trigger: {event: signup, reentry: sometimes}
holdout: 120%
nodes:
  hello: {send: 1, next: red}
  read: {wait_for: opened(helo), within: 3, then: done, else: done}
  pause: {wiat: 3d, next: done}
  share: {split: {done: 40%, read: 50%}}
  ask: {decide: [{if: plan = 1, go: done}], else: done}
  hello: {exit: twice}
  done: {exit: finished}
"""
    assert refused(written(tmp_path, text)).splitlines() == [
        "2:1: titel: a journey has no 'titel'; did you mean 'title'? Known keys: cap, description, exit_when, holdout,"
        " journey, layout, max_visits, nodes, priority, purpose, quiet_hours, segments and 5 more.",
        "3:10: trigger: reentry is never, after_exit, always or a duration such as 30d, got 'sometimes'",
        "4:10: holdout: a share lies between 0% and 100%, got '120%'",
        "6:17: nodes.hello.send: send is a text, not 1",
        '7:42: nodes.read.within: a duration needs a unit, got \'3\'; write "3d", "12h", "90m", "45s" or "2w"',
        "8:10: nodes.pause: a node needs a verb; did you mean 'wait'? Known verbs: call, decide, emit, exit, run, send,"
        " set, split, wait, wait_for, wait_until.",
        "9:10: nodes.share: the shares add up to 90%, not 100% (rule 22)",
        "10:23: nodes.ask.decide.0.if: '=' is not used in conditions; equality is written == (at character 6)",
        "11:3: nodes.hello: 'hello' is here twice, first on line 6; keep one",
    ]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("{send: x}", "4:6: nodes.a.next: send needs `next`"),
        ("{send: x, wait: 1d, next: a}", "a node has one verb, not both send and wait"),
        (
            "{send: x, next: a, at: bst}",
            'at is best, {best: MODEL}, or a window such as {between: ["09:00", "17:00"]}; got \'bst\'',
        ),
        ("{send: x, next: a, at: {between: [9, 10]}}", "9 is no local time"),
        ("{send: x, next: a, at: {between: ['9:00']}}", "between is two local times"),
        ("{send: x, next: a, at: {between: ['09:00', '10:00'], days: [mo]}}", "not 'mo'"),
        ("{send: x, next: a, when_capped: later}", "when_capped is wait or skip, not 'later'"),
        ("{send: x, next: a, at: {within: 1d}}", "nodes.a.at.best: at needs `best`"),
        ("{send: x, next: a, at: {bset: m}}", "nodes.a.at.bset: at has no 'bset'; did you mean 'best'?"),
        ("{send: x, next: a, at: {best: m, explor: 5%}}", "at has no 'explor'; did you mean 'explore'?"),
        ("{send: x, next: a, at: {best: m, explore: 101%}}", "a share lies between 0% and 100%, got '101%'"),
        ("{send: x, next: a, at: {best: m, within: 8d}}", "within is 8d: scores are of the hours of one week"),
        ("{send: x, next: a, at: {best: m, within: 3d}}", "longer than the send's expires, 2d: what is held longer"),
        ("{send: x, next: a, at: {best: m, days: []}}", "a window needs at least one day"),
        ("{send: x, next: a, at: {best: m, between: ['09:00', '09:00']}}", "from 09:00 to 09:00 is empty"),
        ("{send: x, next: [a]}", "next is a text, not a list of 1"),
        ("{wait: 1 month, next: a}", "months and years have no fixed length"),
        ("{wait_for: x, within: 1d, else: a}", "wait_for needs `then`"),
        ("{wait_for: [{await: x}], within: 1d, else: a}", "nodes.a.wait_for.0.go: wait_for needs `go`"),
        ("{wait_for: {x: 1}, within: 1d, else: a}", "wait_for is what is awaited, or a list of {await, go}"),
        ("{decide: [], else: a}", "decide is a list of {if, go}; nothing is listed here"),
        ("{decide: [{condition: b, go: a}], otherwise: a}", "decide has no 'otherwise'"),
        ("{set: {x: [1]}, next: a}", "not a list of 1"),
        ("3", "a node is a mapping with one verb"),
    ],
)
def test_a_fault_of_form_is_said_in_words(tmp_path: Path, node: str, said: str) -> None:
    text = refused(written(tmp_path, with_nodes(f"  a: {node}\n")))
    assert said in text
    assert "Input should" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no journey in this file"),
        ("- 1\n", "1:1: a journey file begins with `journey: NAME`"),
        ("journeys: 3\n", "journeys is a list of journeys"),
        ("journey: a\n  b: c\n", "2:4: no YAML: mapping values are not allowed here"),
        ("journey: [\n", "no YAML"),
        ("journey: \x01\n", "no YAML"),
        ("[" * 1000, "nested too deeply"),
        (SHORT + "priority: yes\n", "5:11: priority: yes means a flag to some YAML readers; write true or false"),
        (with_nodes("  on: {exit: x}\n"), "4:3: nodes.on: the key on means something else to some YAML readers"),
        (SHORT + "priority:\n", "there is no value here"),
        (SHORT + "priority: 010\n", "010 is no plain number"),
        (SHORT + "priority: !!python/name:os.system x\n", "is not used in journey files"),
        (with_nodes("  a: &a {exit: x}\n  b: *a\n"), "anchors and aliases are not used"),
        (SHORT + f"---\n{SHORT}", "two journeys are named 'short'"),
        ("journeys: []\nsegment: x\n", "2:1: segment: beside `journeys` there is no 'segment'"),
    ],
)  # fmt: skip
def test_what_is_no_journey_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(written(tmp_path, text))


@pytest.mark.parametrize(("text", "said"), [('{"journey": ', "1:13: no JSON"), ("journey: x", "1:1: no JSON")])
def test_json_files_hold_json(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(written(tmp_path, text, "journey.json"))


def test_a_file_that_is_not_there_is_told_with_its_neighbours(trial: Path) -> None:
    assert "did you mean 'trial_welcome.yaml'?" in refused(trial.with_name("trial_welcom.yaml"))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journey.yaml"
    path.write_bytes(SHORT.encode() + b"title: Gr\xfc\xdfe\n")
    assert refused(path) == "5: a journey file is UTF-8 text, and this is not"


def test_unquoted_times_are_texts(tmp_path: Path) -> None:
    path = written(tmp_path, SHORT + "quiet_hours: {from: 21:00, to: 08:00}\n")
    assert Journey.read(path).data()["quiet_hours"] == {"from": "21:00", "to": "08:00"}


@pytest.mark.parametrize("mark", [">", ">-", "|", "|-", ">+"])
def test_texts_in_blocks_are_those_that_another_reader_reads(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "hello.yaml"
    text = f"journey: hello\ntrigger: {{event: a}}\nnodes: {{done: {{exit: finished}}}}\ntitle: {mark}\n"
    text += "  Some words\n  and more\n\n  a new line\n    indented\n"
    path.write_text(text)
    assert Journey.read(path).title == YAML(typ="safe", pure=True).load(text)["title"]


def test_escaped_pairs_in_json_are_one_character(tmp_path: Path) -> None:
    data = {**Journey.read(written(tmp_path, SHORT)).data(), "title": "Hi \U0001f600"}
    assert Journey.read(written(tmp_path, json.dumps(data), "journey.json")).title == "Hi \U0001f600"


def test_a_part_that_is_not_there_is_told_with_what_there_is(trial: Path) -> None:
    trial.write_text(TRIAL.replace("run: vip_care", "run: vip_car"))
    assert (
        "nodes.vip.run: no journey 'vip_car' in this file or in vip_car.yaml beside it; did you mean 'vip_care'?"
        in (refused(trial))
    )


def test_the_faults_of_a_part_are_told_once_where_it_is_written(trial: Path) -> None:
    (trial.parent / "vip_care.yaml").write_text(VIP.replace("next: done", "next: don"))
    with pytest.raises(DefinitionError) as caught:
        read(trial)
    [fault] = caught.value.faults
    assert (Path(fault.source or "").name, fault.line, fault.path) == ("vip_care.yaml", 4, ("nodes", "letter", "next"))


def test_parts_that_run_each_other_are_refused(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        nodes = f"nodes: {{a: {{run: {other}, next: done}}, done: {{exit: x}}}}"
        written(tmp_path, f"journey: {name}\ntrigger: {{event: e}}\n{nodes}\n", f"{name}.yaml")
    assert "a journey cannot be a part of itself: one -> two -> one" in refused(tmp_path / "one.yaml")


def test_faults_of_shared_segments_are_told(tmp_path: Path) -> None:
    listed = "journeys:\n  - " + SHORT.replace("\n", "\n    ").rstrip()
    text = f"{listed}\nsegments: {{keen: 'opened(hello)', gone: 'segment(\"gon\") > 1'}}\n"
    assert "segments.keen: a segment knows no nodes" in refused(written(tmp_path, text))
    assert "segments.gone: no segment 'gon'; did you mean 'gone'?" in refused(written(tmp_path, text))


# What changes in a definition, and the lines of its file that change: those that go (-) and those that come (+).
def change(*path: str | int, to: Any = None, drop: bool = False) -> Callable[[dict[str, Any]], None]:
    def apply(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        if drop:
            del data[path[-1]]
        elif isinstance(data, list) and path[-1] == len(data):
            data.append(to)
        else:
            data[path[-1]] = to

    return apply


EDITS = [
    (
        change("nodes", "read", "within", to="5d"),
        "-  read:       {wait_for: opened(hello), within: 3d, then: offer, else: pause}   # three days\n"
        "+  read:       {wait_for: opened(hello), within: 5d, then: offer, else: pause}   # three days\n",
    ),
    (change("holdout", drop=True), "-holdout: 5%\n"),
    (change("priority", to=3), "+priority: 3\n"),
    (change("exit_when", 2, to={"event": "order placed"}), "+  - {event: order placed}\n"),
    (change("exit_when", 0, drop=True), "-  - {event: purchase, goal: true}\n"),
    (
        change("nodes", "offer", "split", to={"plain": "50%", "discount": "50%"}),
        "-  offer:      {split: {discount: 40%, free_month: 40%, plain: 20%}}   # each arm is a node\n"
        "+  offer:      {split: {discount: 50%, plain: 50%}}   # each arm is a node\n",
    ),
    (
        change("nodes", "value", "decide", 1, drop=True),
        '-      # those who are nearly gone\n-      - if: segment("dormant") >= 0.6\n-        go: pause\n',
    ),
    (
        change("nodes", "value", "decide", 2, to={"if": "paid", "go": "done"}),
        "+      - if: paid\n+        go: done\n",
    ),
    (
        change("nodes", "discount", "at", to="best"),
        '-    at: {between: ["09:00", "17:00"], days: [mon, tue, wed, thu, fri]}\n+    at: best\n',
    ),
    (change("nodes", "later", to={"wait": "1d", "next": "done"}), "+  later: {wait: 1d, next: done}\n"),
    (
        change("quiet_hours", "from", to="22:00"),
        '-quiet_hours: {from: "21:00", to: "08:00"}\n+quiet_hours: {from: "22:00", to: "08:00"}\n',
    ),
    (change("segments", "dormant", "bias", to=-3.5), "-    bias: -2\n+    bias: -3.5\n"),
    (
        change("segments", "dormant", "weights", 0, "when", to="it == 's'"),
        """-      - {when: 'since("visit") > "30d"', weight: 2.0}\n+      - {when: 'it == ''s''', weight: 2.0}\n""",
    ),
    (
        change("segments", "dormant", to="paid"),
        "-  dormant:\n-    weights:\n"
        """-      - {when: 'since("visit") > "30d"', weight: 2.0}\n"""
        """-      - {when: 'not did("opened", "60d")', weight: 1.5}\n"""
        "-    bias: -2\n+  dormant: paid\n",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "lines"), EDITS)
def test_saving_changes_only_the_lines_that_differ(trial: Path, edit: Callable[[Any], None], lines: str) -> None:
    data = Journey.read(trial).data()
    edit(data)
    Journey.from_data(data).save(trial)
    before, after = TRIAL.splitlines(), trial.read_text().splitlines()
    gone = [f"-{line}\n" for line in before if line not in after]
    come = [f"+{line}\n" for line in after if line not in before]
    assert sorted(gone + come) == sorted(lines.splitlines(keepends=True))
    assert [line for line in before if line in after] == [line for line in after if line in before]


def test_saving_what_did_not_change_leaves_the_file_alone(trial: Path) -> None:
    text = TRIAL.replace("7d", "1w").replace("5%", "0.05").replace("holdout", "priority: 0\nholdout")
    trial.write_text(text)
    Journey.read(trial).save(trial)
    assert trial.read_text() == text


def test_saving_keeps_comments_with_the_nodes_they_stand_above(trial: Path) -> None:
    data = Journey.read(trial).data()
    names = [*list(data["nodes"])[1:], "hello"]
    Journey.from_data({**data, "start": "hello", "nodes": {name: data["nodes"][name] for name in names}}).save(trial)
    text = trial.read_text()
    assert "  # the first message\n  hello: " in text
    assert "  # who is worth it\n  value:\n" in text
    assert list(Journey.read(trial).nodes) == names


def test_saving_changes_one_of_several_journeys(tmp_path: Path) -> None:
    text = f"{SHORT}---\n{VIP}"
    path = written(tmp_path, text)
    data = read(path).one("vip_care").data()
    data["nodes"]["letter"]["send"] = "card"
    Journey.from_data(data).save(path)
    assert path.read_text() == text.replace("vip_letter", "card")


def test_saving_json_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    data = {"nodes": {"done": {"exit": "x"}}, "trigger": {"event": "e"}, "journey": "short"}
    path = written(tmp_path, json.dumps(data), "short.json")
    save(Journey.read(path).model_copy(update={"priority": 2}), path)
    assert json.loads(path.read_text()) == {**data, "priority": 2}
    assert list(json.loads(path.read_text())) == [*data, "priority"]


@pytest.mark.parametrize("text", [VIP, SHORT + "nope: 1\n"])
def test_a_file_of_something_else_is_not_written_over(tmp_path: Path, text: str) -> None:
    journey = Journey.read(written(tmp_path, SHORT, "short.yaml"))
    path = written(tmp_path, text, "other.yaml")
    with pytest.raises(DefinitionError, match="not written over"):
        journey.save(path)
    assert path.read_text() == text


def test_a_new_file_has_the_layout_of_the_documentation(trial: Path) -> None:
    text = plain_text(Journey.read(trial))
    assert '  where: plan == "trial" and country in ["PL", "DE"]\n' in text
    assert "  read: {wait_for: opened(hello), within: 3d, then: offer, else: pause}\n" in text
    assert '      - if: sum("purchase.amount", "90d") >= 500\n        go: vip\n' in text
    trial.write_text(text)
    assert plain_text(Journey.read(trial)) == text


SCALARS = st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
KEYS = st.sampled_from(["a", "if", "no", "decide", "trigger", "x y", "#", "weights"])
PARTS = st.recursive(SCALARS, lambda part: st.lists(part) | st.dictionaries(KEYS, part), max_leaves=8)


@given(st.dictionaries(KEYS, PARTS, min_size=1))
def test_any_data_is_written_so_that_it_is_read_back(data: dict[str, Any]) -> None:
    assert YAML(typ="safe", pure=True).load(yaml_text(data)) == data


def test_the_published_schema_is_that_of_the_classes() -> None:
    published = Path(schema.__file__).with_name("journey.schema.json")
    assert json.loads(published.read_text()) == schema.json_schema(), "print it anew: python -m journeylab.schema"
    Draft202012Validator.check_schema(schema.json_schema())


def problems(data: Any) -> list[str]:
    return [error.json_path for error in Draft202012Validator(schema.json_schema()).iter_errors(data)]


@pytest.mark.parametrize("text", [TRIAL, VIP, SHORT, f"journeys: [{json.dumps(YAML(typ='safe').load(VIP))}]\n"])
def test_the_schema_accepts_journey_files(text: str) -> None:
    assert problems(YAML(typ="safe", pure=True).load(text)) == []


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (change("titel", to="x"), "$"),
        (change("trigger", to={}), "$.trigger"),
        (change("trigger", to={"segment": "s"}), "$.trigger"),
        (change("cap", "within", to=7), "$.cap.within"),
        (change("nodes", "on-hold", to={"exit": "x"}), "$.nodes"),
        (change("nodes", "pause", to={"wiat": "4d"}), "$.nodes.pause"),
        (change("nodes", "pause", "next", drop=True), "$.nodes.pause"),
        (change("nodes", "pause", "send", to="x"), "$.nodes.pause"),
        (change("nodes", "read", "then", drop=True), "$.nodes.read"),
        (change("nodes", "hello", "at", to="bst"), "$.nodes.hello.at"),
        (change("segments", "dormant", to={"bias": 1}), "$.segments.dormant"),
        (change("quiet_hours", to=None), "$.quiet_hours"),
    ],
)
def test_the_schema_refuses_what_is_no_journey(edit: Callable[[Any], None], place: str) -> None:
    data = YAML(typ="safe", pure=True).load(TRIAL)
    edit(data)
    assert place in problems(data)

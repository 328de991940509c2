"""The canvas without a browser: what is drawn and what the definition is agree, texts keep their comments."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import journeylab as jl
from bundles import digest_of_sources
from journeylab import datasets
from journeylab.canvas import Canvas, page
from journeylab.canvas.drafts import Draft, draft_of
from journeylab.canvas.forms import forms
from journeylab.canvas.layers import difference_layer, laid, slots
from journeylab.journey import VERBS, Journey
from journeylab.journeytext import read_text
from journeylab.visits import wilson_interval

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "src" / "journeylab" / "canvas" / "static"
TRIAL = datasets.journey_file("trial_welcome")


@pytest.fixture(scope="module")
def trial() -> Journey:
    return Journey.read(TRIAL)


def drawn(draft: Draft, change: Any, name: str = "") -> Draft:
    """The draft after a change to the data of one of its journeys, as the browser sends it."""
    document = json.loads(draft.document())
    change(document["journeys"][name])
    return draft.drawn(json.dumps(document))


# What is drawn is the definition ------------------------------------------------------------------------------------


def test_a_journey_comes_back_as_it_went(trial: Journey) -> None:
    draft = draft_of(trial)
    again = draft.drawn(draft.document())
    assert again.faults == []
    assert again.journey() == trial
    assert again.to_yaml() == Path(TRIAL).read_text()
    assert again.to_yaml("keen_care") == Path(datasets.journey_file("keen_care")).read_text()


def test_an_option_changes_its_line_and_no_other(trial: Journey) -> None:
    draft = drawn(draft_of(trial), lambda one: one["nodes"]["consider"].update(wait="6d"))
    before, after = Path(TRIAL).read_text().splitlines(), draft.to_yaml().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    line = "  consider: {wait: %s, next: value} # a purchase meanwhile is the goal"
    assert changed == [(line % "5d", line % "6d")]
    assert draft.journey().to_yaml() == draft.to_yaml()


def test_a_renamed_node_keeps_its_comment(trial: Journey) -> None:
    document = json.loads(draft_of(trial).document())
    text = json.dumps(document["journeys"][""]).replace('"consider"', '"ponder"')
    document = {"journeys": {**document["journeys"], "": json.loads(text)}, "names": {"": {"ponder": "consider"}}}
    draft = draft_of(trial).drawn(json.dumps(document))
    assert draft.faults == []
    assert "  ponder: {wait: 5d, next: value} # a purchase meanwhile is the goal" in draft.to_yaml()


def test_a_place_changes_the_text_and_not_the_version(trial: Journey) -> None:
    draft = drawn(draft_of(trial), lambda one: one.update(layout={"hello": [120, 40]}))
    assert draft.journey().version == trial.version
    assert draft.to_yaml() == Path(TRIAL).read_text().rstrip("\n") + "\nlayout: {hello: [120, 40]}\n"


def test_a_draft_at_fault_has_its_text_and_its_faults(trial: Journey) -> None:
    def change(one: dict[str, Any]) -> None:
        one["nodes"]["hello"].pop("next")
        one["nodes"]["value"]["decide"][0]["if"] = 'contry == "PL" and'

    draft = drawn(draft_of(trial), change)
    assert {fault.path for _, fault in draft.faults} == {
        ("nodes", "hello", "next"),
        ("nodes", "value", "decide", 0, "if"),
    }
    assert "hello: {send: welcome_1, at: best}" in draft.to_yaml()
    with pytest.raises(jl.DefinitionError, match="send needs `next`"):
        draft.journey()


def test_a_fault_of_a_part_is_told_in_the_part(trial: Journey) -> None:
    draft = drawn(draft_of(trial), lambda one: one["nodes"]["settle"].update(next="nowhere"), "keen_care")
    assert next((name, fault.path) for name, fault in draft.faults) == ("keen_care", ("nodes", "settle", "next"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"journeys": {}, "names": {}}', '{"journeys": {"": {"nodes": 3}}, "names": {}}']
)
def test_what_is_no_document_is_refused(trial: Journey, text: str) -> None:
    with pytest.raises(jl.DataError, match="the canvas holds"):
        draft_of(trial).drawn(text)


def test_a_number_that_a_browser_would_change_is_refused() -> None:
    journey = Journey.from_data({
        "journey": "hello", "trigger": {"event": "signup"},
        "nodes": {"mark": {"set": {"code": 2**53 + 1}, "next": "done"}, "done": {"exit": "finished"}},
    })  # fmt: skip
    with pytest.raises(jl.DataError, match=r"nodes\.mark\.set\.code: 9007199254740993"):
        draft_of(journey)


_durations = st.sampled_from(["1d", "36h", "2w", "90m"])


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """What a person may do to the bundled journey: change waits, add and remove nodes, move them, reorder them."""
    one = st.one_of(
        st.tuples(st.just("wait"), st.tuples(st.sampled_from(["consider", "pause"]), _durations)),
        st.tuples(st.just("add"), st.tuples(st.sampled_from(["extra", "more", "zeta"]), _durations)),
        st.tuples(st.just("remove"), st.sampled_from(["unmoved", "nudge", "plain", "extra", "more"])),
        st.tuples(st.just("move"), st.tuples(st.sampled_from(["hello", "done"]), st.integers(-500, 500))),
        st.tuples(st.just("last"), st.sampled_from(["hello", "value", "done"])),
        st.tuples(st.just("title"), st.text(st.characters(categories=["L", "N", "Zs"]), max_size=12)),
    )
    return draw(st.lists(one, max_size=6))


def _done(definition: dict[str, Any], what: str, how: Any) -> None:
    nodes = definition["nodes"]
    if what == "wait" and how[0] in nodes:
        nodes[how[0]]["wait"] = how[1]
    elif what == "add":
        nodes[how[0]] = {"wait": how[1], "next": "done"}
    elif what == "remove":
        nodes.pop(how, None)
    elif what == "move":
        definition.setdefault("layout", {})[how[0]] = [how[1], how[1] + 1]
    elif what == "last" and how in nodes:
        nodes[how] = nodes.pop(how)
    elif what == "title":
        definition["title"] = how


@settings(max_examples=12)
@given(changes())
def test_any_drawing_is_in_its_text_and_the_comments_stay(made: list[tuple[str, Any]]) -> None:
    def change(definition: dict[str, Any]) -> None:
        for what, how in made:
            _done(definition, what, how)

    draft = drawn(draft_of(Journey.read(TRIAL)), change)
    text = draft.to_yaml()
    read = draft_of(Journey.read(TRIAL))
    again = Draft({"": text, "keen_care": read.texts["keen_care"]}, {**draft.journeys}).to_yaml()
    assert again == text
    found = read_text(text).data
    assert found == draft.journeys[""]
    assert list(found["nodes"]) == list(draft.journeys[""]["nodes"])
    assert "# What new trial accounts of the simulated shop Akacja are sent" in text
    assert ("# a purchase meanwhile is the goal" in text) == ("consider" in found["nodes"])


# The widget -----------------------------------------------------------------------------------------------------------


def test_a_widget_follows_what_is_drawn_and_replays_it(trial: Journey) -> None:
    canvas = trial.edit(log=datasets.shop())
    before = canvas.layers["counts"]["edges"]["read|then"]["text"]
    document = json.loads(canvas.document)
    document["journeys"][""]["nodes"]["read"]["within"] = "12h"
    canvas.document = json.dumps(document)
    assert canvas.layers["counts"]["edges"]["read|then"]["text"] != before
    assert canvas.replay is not None
    assert canvas.replay.summary() == jl.replay(canvas.journey, datasets.shop()).summary()
    document["journeys"][""]["nodes"]["read"].pop("else")
    canvas.document = json.dumps(document)
    assert canvas.replay is None
    assert canvas.layers["counts"]["edges"] == {}
    assert [one["path"] for one in canvas.checked["faults"]] == [["nodes", "read", "else"]]


def test_names_that_the_log_lacks_are_faults_on_the_canvas() -> None:
    canvas = Canvas("mine", log=datasets.shop())
    assert canvas.checked["faults"] == []
    document = json.loads(canvas.document)
    document["journeys"][""]["trigger"]["where"] = 'contry == "PL"'
    canvas.document = json.dumps(document)
    [fault] = canvas.checked["faults"]
    assert fault["path"] == ["trigger", "where"]
    assert "country" in fault["message"]


def test_a_drawing_is_saved_where_it_came_from(trial: Journey, tmp_path: Path) -> None:
    path = tmp_path / "trial_welcome.yaml"
    path.write_text(Path(TRIAL).read_text())
    shutil.copy(datasets.journey_file("keen_care"), tmp_path)
    canvas = Journey.read(path).edit()
    document = json.loads(canvas.document)
    document["journeys"][""]["nodes"]["pause"]["wait"] = "2d"
    canvas.document = json.dumps(document)
    canvas.save(path)
    assert path.read_text() == Path(TRIAL).read_text().replace("pause: {wait: 4d", "pause: {wait: 2d")
    canvas.save(tmp_path / "new.yaml")
    assert (tmp_path / "new.yaml").read_text() == path.read_text()


def test_a_changed_part_is_saved_to_its_own_file(trial: Journey, tmp_path: Path) -> None:
    for name in ("trial_welcome", "keen_care"):
        shutil.copy(datasets.journey_file(name), tmp_path)
    canvas = Journey.read(tmp_path / "trial_welcome.yaml").edit()
    document = json.loads(canvas.document)
    document["journeys"]["keen_care"]["nodes"]["settle"]["wait"] = "2d"
    canvas.document = json.dumps(document)
    canvas.save(tmp_path / "trial_welcome.yaml")
    before = Path(datasets.journey_file("keen_care")).read_text()
    assert (tmp_path / "keen_care.yaml").read_text() == before.replace("settle: {wait: 1d", "settle: {wait: 2d")
    assert (tmp_path / "trial_welcome.yaml").read_text() == Path(TRIAL).read_text()


def test_the_canvas_speaks_polish(trial: Journey) -> None:
    assert trial.edit(language="pl").words["undo"] == "Cofnij"
    with pytest.raises(jl.DataError, match="did you mean"):
        trial.edit(language="pll")


# Forms and layers -----------------------------------------------------------------------------------------------------


def _paths(fields: list[dict[str, Any]]) -> set[str]:
    found = set()
    for one in fields:
        if one["path"]:
            found.add(one["path"][0])
        for form in one.get("forms", []):
            found |= _paths(form["fields"]) if not one["path"] else set()
    return found


def test_every_option_of_every_verb_has_a_field() -> None:
    made = forms()
    assert set(made["verbs"]) == set(VERBS)
    for verb, kind in VERBS.items():
        keys = {info.alias or name for name, info in kind.model_fields.items()}
        assert _paths(made["verbs"][verb]["fields"]) == keys, verb
    keys = {info.alias or name for name, info in Journey.model_fields.items() if not info.exclude}
    assert _paths(made["journey"]) == keys - {"nodes", "layout"}


def test_lines_carry_the_replays_counts(trial: Journey) -> None:
    result = jl.replay(trial, datasets.shop())
    edges = laid(trial, [result])["counts"]["edges"]
    row = result.branches.query("node == 'read' and branch == 'then'").iloc[0]
    assert edges["read|then"]["text"].startswith(f"{row.n_visits:,} · {row.branch_share:.1%}")
    both = result.branches.query("node == 'hello' and branch in ['next', 'skipped']")["n_visits"].sum()
    closed = result.counts.query("node == 'hello'")["n_visits"].sum()
    low, high = wilson_interval(both, closed)
    assert edges["hello|next"]["text"] == f"{both:,} · {both / closed:.1%}\n{low:.1%} – {high:.1%}"
    assert edges["keen.help|next"]["tone"] == "assumed"


def test_the_support_map_is_a_layer(trial: Journey) -> None:
    support = jl.support_map(trial, datasets.shop())
    edges = laid(trial, [support])["support"]["edges"]
    assert edges["read|then"]["tone"] == "identified"
    assert {one["tone"] for one in edges.values()} == {"identified", "weak", "unidentified"}


def test_the_difference_of_two_versions_is_a_layer(trial: Journey) -> None:
    nodes = dict(trial.nodes)
    del nodes["unmoved"]
    nodes["last_chance"] = trial.nodes["last_chance"].model_copy(update={"otherwise": "again"})
    nodes["again"] = jl.Wait(wait="1d", next="done")
    after = trial.model_copy(update={"nodes": nodes})
    layer = difference_layer(trial, after)
    assert layer["nodes"]["again"]["tone"] == "added"
    assert layer["nodes"]["last_chance"]["tone"] == "changed"
    assert layer["gone"]["nodes"] == {"unmoved": {"exit": "unmoved"}}
    assert layer["gone"]["edges"] == [["last_chance", "else", "unmoved"]]
    assert set(layer["edges"]) == {"last_chance|else", "again|next"}
    assert difference_layer(trial, trial)["summary"] == "no difference"


def test_slots_are_those_that_the_browser_draws() -> None:
    if shutil.which("node") is None:
        pytest.skip("there is no Node.js here")
    trial = Journey.read(TRIAL)
    awaited = [{"await": "visit", "go": "done"}, {"await": "purchase", "go": "done"}]
    nodes = {**trial.nodes, "several": jl.WaitFor(wait_for=awaited, within="1d", otherwise="done")}
    script = (
        f"import {{ labelledSlots }} from {json.dumps(str(ROOT / 'js/src/definition.js'))};"
        "const nodes = JSON.parse(process.argv[1]);"
        "const shown = (one) => labelledSlots(one).filter((way) => !way.more).map((way) => way.slot);"
        "console.log(JSON.stringify(Object.values(nodes).map(shown)));"
    )
    written = json.dumps({name: node.data() for name, node in nodes.items()})
    command = ["node", "--input-type=module", "-e", script, written]
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert shown == [[slot for slot, _ in slots(node)] for node in nodes.values()]


# The bundle -----------------------------------------------------------------------------------------------------------


def test_the_bundle_is_that_of_its_sources() -> None:
    for file in ("canvas.js", "canvas.css"):
        said = re.match(r"/\* JourneyLab canvas; sources ([0-9a-f]{64})", (STATIC / file).read_text())
        assert said is not None
        assert said[1] == digest_of_sources("index.jsx"), "run `make widgets`"


def test_building_anew_gives_the_same_bundle(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (ROOT / "js" / "node_modules").is_dir():
        pytest.skip("there are no node modules here; `make widgets` brings them")
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=ROOT / "js", check=True, capture_output=True)
    for file in STATIC.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_bundle_is_small_and_stays_at_home() -> None:
    script, style = (STATIC / "canvas.js").read_text(), (STATIC / "canvas.css").read_text()
    assert len(script.encode()) < 300_000
    assert "</script" not in script
    assert not re.search(r"@import|url\(\s*['\"]?https?:", style)
    hosts = set(re.findall(r"https?://([\w.-]+)", script))
    assert hosts <= {"www.w3.org", "reactflow.dev"} | {host for host in hosts if host.endswith("reactflow.dev")}


def test_a_page_holds_all_that_it_shows(trial: Journey, tmp_path: Path) -> None:
    result = jl.replay(trial, datasets.shop())
    path = page(trial, tmp_path / "deep" / "trial.html", result, language="pl")
    text = path.read_text()
    assert '<html lang="pl">' in text
    assert "default-src 'none'" in text
    assert 'src="' not in text
    assert len(text.encode()) < 400_000


def test_the_language_is_switched_while_one_draws(trial: Journey) -> None:
    canvas = trial.edit(log=datasets.shop())
    before = canvas.layers["counts"]["edges"]["read|then"]["text"]
    canvas.language = "pl"
    assert canvas.words["undo"] == "Cofnij"
    assert canvas.forms["verbs"]["send"]["label"] == "Wyślij"
    assert canvas.layers["counts"]["edges"]["read|then"]["text"] == before.replace(".", ",")
    with pytest.raises(Exception, match="did you mean"):
        canvas.language = "pll"

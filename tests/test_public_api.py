"""What `import journeylab` gives, what it costs, and how its objects show themselves."""

import subprocess
import sys
from collections.abc import Callable
from tempfile import TemporaryDirectory

import pytest

import journeylab as jl
from journeylab.journey import Evidence

HEAVY = ("duckdb", "numba", "numpy", "pandas", "plotly", "pyarrow", "pydantic", "scipy", "sklearn", "sqlalchemy")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", jl.__all__)
def test_every_public_name_resolves_and_is_on_the_map(name: str) -> None:
    assert getattr(jl, name) is not None
    assert f"`{name}`" in (jl.__doc__ or "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'replai'"):
        jl.replai  # noqa: B018


def test_public_names_are_listed() -> None:
    assert set(jl.__all__) <= set(dir(jl))


def test_importing_loads_nothing_heavy() -> None:
    assert run(f"import sys, journeylab; print([one for one in {HEAVY} if one in sys.modules])") == "[]"


@pytest.mark.parametrize(
    "first", ["import journeylab.replay", "from journeylab.replay import Replay", "import journeylab.reports"]
)
def test_functions_keep_their_names_whatever_is_imported_first(first: str) -> None:
    assert run(f"{first}\nimport journeylab as jl\nprint(callable(jl.replay), callable(jl.report))") == "True True"


def _journey() -> jl.Journey:
    return jl.Journey(
        journey="hello",
        title="<b>Hello</b>",
        trigger=jl.Trigger(event="signup", where='plan == "<script>"'),
        nodes={"greet": jl.Send(send="hi", next="done"), "done": jl.Exit(exit="finished")},
    )


def _log() -> jl.EventLog:
    return jl.EventLog.from_rows(
        [{"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "plan": "<script>"}],
        [{"contact": "ada", "plan": "<script>"}],
    )


def _bucketed() -> jl.BucketedLog:
    with TemporaryDirectory() as folder:
        rows = [{"contact": "ada", "event": "<script>", "occurred_at": "2026-03-01T09:00:00Z"}]
        return jl.bucket_log(rows, f"{folder}/log")


SHOWN: dict[str, Callable[[], object]] = {
    "Journey('hello', 2 nodes, on signup, version": _journey,
    "Portfolio(1 journey: hello)": lambda: jl.Portfolio(journeys=(_journey(),)),
    "Segment('a < 3')": lambda: jl.Segment(condition="a < 3"),
    "Segment(1 weight, bias -1)": lambda: jl.Segment(weights=(Evidence(when="a < 3", weight=2),), bias=-1),
    "Condition('a < 3')": lambda: jl.condition("a < 3"),
    "EventLog(1 event of 1 contact": _log,
    "BucketedLog(1 event of 1 contact in 1 bucket": _bucketed,
    "Replay(hello: 1 entry of 1 contact until 2026-03-01)": lambda: jl.replay(_journey(), _log()),
}


@pytest.mark.parametrize("line", SHOWN)
def test_objects_show_one_line_and_small_static_html(line: str) -> None:
    shown = SHOWN[line]()
    html = shown._repr_html_()  # type: ignore[attr-defined]
    assert repr(shown).startswith(line)
    assert "\n" not in repr(shown)
    assert "<script" not in html
    assert 20 < len(html) < 100_000

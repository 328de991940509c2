"""Every public object shows itself as one line, and as static HTML that any notebook and page can take."""

import inspect
import re
from html.parser import HTMLParser
from types import ModuleType
from typing import Any

import pytest

import journeylab as jl
import publicobjects
from journeylab import display, experiments, sendtime
from journeylab.sendtime.estimator import SendTimeEstimator

VOID = {"br", "hr", "img", "input", "meta", "link", "path", "rect", "circle", "line", "use", "stop", "polygon"}
MOST_BYTES = 100_000
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+")


class Balance(HTMLParser):
    """Reads HTML, and notes tags that are not closed, scripts, and what would be fetched."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.classes: set[str] = set()
        self.style = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "link", "foreignobject"):
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                self.faults.append(f"{tag} {name}")
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.faults.append(f"{tag} {name}={value}")
            if name == "class":
                self.classes |= set((value or "").split())
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data


def read(html: str) -> Balance:
    parser = Balance()
    parser.feed(html)
    parser.close()
    return parser


@pytest.fixture(params=publicobjects.EXAMPLES)
def shown(request) -> Any:
    return publicobjects.EXAMPLES[request.param]()


def test_every_object_is_one_honest_line(shown):
    line = repr(shown)
    assert "\n" not in line
    assert len(line) < 400
    assert line.split("(")[0] == type(shown).__name__
    assert not re.search(r"0x[0-9a-f]{6}", line)


def test_every_object_is_static_html(shown):
    html = shown._repr_html_()
    found = read(html)
    assert found.faults == []
    assert found.open == []
    assert len(html.encode()) < MOST_BYTES
    assert "url(" not in html
    assert "@import" not in html
    assert not re.search(r"https?://(?!www\.w3\.org/)", html)
    assert not ADDRESS.search(html)
    assert html == shown._repr_html_()


def test_styles_touch_nothing_else_in_the_page(shown):
    found = read(shown._repr_html_())
    rules = re.sub(r"@media[^{]*\{(.*?\})\s*\}", r"\1", found.style, flags=re.S)
    for selectors in re.findall(r"([^{}]+)\{", rules):
        for selector in selectors.split(","):
            assert re.match(r"\s*[^ ]*\.jl-|\s*(body\.dark|\[data-|:root|\.vscode)", selector), selector


def test_nothing_is_painted_white_or_black(shown):
    html = shown._repr_html_()
    assert not re.search(r"background(-color)?:\s*(#fff|#000|white|black)", html)
    assert not re.search(r"[^-]color:\s*(#000|#fff|black|white)\b", html)
    assert not re.search(r'<(rect|path|circle|polygon)[^>]*fill="(#000|#fff|black|white)(000|fff)?"', html)


def test_no_object_asks_for_more_than_html(shown):
    for method in ("_mime_", "_repr_mimebundle_", "_display_", "_ipython_display_"):
        assert not callable(getattr(shown, method, None)), method


def public_classes(module: ModuleType) -> set[str]:
    found = {name: getattr(module, name) for name in module.__all__}
    errors = (jl.JourneyLabError,)
    return {name for name, one in found.items() if inspect.isclass(one) and not issubclass(one, errors)}


def test_every_public_class_has_an_example():
    shown = {type(make()) for make in publicobjects.EXAMPLES.values()}
    names = {base.__name__ for one in shown for base in one.__mro__}
    for module in (jl, sendtime, experiments):
        assert public_classes(module) - names == set()


def test_the_line_and_its_parts_are_escaped():
    assert "<b>" not in jl.Segment(condition='plan == "<b>"')._repr_html_()
    assert "<b>" not in jl.Trigger(event="signup", where='plan == "<b>"')._repr_html_()


def test_definitions_say_what_was_written_and_can_be_made_of_it():
    for made in (
        jl.Wait(wait="4d", next="nudge"), jl.Cap(sends=3, within="7d"), jl.Policy(holdout="5%"),
        jl.Send(send="a", at=jl.Window(between=("09:00", "17:00")), next="b"), experiments.Proportion("visit"),
    ):  # fmt: skip
        assert eval(repr(made), vars(jl) | vars(experiments)) == made  # noqa: S307


def test_long_collections_are_cut_and_counted():
    many = jl.Portfolio(
        journeys=[
            publicobjects.welcome().model_copy(update={"journey": f"welcome_{n}"})
            for n in range(display.MOST_DRAWINGS + 2)
        ]
    )
    assert "and 2 more journeys" in many._repr_html_()
    assert len(many._repr_html_()) < MOST_BYTES
    wide = jl.Split(split={f"arm_{n}": "1%" for n in range(100)})
    assert "…" in wide._repr_html_()


def test_a_log_of_many_kinds_of_events_stays_small():
    rows = [{"contact": n, "event": f"kind_{n}", "occurred_at": "2026-03-01T00:00:00Z"} for n in range(500)]
    html = jl.EventLog.from_rows(rows)._repr_html_()
    assert "more kinds" in html
    assert len(html) < 10_000


def test_a_model_of_ones_own_with_a_long_description_stays_one_line():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: SendTimeEstimator = sendtime.FromClassifier(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=500, tol=1e-6, solver="newton-cholesky"))
    )
    assert "\n" not in repr(model)
    assert "It is not fitted." in model._repr_html_()

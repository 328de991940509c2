"""What widgets in notebooks answer in: `python -m benchmarks.notebooks --events 10000000`.

A canvas of 60 nodes is laid out, and a node dragged over it in Chromium, frames counted by the browser itself. Then a
slider of the replay explorer is moved: from the change of the definition to the numbers that go to the browser, as a
ratio to a bare replay of the same journey in the same run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from datetime import timedelta
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import journeylab as jl
from journeylab import datasets

from .compared import Compared, seconds, shown
from .replay import make_journey, make_log

_FRAMES = """() => new Promise((done) => {
    const times = [];
    const frame = (at) => { times.push(at); window.stopped ? done(times) : requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
})"""


def ladder(n_nodes: int) -> jl.Journey:
    """A journey of so many nodes: blocks of a send, a wait for its answer and two ways on."""
    nodes: dict[str, jl.journey.Node] = {}
    for i in range((n_nodes - 1) // 4):
        following = f"send_{i + 1}" if (i + 1) * 4 < n_nodes - 1 else "done"
        nodes[f"send_{i}"] = jl.Send(send=f"message_{i}", next=f"read_{i}")
        nodes[f"read_{i}"] = jl.WaitFor(
            wait_for=f"opened(send_{i})", within="3d", then=f"soon_{i}", otherwise=f"late_{i}"
        )
        nodes[f"soon_{i}"] = jl.Wait(wait="1d", next=following)
        nodes[f"late_{i}"] = jl.Wait(wait="4d", next=following)
    nodes["done"] = jl.Exit(exit="finished")
    return jl.Journey(journey="ladder", trigger=jl.Trigger(event="signup"), nodes=nodes)


def draw(n_nodes: int, folder: Path) -> None:
    """Prints how long the layout takes, and how many frames a second there are while a node is dragged."""
    from playwright.sync_api import sync_playwright

    journey = ladder(n_nodes)
    page_file = jl.canvas.page(journey, folder / "ladder.html", height=900)
    # The page shows it read-only; what is dragged here may be moved.
    page_file.write_text(page_file.read_text().replace('"read_only": true', '"read_only": false'))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.goto(page_file.as_uri())
        page.wait_for_selector(".react-flow__node")
        page.wait_for_timeout(500)
        layout = page.locator(".jc-host").get_attribute("data-layout-ms")
        node = page.locator('.react-flow__node[data-id="send_0"] .jc-head').bounding_box()
        assert node is not None
        page.evaluate(f"() => {{ window.stopped = false; window.frames_ = ({_FRAMES})(); }}")
        page.mouse.move(node["x"] + 30, node["y"] + 8)
        page.mouse.down()
        began = time.perf_counter()
        step = 0
        while time.perf_counter() - began < 3:
            step += 1
            page.mouse.move(node["x"] + 30 + 100 * (step % 20) / 20, node["y"] + 8 + 60 * (step % 13) / 13)
        page.mouse.up()
        times = page.evaluate("() => { window.stopped = true; return window.frames_; }")
        browser.close()
    gaps = sorted(b - a for a, b in pairwise(times))
    print(
        f"canvas of {len(journey.nodes)} nodes: layout {float(layout or 'nan'):.0f} ms; while dragging "
        f"{1000 / statistics.mean(gaps):.0f} frames a second, 99 of 100 within {gaps[int(0.99 * len(gaps))]:.0f} ms"
    )


def slide(what: str, journey: jl.Journey, log: jl.EventLog, node: str, *, model: Any = None) -> Compared:
    """The answer to a moved slider against a bare replay."""
    explorer = jl.explorers.ReplayExplorer(journey, log, responses=model)
    answered, replayed = cycle([3, 6, 2, 8, 5, 7, 10]), cycle([3, 6, 2, 8, 5, 7, 10])

    def move() -> None:
        document = json.loads(explorer.document)
        document["journeys"][""]["nodes"][node]["wait"] = f"{next(answered)}d"
        explorer.document = json.dumps(document)

    def bare() -> None:
        other = journey.nodes[node].model_copy(update={"wait": timedelta(days=next(replayed))})
        jl.replay(journey.model_copy(update={"nodes": {**journey.nodes, node: other}}), log).branches  # noqa: B018

    ours, theirs = seconds(7, move, bare)
    forecast = (
        f", with a forecast from {explorer._sample.n_contacts:,} contacts" if explorer._sample is not None else ""
    )
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return Compared("a slider's answer" + forecast, what, statistics.median(ours), "a bare replay", ratios)


def compared(n_events: int, folder: Path) -> list[Compared]:
    """Sliders over the bundled log, without and with a model, and over a larger one."""
    trial, shop = jl.Journey.read(datasets.journey_file("trial_welcome")), datasets.shop()
    log = jl.EventLog.read(make_log(n_events, folder, "int"))
    return [
        slide("the bundled log", trial, shop, "pause"),
        slide("the bundled log", trial, shop, "pause", model=jl.fit_responses(shop)),
        slide(f"{n_events:,} events", make_journey(), log, "nudge"),
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--nodes", type=int, default=61)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which("chromium"):
            draw(given.nodes, Path(folder))
        print(shown(compared(given.events, Path(folder))))


if __name__ == "__main__":
    main()

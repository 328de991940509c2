"""The demo: a small page of real and of simulated data, each marked, a report, a screen that says what was found."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest

from journeylab import datasets
from journeylab.cli import main
from journeylab.demo import DEMOS, next_commands, save_picture, write_demo_page
from journeylab.errors import DataError


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "reports" / "demo.html"


@pytest.fixture(scope="module")
def screen(report: Path) -> list[str]:
    """What `journeylab demo` prints."""
    import io
    from contextlib import redirect_stdout

    with redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit):
        main(["demo", "--out", str(report)])
    return printed.getvalue().splitlines()


def test_screen_says_what_was_found_and_where_page_and_report_are(screen, report):
    text = "\n".join(screen)
    assert "23,570 contacts entered 35,438 times" in text
    assert "95% interval" in text
    assert f"The page: {report} (" in text
    assert f"The report for readers: {report.with_name('trial_welcome.html')}." in text
    assert "Nobody was sent anything" in text
    assert 12 <= len(screen) <= 17


def test_simulated_data_is_called_simulated_on_screen_and_in_the_page(screen, report):
    assert sum(line.startswith("Akacja, a simulated shop") for line in screen) == 2
    page = unescape(report.read_text())
    assert page.count("Akacja, a simulated shop") == 4  # at the top, two journeys, what was assumed
    assert page.count("CDNOW, real purchases of 1997 and 1998") == 3


def test_page_covers_all_journeys_in_at_most_400_kilobytes(screen, report):
    page = report.read_text()
    assert all(f'<article id="{name}">' in page for name in ("cdnow_winback", "trial_welcome", "winback"))
    assert report.stat().st_size <= 400_000


def test_report_for_readers_says_that_the_shop_is_simulated(screen, report):
    page = unescape(report.with_name("trial_welcome.html").read_text())
    assert "Akacja, a simulated shop." in page
    assert "every number was held to the rules for what may leave" in page


@pytest.mark.long
def test_page_that_would_be_longer_is_refused_with_its_size(tmp_path):
    result = DEMOS[0].replay()
    with pytest.raises(DataError, match=r"page of 16 journeys would be .* KB, and a page has at most 400 KB"):
        write_demo_page([result] * 16, tmp_path / "long.html")
    assert not (tmp_path / "long.html").exists()


def test_next_commands_on_the_screen_work(screen):
    assert [line.split()[1] for line in screen[-3:]] == ["draw", "test", "replay"]
    for command in next_commands():
        with pytest.raises(SystemExit) as exit_info:
            main(command.split())
        assert not exit_info.value.code


def test_demo_as_json_has_the_summary_of_every_journey(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--out", str(tmp_path / "demo.html"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [one["journey"] for one in found["journeys"]] == ["cdnow_winback", "trial_welcome", "winback"]
    assert found["n_bytes"] == (tmp_path / "demo.html").stat().st_size


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.journey_file)
def test_telling_branches_are_branches_of_the_journeys(demo):
    from journeylab.journeyfile import read

    portfolio = read(datasets.journey_file(demo.journey_file))
    edges = {(one.journey, node, branch) for one in portfolio.journeys for node, branch, _ in one.edges()}
    assert set(demo.telling) <= edges


def test_picture_of_the_readme_is_what_the_demo_draws(tmp_path):
    kept = Path(__file__).parent.parent / "docs" / "images" / "trial_welcome.svg"
    save_picture(tmp_path / "drawn.svg")
    assert kept.read_text() == (tmp_path / "drawn.svg").read_text(), "make picture draws it anew"

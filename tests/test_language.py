"""What is said in several languages: the catalogue has all of it, numbers and dates are as people write them there."""

import ast
import pickle
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from string import Formatter
from threading import Thread

import pytest
from babel.dates import format_date
from babel.numbers import format_decimal, format_percent
from hypothesis import given
from hypothesis import strategies as st

from journeylab import datasets, journeyfile, replay
from journeylab.charts import branch_chart, flow_chart
from journeylab.cli import main
from journeylab.drawing import svg
from journeylab.errors import DataError
from journeylab.language import (
    LANGUAGES,
    again,
    count_text,
    current,
    date_text,
    duration_words,
    formatted,
    from_english,
    instant_text,
    later,
    list_text,
    plural,
    say,
    say_in,
    sentences_text,
    share_text,
    using,
    weekday_text,
)
from words import CATALOGUES, KEYWORDS, SOURCES, english_in, messages, texts, translations, updated

NBSP = "\N{NO-BREAK SPACE}"


def values_of(text):
    return {(name, conversion) for _, name, _, conversion in Formatter().parse(text) if name is not None}


# The catalogues ------------------------------------------------------------------------------------------------------


def test_every_language_has_its_catalogue():
    assert sorted(path.stem for path in CATALOGUES) == sorted(LANGUAGES[1:])


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_has_what_the_code_says_and_nothing_else(path):
    said, known = messages(texts()), messages(translations(path))
    assert said.keys() - known.keys() == set(), "say `make words`, then translate what is new"
    assert known.keys() - said.keys() == set(), "say `make words`"
    assert path.read_text(encoding="utf-8") == updated(translations(path)), "say `make words`"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_every_message_is_translated_with_its_values_and_tags(path):
    catalogue = translations(path)
    for one in messages(catalogue).values():
        assert not one.fuzzy, one.id
        plain = isinstance(one.id, str)
        ids, strings = ([one.id], [one.string]) if plain else (one.id, one.string)
        assert len(strings) == (1 if plain else catalogue.num_plurals), one.id
        for text in strings:
            assert text, one.id
            assert values_of(text) == values_of(ids[-1]), one.id
            assert re.findall(r"</?\w+>", text) == re.findall(r"</?\w+>", ids[-1]), one.id
            assert text[0].isspace() is ids[-1][0].isspace(), one.id
            assert text[-1].isspace() is ids[-1][-1].isspace(), one.id
            assert ids[-1][-1] not in ".:" or text[-1] == ids[-1][-1], one.id


def test_no_text_stands_where_it_is_not_extracted():
    """Whatever Python's own parser finds in calls is in the catalogue: nothing in an f-string, nothing put together."""
    said = {(context, text) for context, text in messages(texts())}
    for path in SOURCES.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KEYWORDS):
                continue
            given = [one.value if isinstance(one, ast.Constant) else None for one in call.args]
            assert not isinstance(call.args[0], ast.JoinedStr), f"{path}:{call.lineno}"
            if call.func.id == "plural" and isinstance(given[0], str):
                assert (None, (given[0], given[1])) in said, f"{path}:{call.lineno}"
            elif call.func.id == "say_in" and isinstance(given[1], str):
                assert (given[0], given[1]) in said, f"{path}:{call.lineno}"
            elif call.func.id in ("say", "later") and isinstance(given[0], str):
                assert (None, given[0]) in said, f"{path}:{call.lineno}"


def test_english_needs_no_catalogue_and_the_package_no_babel():
    code = (
        "import sys, journeylab; from journeylab.language import plural, say, share_text\n"
        "print(say('{a}', a=plural('{n} entry', '{n} entries', 2)), share_text(0.5), 'babel' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 entries 50.0% False\n"


# The current language ------------------------------------------------------------------------------------------------


def test_a_language_holds_inside_and_ends_whatever_happens():
    with using("pl"):
        assert current() == "pl"
        with using("en"):
            assert current() == "en"
        assert current() == "pl"
        with pytest.raises(DataError), using("en"):
            raise DataError("whatever happens")
        assert current() == "pl"
    assert current() == "en"


def test_a_language_is_that_of_its_thread():
    seen = []
    with using("pl"):
        other = Thread(target=lambda: seen.append(current()))
        other.start()
        other.join()
    assert seen == ["en"]


def test_an_unknown_language_is_refused_with_what_exists():
    with pytest.raises(DataError, match=r"language 'ppl': did you mean 'pl'\? Known languages: en, pl"), using("ppl"):
        pass


# Texts ---------------------------------------------------------------------------------------------------------------


def test_polish_has_three_forms():
    with using("pl"):
        said = [plural("{n} send", "{n} sends", n) for n in (0, 1, 2, 4, 5, 12, 14, 21, 22, 25, 102, 112, 1000)]
    assert said == [
        "0 wysyłek", "1 wysyłka", "2 wysyłki", "4 wysyłki", "5 wysyłek", "12 wysyłek", "14 wysyłek", "21 wysyłek",
        "22 wysyłki", "25 wysyłek", "102 wysyłki", "112 wysyłek", f"1{NBSP}000 wysyłek",
    ]  # fmt: skip


def test_a_number_may_be_hidden_while_its_form_is_kept():
    assert plural("{n} send", "{n} sends", 3, n=count_text(3, smallest=5)) == "<5 sends"


def test_a_context_tells_meanings_apart():
    with using("pl"):
        assert say_in("of an interval", "low") == "dolna granica"
        assert say_in("of a forecast", "within") != say_in("of a time", "within")


def test_what_the_catalogue_lacks_is_said_in_english():
    with using("pl"):
        assert (
            say("No catalogue has {this}.".replace("has", "will have"), this="this") == "No catalogue will have this."
        )


def test_a_constant_is_said_when_it_is_shown():
    held = later("held")
    assert held == "held"
    with using("pl"):
        assert say(held) == "zachowana"


def test_kept_sentences_are_said_again_with_all_that_is_in_them():
    kept = sentences_text([
        say("{first} and {last}", first=plural("{n} send", "{n} sends", 5), last=share_text(0.00001)),
        say("The log ends on {at}: what ends later is assumed, as if nothing more happened (rule 35).",
            at=instant_text(datetime(2026, 3, 2, 9, tzinfo=UTC))),
    ])  # fmt: skip
    kept = pickle.loads(pickle.dumps(kept))
    assert kept.startswith("5 sends and <0.1% The log ends on 2026-03-02 09:00 UTC")
    with using("pl"):
        assert again(kept).startswith("5 wysyłek i <0,1% Dziennik kończy się 2.03.2026, 09:00 UTC")
    assert again(again(kept)) == kept
    assert again("what nobody said") == "what nobody said"


@pytest.mark.parametrize(
    ("english", "polish"),
    [
        ("No catalogue knows this.", "No catalogue knows this."),
        ("1,234 triggers made no entry because consent did not stand (rule 11).",
         f"1{NBSP}234 wyzwolenia nie utworzyły wejścia, bo nie było zgody (reguła 11)."),
        ("The event 'opend' never occurs in the log; did you mean 'opened'? Known events: clicked, opened.",
         "Zdarzenie 'opend' nigdy nie występuje w dzienniku; może chodzi o 'opened'? Znane zdarzenia: clicked, "
         "opened."),
        ("2 sends to 1 contact that the send times do not know went by the fallback (rule 17).",
         "2 wysyłki do kontaktów, których nie ma w porach wysyłki (1 kontakt), o porze zapasowej (reguła 17)."),
    ],
)  # fmt: skip
def test_what_a_file_kept_in_english_is_recognised(english, polish):
    assert from_english(english) == english
    with using("pl"):
        assert from_english(english) == polish


# Numbers and dates ---------------------------------------------------------------------------------------------------


@given(st.integers(-(10**12), 10**12))
def test_whole_numbers_are_as_babel_writes_them(n):
    with using("pl"):
        assert formatted(n) == format_decimal(n, locale="pl")
    assert formatted(n) == format_decimal(n, locale="en")


@given(st.floats(-10, 10))
def test_shares_are_as_babel_writes_them(share):
    english = formatted(share, ".1%")
    with using("pl"):
        polish = formatted(share, ".1%")
    assert polish.replace(",", ".") == english
    exact = round(share * 8) / 8
    with using("pl"):
        assert formatted(exact, ".1%").removeprefix("-") == format_percent(abs(exact), "#0.0%", locale="pl")


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["+.4g", ",.1f", ".2%", "g", ",.0f"]))
def test_english_is_what_python_writes(value, form):
    assert formatted(value, form) == format(value, form)


def test_small_counts_and_extreme_shares_say_no_more_than_they_may():
    with using("pl"):
        assert [count_text(n, smallest=5) for n in (0, 4, 5, 12345)] == ["0", "<5", "5", f"12{NBSP}345"]
        assert [share_text(one) for one in (0.0, 0.0001, 0.5, 0.9999, 1.0, float("nan"))] == [
            "0%", "<0,1%", "50,0%", ">99,9%", "100%", "\N{EN DASH}",
        ]  # fmt: skip


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_dates_are_as_babel_writes_them(day):
    assert date_text(day) == day.isoformat()
    with using("pl"):
        assert date_text(day) == format_date(day, "short", locale="pl")


def test_instants_are_in_utc_and_say_so():
    at = datetime.fromisoformat("2026-03-02T00:30:00+01:00")
    assert instant_text(at) == "2026-03-01 23:30 UTC"
    assert instant_text(at, is_long=True) == "1 March 2026, 23:30 UTC"
    assert date_text(at) == "2026-03-01"
    with using("pl"):
        assert instant_text(at) == "1.03.2026, 23:30 UTC"
        assert instant_text(at, is_long=True) == "1 marca 2026, 23:30 UTC"
        assert [weekday_text(place) for place in (0, 2, 6)] == ["pon.", "śr.", "niedz."]


def test_durations_are_words_that_others_may_stand_around():
    hours = [0.25, 1, 24, 30, 47, 48, 60, 76, 240]
    assert [duration_words(timedelta(hours=one)) for one in hours] == [
        "15 min", "60 min", "1 day", "30 hours", "47 hours", "2 days", "2.5 days", "3.2 days", "10 days",
    ]  # fmt: skip
    with using("pl"):
        assert [duration_words(timedelta(hours=one)) for one in hours] == [
            "15 min", "60 min", "24 godz.", "30 godz.", "47 godz.", "2 dni", "2,5 dnia", "3,2 dnia", "10 dni",
        ]  # fmt: skip
        assert duration_words(timedelta(hours=76), "76h") == "76 godz."
        assert duration_words(timedelta(seconds=1.5), "1500ms") == "1,5 s"
    assert duration_words(timedelta(hours=76), "76h") == "76h"


def test_enumerations():
    with using("pl"):
        assert [list_text(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
            "",
            "a",
            "a i b",
            "a, b i c",
        ]


# Pages ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed():
    return replay(journeyfile.read(datasets.journey_file("trial_welcome")), datasets.shop())


def test_a_polish_report_has_the_numbers_of_the_english_one_and_none_of_its_words(replayed, tmp_path):
    english = replayed.page(tmp_path / "en.html").read_text(encoding="utf-8")
    polish = replayed.page(tmp_path / "pl.html", language="pl").read_text(encoding="utf-8")
    assert '<html lang="en">' in english
    assert '<html lang="pl">' in polish
    assert not english_in(polish)
    assert len(english_in(english)) > 30
    assert "Ścieżka i ile pobytów poszło każdą drogą" in polish
    as_english = polish.replace(NBSP, ",")
    for share in set(re.findall(r"\b\d+\.\d%", english)):
        assert share.replace(".", ",") in as_english
    with using("pl"):
        again_polish = replayed.page(tmp_path / "again.html").read_text(encoding="utf-8")
    assert again_polish == polish, "the notes that the replay kept in English are said in Polish"


def test_a_report_in_no_language_is_refused(replayed, tmp_path):
    with pytest.raises(DataError, match="language 'de': Known languages: en, pl"):
        replayed.page(tmp_path / "de.html", language="de")
    assert not (tmp_path / "de.html").exists()


def test_names_of_a_definition_stay_as_they_are_written_in_a_drawing():
    [journey] = journeyfile.read(datasets.journey_file("trial_welcome")).journeys
    english = svg(journey)
    with using("pl"):
        polish = svg(journey)
    assert not english_in(polish)
    for name in ("hello", "welcome_1", "opened(hello)", "wait 4d", "exit finished"):
        assert name in english
        assert name in polish
    assert "w ciągu 3 dni" in polish
    assert "within 3d" in english


def test_figures_have_the_signs_of_their_language(replayed):
    with using("pl"):
        figure = branch_chart(replayed.branches)
        dated = flow_chart(replayed.flow())
    assert figure.layout.separators == f",{NBSP}"
    assert figure.layout.title.text == "Którędy pobyty opuszczały każdy węzeł"
    assert dated.layout.xaxis.tickformat == "%-d.%m.%Y"
    assert branch_chart(replayed.branches).layout.separators == ".,"


# The command line ----------------------------------------------------------------------------------------------------


def test_commands_take_the_language_by_option_or_from_the_environment(tmp_path, monkeypatch, capsys):
    journey = str(datasets.journey_file("trial_welcome"))
    out = tmp_path / "drawn.svg"
    with pytest.raises(SystemExit) as done:
        main(["draw", journey, "--out", str(out), "--language", "pl"])
    assert not done.value.code
    assert "w ciągu 3 dni" in out.read_text(encoding="utf-8")
    assert "drew trial_welcome to" in capsys.readouterr().out, "the terminal is English"
    monkeypatch.setenv("JOURNEYLAB_LANGUAGE", "pl")
    with pytest.raises(SystemExit):
        main(["draw", journey])
    assert "raz na kontakt" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["draw", journey, "--language", "en"])
    assert "once for each contact" in capsys.readouterr().out


def test_a_language_that_there_is_not_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as done:
        main(["draw", str(datasets.journey_file("trial_welcome")), "--language", "pll"])
    assert done.value.code == 2
    assert "did you mean 'pl'?" in " ".join(capsys.readouterr().err.split())

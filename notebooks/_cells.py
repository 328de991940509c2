"""What cells of the notebooks share: faults as sentences, pictures with their tables, the language of what is drawn."""

import os

import marimo as mo

import journeylab as jl
from journeylab.language import using

LANGUAGE = os.environ.get("JOURNEYLAB_LANGUAGE") or "en"
"""Of pictures and explorers, as `journeylab lab --language` gives it; the notebooks' own words are English."""


def refuse(reason):
    """Ends a cell, and those that need it, with a reason that says what to mend."""
    mo.stop(predicate=True, output=mo.callout(mo.plain_text(str(reason)), kind="danger"))


def attempt(make, *arguments, **options):
    """What a call returns; where the data or a definition are at fault, the cell says so and those below wait."""
    try:
        return make(*arguments, **options)
    except jl.JourneyLabError as error:
        return refuse(error)


def explored(explorer, *arguments, **options):
    """An explorer that speaks that language."""
    return mo.ui.anywidget(attempt(explorer, *arguments, language=LANGUAGE, **options))


def drawn(draw, *arguments, **options):
    """What a drawing function returns in that language."""
    with using(LANGUAGE):
        return draw(*arguments, **options)


def picture(chart, table):
    """A picture, and in the next tab the table whose numbers it shows."""
    return mo.ui.tabs({"Picture": chart, "Table": mo.ui.table(table, selection=None, page_size=15)})


def points(sentences):
    """Sentences as a list."""
    return mo.md("\n".join(f"- {sentence}" for sentence in sentences))

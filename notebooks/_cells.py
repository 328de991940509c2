"""What cells of the notebooks share: faults as sentences, pictures with their tables, sentences as a list."""

import marimo as mo

import journeylab as jl


def refuse(reason):
    """Ends a cell, and those that need it, with a reason that says what to mend."""
    mo.stop(predicate=True, output=mo.callout(mo.plain_text(str(reason)), kind="danger"))


def attempt(make, *arguments, **options):
    """What a call returns; where the data or a definition are at fault, the cell says so and those below wait."""
    try:
        return make(*arguments, **options)
    except jl.JourneyLabError as error:
        return refuse(error)


def picture(chart, table):
    """A picture, and in the next tab the table whose numbers it shows."""
    return mo.ui.tabs({"Picture": chart, "Table": mo.ui.table(table, selection=None, page_size=15)})


def points(sentences):
    """Sentences as a list."""
    return mo.md("\n".join(f"- {sentence}" for sentence in sentences))

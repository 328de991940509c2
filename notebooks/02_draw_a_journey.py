"""Draw a journey and see it replayed at once: open with `marimo edit` or `marimo run`, or run as a script."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Draw a journey")

with app.setup:
    import marimo as mo

    import journeylab as jl
    from _cells import LANGUAGE, attempt
    from journeylab import datasets
    from journeylab.definitiondiff import as_text


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 2. Draw a journey

    A journey is a picture that means something exactly. Here you draw one: every box has one verb, every line is a way
    that contacts can go. As soon as nothing is at fault, the drawing is replayed over the event log, and each line says
    how many visits went that way, with the share of all that left the box and its interval.

    What you draw is the definition. The text at the bottom is the file that is reviewed in Git, tested, and promoted
    to the sender; nothing else is kept anywhere.
    """)
    return


@app.cell
def _():
    # The one cell to change for a log of your own:
    # log = jl.EventLog.read("events.parquet", contacts="contacts.parquet")
    log = attempt(datasets.given_log)
    return (log,)


@app.cell(hide_code=True)
def _():
    NEW = "a new journey"
    choice = mo.ui.dropdown([NEW, "trial_welcome", "keen_care"], value="trial_welcome", label="Begin with")
    path = mo.ui.text(placeholder="my_journey.yaml", label="or the path of your own", full_width=True)
    language = mo.ui.dropdown(
        {"English": "en", "Polski": "pl"},
        value="Polski" if LANGUAGE == "pl" else "English",
        label="Language of the canvas",
    )
    mo.hstack([choice, path, language], widths=[1, 2, 1], align="end")
    return NEW, choice, language, path


@app.cell(hide_code=True)
def _(NEW, choice, path):
    def _begin():
        if path.value.strip():
            return jl.Journey.read(path.value.strip())
        return "my_journey" if choice.value == NEW else jl.Journey.read(datasets.journey_file(choice.value))

    began = attempt(_begin)
    return (began,)


@app.cell(hide_code=True)
def _(began, language, log):
    canvas = mo.ui.anywidget(
        attempt(jl.canvas.Canvas, began, log=log, compared=None if isinstance(began, str) else began, height=640,
                language=language.value)
    )  # fmt: skip
    canvas
    return (canvas,)


@app.cell(hide_code=True)
def _():
    mo.accordion({
        "How to draw": mo.md("""
    - **Click a verb** to add a box behind the selected one, or on the selected line; or drag a verb to where it
      shall be.
    - **Drag from a dot** at the bottom of a box to another box to connect them. A red dot still leads nowhere.
    - **Select a box** to change its options at the right; what is wrong is said beside the option. Conditions complete
      names of attributes, events and boxes: press the arrow down to see all.
    - **Delete** removes what is selected, **Ctrl+Z** undoes, **Tidy** arranges all anew. Moving boxes changes no
      version.
    - **By keyboard**: Tab goes from box to box, Alt with an arrow along a line, Enter to the options, Escape back.
    - A box that runs another journey **opens** by a double click.
    """),
        "What the numbers say, and what they do not": mo.md("""
    Lines are counted over your log as if the journey had run: who would have entered, which way each contact would have
    gone, and when. Solid lines rest on what the log has. Dashed ones are assumed: a message that was never sent cannot
    have been opened, so whoever would have answered it goes the silent way. How contacts would have answered is the
    next notebook's question. Intervals are of 95% and say how sure a share is for contacts like these, not what the
    journey would make them do.

    The layer *Difference* shows what you have changed since you began.
    """),
    })  # fmt: skip
    return


@app.cell(hide_code=True)
def _(began, canvas):
    canvas.value  # this cell runs again whenever the drawing changes
    text = attempt(canvas.to_yaml)
    _faults = canvas.checked["faults"]
    _name = canvas.checked["version"] and canvas.journey.journey
    _changes = (
        mo.plain_text(as_text(jl.diff(began, canvas.journey)))
        if _name and not isinstance(began, str)
        else mo.md(f"{len(_faults)} faults are left; the canvas says where." if _faults else "A new journey.")
    )
    mo.vstack([
        mo.md("## What was drawn"),
        _changes,
        mo.accordion({"The file": mo.plain_text(text)}),
        mo.download(text.encode(), filename=f"{_name or 'journey'}.yaml", label="Save the file"),
    ])  # fmt: skip
    return (text,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Next

    - **3. Replay and backtest** moves waits and thresholds by sliders, predicts what the log cannot know, and tests
      such predictions against what came.
    - On the command line: `journeylab check journey.yaml`, `journeylab replay journey.yaml --events …`, and
      `journeylab test journey.yaml` for the cases beside it.
    """)
    return


if __name__ == "__main__":
    app.run()

"""Replay a journey with sliders, predict it, and test predictions: open with `marimo edit` or `run`, or as a script."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Replay and backtest")

with app.setup:
    import marimo as mo
    import pandas as pd

    import journeylab as jl
    from _cells import attempt, explored, picture, refuse
    from journeylab import datasets
    from journeylab.drawing import share_text


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 3. Replay, predict, and test the prediction

    What would this journey have done over the log you already have? What if it waited longer, or asked for more? And
    what of the answer can be believed? A replay says what the log knows; a simulation predicts the rest, with an
    interval; a backtest holds such predictions against what really came.
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
    choice = mo.ui.dropdown(["trial_welcome", "keen_care"], value="trial_welcome", label="A bundled journey")
    path = mo.ui.text(placeholder="my_journey.yaml", label="or the path of your own", full_width=True)
    predicts = mo.ui.switch(value=False, label="Learn from the log how messages are answered, and predict (a minute)")
    mo.vstack([mo.hstack([choice, path], widths=[1, 2], align="end"), predicts])
    return choice, path, predicts


@app.cell(hide_code=True)
def _(choice, path):
    began = attempt(jl.Journey.read, path.value.strip() or datasets.journey_file(choice.value))
    return (began,)


@app.cell(hide_code=True)
def _(log, predicts):
    model = attempt(jl.fit_responses, log, progress=True) if predicts.value else None
    return (model,)


@app.cell(hide_code=True)
def _(began, log, model):
    explorer = explored(jl.explorers.ReplayExplorer, began, log, responses=model, height=620)
    mo.vstack([
        mo.md("## Move a slider\nThe journey is replayed at once: over the whole log, "
              "and with a model also predicted, first from a sample of contacts and then from all."),
        explorer,
    ])  # fmt: skip
    return (explorer,)


@app.cell(hide_code=True)
def _(explorer):
    explorer.value  # this cell runs again whenever a slider moves
    if explorer.replay is None:
        refuse("The replay waits until the journey has no faults.")
    result = explorer.replay
    return (result,)


@app.cell(hide_code=True)
def _(result):
    mo.vstack([
        mo.md("## Which way\nThe share of each branch among the visits that left its node, with a 95% interval. "
              "A wide interval means few visits, not a bad journey."),
        picture(jl.charts.branch_chart(result.branches), result.branches),
    ])  # fmt: skip
    return


@app.cell(hide_code=True)
def _(result):
    _flow = result.flow()
    _shown = picture(jl.charts.flow_chart(_flow), _flow) if len(_flow) else mo.md("No visit left by a branch.")
    mo.vstack([
        mo.md("## Over time\nVisits of each branch, week by week. The last weeks are lower where visits are still "
              "open; a step elsewhere is worth a question to whoever knows what happened that week."),
        _shown,
    ])  # fmt: skip
    return


@app.cell(hide_code=True)
def _(result):
    _funnel = result.funnel()
    _curve = result.time_to_exit()
    _goal = (
        picture(jl.charts.time_to_event_chart(_curve), _curve)
        if len(_curve)
        else mo.md("Nobody converted: no `exit_when` of this journey is a `goal` that was met.")
    )
    mo.vstack([
        mo.md("## How far, and how soon\nEntries that came as far as each step, and how soon they converted. Entries "
              "that are still inside count as long as they could be watched (Aalen and Johansen's estimator)."),
        picture(jl.charts.funnel_chart(_funnel), _funnel) if result.n_entries else mo.md("Nobody entered."),
        _goal,
    ])  # fmt: skip
    return


@app.cell(hide_code=True)
def _(result):
    _closed = result.counts.groupby("node", sort=False)[["n_visits", "n_assumed", "n_predicted"]].sum().reset_index()
    _notes = "\n".join(f"- {note}" for note in result.notes) or "- Nothing: every outcome is in the log."
    mo.vstack([
        mo.md(f"## What is assumed\n{_notes}"),
        mo.accordion({"Visits by what they rest on": mo.ui.table(_closed, selection=None, page_size=20)}),
    ])  # fmt: skip
    return


@app.cell(hide_code=True)
def _(explorer, log):
    explorer.value
    support = attempt(jl.support_map, explorer.journey, log)
    _n = support.edges["status"].value_counts()
    mo.vstack([
        mo.md(f"""## What this log can tell at all

Of the ways through this journey, {_n.get("identified", 0)} are identified by the log, {_n.get("weak", 0)} weakly and
{_n.get("not identified", 0)} not at all: there, chance never sent such contacts such messages, and whatever a model
says rests on contacts that may differ. The cheapest way to know more is to let chance decide for a few percent of
sends."""),
        mo.ui.tabs({"Picture": mo.Html(support.draw()),
                    "Table": mo.ui.table(support.edges, selection=None, page_size=15)}),
    ])  # fmt: skip
    return


@app.cell(hide_code=True)
def _(log):
    days = pd.date_range(log.start_at, log.end_at, freq="D", normalize=True)
    cutoff = mo.ui.slider(
        0.3,
        0.9,
        0.05,
        value=0.65,
        label="Hide the last part of the log, from this share of its days on",
        show_value=True,
    )
    ran = mo.ui.text(
        placeholder="history.yaml", label="The file of a journey that really ran (none: Akacja's own)", full_width=True
    )
    tests = mo.ui.switch(value=False, label="Run the backtest (a minute)")
    mo.vstack([
        mo.md("## Would such a prediction have been right?\nA backtest takes a journey that really ran, hides all that "
              "came after a day, learns from the rest, predicts, and compares. Each branch gets a verdict: "
              "`calibrated`, `biased`, or `unknowable` with the reason."),
        mo.hstack([ran, cutoff], widths=[2, 1], align="end"),
        tests,
    ])  # fmt: skip
    return cutoff, days, ran, tests


@app.cell(hide_code=True)
def _(cutoff, days, log, ran, tests):
    def _history():
        if ran.value.strip():
            return jl.Journey.read(ran.value.strip())
        return datasets.shop_history().one("akacja_winback")

    mo.stop(not tests.value, mo.md("*The backtest has not run yet.*"))
    verdicts = attempt(
        jl.backtest,
        attempt(_history),
        log,
        cutoff=days[int(cutoff.value * (len(days) - 1))].to_pydatetime(),
        progress=True,
    )
    return (verdicts,)


@app.cell(hide_code=True)
def _(verdicts):
    _table = verdicts.branches
    _counts = _table["verdict"].value_counts()
    mo.vstack([
        mo.md(f"**{_counts.get('calibrated', 0)} of {len(_table)} branches are calibrated** "
              f"({share_text(_counts.get('calibrated', 0) / max(1, len(_table)))}); where it says `biased`, do not use "
              "this model for a scenario; where it says `unknowable`, no model of this kind could have known."),
        verdicts,
    ])  # fmt: skip
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Next

    - **4. Learn send times**: at which hour each contact answers, and what knowing it is worth.
    - On the command line: `journeylab replay`, `journeylab simulate`, `journeylab backtest`; `journeylab report`
      writes a page for others, whose numbers tell of nobody.
    """)
    return


if __name__ == "__main__":
    app.run()

"""Which of several offers works better: an experiment from its plan to a verdict, with marimo or as a script."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Test variants")

with app.setup:
    from datetime import timedelta

    import marimo as mo
    import pandas as pd

    import journeylab as jl
    from _cells import attempt, drawn, explored, picture, points
    from journeylab.experimentcharts import (
        forest_chart,
        guardrail_chart,
        power_chart,
        ratio_chart,
        segment_chart,
        shares_chart,
    )
    from journeylab.experiments import Experiment, Proportion, Stopping
    from journeylab.experiments.estimation.guardrails import guardrails_table
    from journeylab.experimentwords import power_table
    from journeylab.language import formatted, share_text

    DAY = timedelta(days=1)
    RULES = {
        "whenever one likes": {"rule": "always_valid"},
        "at five planned looks": {"rule": "group_sequential", "looks": 5},
        "once, at the end": {"rule": "fixed"},
    }


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Test variants

    **Which of several offers brings more people to buy?** This notebook takes an experiment on a journey's split: what
    it can find and how long that takes, whether its arms came out as they should, what the difference is and how sure
    one may be, and what to decide. Move a day back, and see what one would have known then.

    Where a figure would mislead, it is not given, and the reason is.
    """)
    return


@app.cell(hide_code=True)
def _():
    # The one cell to change for a log of your own, such as jl.EventLog.read("events.parquet").
    log = jl.datasets.given_log()
    return (log,)


@app.cell(hide_code=True)
def _():
    experiment_path = mo.ui.text(
        placeholder="offer_test.yaml", label="An experiment of your own: path of its file", full_width=True
    )
    return (experiment_path,)


@app.cell(hide_code=True)
def _(experiment_path, log):
    declared = attempt(
        Experiment.read,
        experiment_path.value.strip() or jl.datasets.fixtures() / "experiments" / "offer_test.yaml",
    )
    _arms = ", ".join(f"{arm} ({share_text(share)})" for arm, share in declared.arms.items())
    mo.vstack(
        [
            mo.md("## 1. The question"),
            mo.plain_text(repr(log)),
            experiment_path,
            mo.md(
                f"""
**{declared.question or declared.experiment}**

Arms: {_arms}; the others are held against **{declared.control}**. The metric that decides is
**{declared.primary.name}** within {declared.window.days if declared.window else "?"} days of the split. Without a file
of your own, it is the test that the made-up shop Akacja ran among its trial accounts. An experiment is written before
it starts and kept in Git; `docs/experiments.md` says how.
"""
            ),
        ]
    )
    return (declared,)


@app.cell(hide_code=True)
def _(declared):
    _n = declared.stopping.planned_n
    planned_n = mo.ui.slider(
        max(50, _n // 5 // 50 * 50), 8 * _n, 50, value=_n, label="Units in all arms", show_value=True, debounce=True
    )
    return (planned_n,)


@app.cell(hide_code=True)
def _(declared):
    _least = round(100 * (declared.minimum_effect or 0.05), 1)
    wanted = mo.ui.slider(
        0.5, max(20.0, 2 * _least), 0.5, value=_least, label="Least effect worth having, points", show_value=True,
        debounce=True,
    )  # fmt: skip
    return (wanted,)


@app.cell(hide_code=True)
def _():
    rule = mo.ui.dropdown(RULES, value="whenever one likes", label="One looks")
    return (rule,)


@app.cell(hide_code=True)
def _():
    aa_runs = mo.ui.slider(0, 60, 10, value=10, label="Tests without a difference", show_value=True, debounce=True)
    return (aa_runs,)


@app.cell(hide_code=True)
def _(declared, planned_n, rule, wanted):
    # Shares are in points; other metrics keep the least effect of their file.
    _is_share = isinstance(declared.primary, Proportion)
    experiment = attempt(
        declared.model_copy,
        update={
            "stopping": Stopping(planned_n=planned_n.value, **rule.value),
            "minimum_effect": wanted.value / 100 if _is_share else declared.minimum_effect,
        },
    )
    return (experiment,)


@app.cell(hide_code=True)
def _(aa_runs, experiment, log, planned_n, rule, wanted):
    try:
        plan, _missing = experiment.plan(log, aa_runs=aa_runs.value), None
    except jl.JourneyLabError as error:
        plan, _missing = None, error
    _controls = mo.vstack(
        [
            mo.hstack([planned_n, wanted], justify="start", gap=2, wrap=True),
            mo.hstack([rule, aa_runs], justify="start", gap=2, wrap=True),
        ]
    )
    mo.stop(
        plan is None,
        mo.callout(
            mo.vstack(
                [
                    mo.md("**This log cannot answer the question.**"),
                    mo.plain_text(str(_missing)),
                    mo.md(
                        "An experiment on a journey needs a log with the events that start the journey, the "
                        "attributes that it asks for, and what is counted. Give the file of an experiment on a "
                        "journey that fits this log, or the log of the journey that the file names."
                    ),
                ]
            ),
            kind="warn",
        ),
    )
    _power = power_table(plan)
    _shown = (
        picture(
            drawn(power_chart, _power, experiment.primary.name, plan.recruiting.n_weeks, experiment.minimum_effect),
            _power,
        )
        if len(_power)
        else mo.md("History has no whole week of exposures, so it cannot be said how long the experiment takes.")
    )
    mo.vstack(
        [
            mo.md("## 2. The plan\nWhat can be found with so many units, and how long do they take to come?"),
            _controls,
            points(plan.sentences()),
            _shown,
            mo.md(
                "The line is the least effect that is found with the wanted probability, by how many weeks one takes "
                "units in. A smaller effect may be there and will mostly be missed. It rests on how many units came "
                "in the last weeks of this log; a season changes that. Tests without a difference draw arms anew and "
                "count how often one is found all the same."
            ),
            mo.accordion({"All metrics of the plan": mo.ui.table(plan.metrics.round(4), selection=None)}),
        ]
    )
    return (plan,)


@app.cell(hide_code=True)
def _(log, plan):
    plan  # a log that cannot be planned on cannot be looked at either
    _last = max(1, (log.end_at - log.start_at) // DAY)
    as_of_day = mo.ui.slider(
        min(21, _last),
        _last + 1,
        1,
        value=_last + 1,
        label="As of day",
        show_value=True,
        debounce=True,
        full_width=True,
    )
    return (as_of_day,)


@app.cell(hide_code=True)
def _(as_of_day, experiment, log):
    as_of = min(log.end_at, log.start_at + as_of_day.value * DAY)
    _until = None if as_of == log.end_at else as_of
    try:
        found, _missing = experiment.analyze(log, until=_until), None
    except jl.JourneyLabError as error:
        found, _missing = None, error
    _fault = (
        []
        if _missing is None
        else [
            mo.callout(
                mo.vstack(
                    [
                        mo.md("**Nothing can be told as of this day.**"),
                        mo.plain_text(str(_missing)),
                        mo.md("Take a later day, or a log in which the experiment ran for longer."),
                    ]
                ),
                kind="warn",
            )
        ]
    )
    _shown = mo.vstack(
        [
            mo.md("## 3. As of a day\nEverything below is what one would have known on this day of the log."),
            as_of_day,
            mo.md(f"That is {as_of:%Y-%m-%d}, of a log from {log.start_at:%Y-%m-%d} to {log.end_at:%Y-%m-%d}."),
            *_fault,
        ]
    )
    mo.stop(found is None, _shown)
    _shown
    return (found,)


@app.cell(hide_code=True)
def _(found):
    _words = {
        "ship": "better beyond chance, and every guardrail holds",
        "keep control": "worse, or a guardrail is violated",
        "go on": "it is not over yet",
        "undecided": "it is over, and no difference was found",
        "blocked": "the arms do not have the units that they should",
    }
    _kinds = {"ship": "success", "keep control": "warn", "blocked": "danger"}
    mo.vstack(
        [
            mo.md("## 4. The verdict"),
            *(
                mo.callout(
                    mo.md(f"**{one.arm}: {one.decision}** ({_words.get(one.decision, '')}).\n\n{one.reason}"),
                    kind=_kinds.get(one.decision, "neutral"),
                )
                for one in found.verdicts
            ),
            mo.md(
                f"{found.maturity.sentence} *Undecided* does not mean that the arms are alike: what is ruled out is "
                "only what lies outside of the interval."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(found):
    ratio = found.primary.ratio
    counts = pd.DataFrame({"arm": [*ratio.n], "units": [*ratio.n.values()], "expected": [*ratio.expected.values()]})
    _tabs = {"Units": mo.ui.table(counts.round(1), selection=None)}
    if len(ratio.path):
        _tabs = {
            "The check": drawn(ratio_chart, ratio.path, ratio.alpha),
            "Shares": drawn(shares_chart, ratio.shares),
            **_tabs,
            "The check as a table": mo.ui.table(ratio.path, selection=None, page_size=10),
        }
    mo.vstack(
        [
            mo.md("## 5. Who was exposed, and do the arms have their shares?"),
            mo.ui.tabs(_tabs),
            points(ratio.sentences()),
            mo.md(
                "If arms do not have the units that they should, units went missing in some arms more than in others, "
                "and no difference can be believed. The curve may be looked at each day; the single p value in the "
                "sentence is of one look."
            ),
        ]
    )
    return (counts,)


@app.cell(hide_code=True)
def _(experiment, found):
    _better = {metric.name: metric.better for metric in experiment.metrics}
    _effects = found.table
    _primary = _effects[(_effects["role"] == "primary") & (_effects["kind"] != "winsorised")]
    _shown = [mo.md("No effect is given, as the arms do not have their shares.")]
    if len(_primary):
        _is_share = isinstance(experiment.primary, Proportion)

        def _shown_as(number):
            return share_text(number) if _is_share else formatted(number, ".4g")

        def _difference(number):
            return f"{formatted(100 * number, '+.1f')} points" if _is_share else formatted(number, "+.4g")

        _sentences = [
            f"**{row.arm}** has {_shown_as(row.mean_arm)} where {row.control} has {_shown_as(row.mean_control)}: a "
            f"difference of {_difference(row.effect)}, somewhere between {_difference(row.low)} and "
            f"{_difference(row.high)} ({row.level:.0%}, {row.interval})."
            for row in _primary.itertuples()
        ]
        _shown = [
            picture(drawn(forest_chart, _primary, _better), _primary),
            points(_sentences),
            mo.accordion(
                {"The other metrics, as explorations": picture(drawn(forest_chart, _effects, _better), _effects)}
            ),
        ]
        if found.guardrails:
            _rails = guardrails_table(found.guardrails)
            _shown += [
                mo.md("### What may not get worse"),
                picture(drawn(guardrail_chart, _rails), _rails),
                points(result.sentence for result in found.guardrails),
                mo.md(
                    "A guardrail *holds* when it is shown that the harm stays within its margin (the dashed line). "
                    "That no harm was seen is not enough."
                ),
            ]
    mo.vstack(
        [
            mo.md(
                f"""
## 6. What is the difference?

Effects on **{experiment.primary.name}**. An interval that contains 0 does not tell the arms apart. Secondary metrics
were not asked first, so what they show is a guess for the next test.
"""
            ),
            *_shown,
        ]
    )
    return


@app.cell(hide_code=True)
def _(experiment, log, plan):
    plan  # as above
    watcher = explored(jl.explorers.ExperimentWatcher, experiment, log)
    return (watcher,)


@app.cell(hide_code=True)
def _(watcher):
    mo.vstack(
        [
            mo.md(
                """
## 7. How it came about

What one would have seen by watching; it has a day of its own, apart from the slider above.
"""
            ),
            watcher,
            mo.md(
                "Only units whose whole window has passed are in it. The band holds whenever one looks; the dashed "
                "lines are what a single look would say: whoever looks again and again and stops at the first "
                "crossing of these is wrong far more often than they promise. The picture does not say when to stop: "
                "the plan does."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(found):
    _parts = {
        f"{segment}: {arm}": mo.vstack(
            [
                picture(drawn(segment_chart, one.table, differs=one.differs), one.table),
                mo.md(one.sentence),
            ]
        )
        for (segment, arm), one in found.who.segments.items()
    }
    mo.vstack(
        [
            mo.md("## 8. For whom?"),
            mo.ui.tabs(_parts) if _parts else mo.md("The experiment declares no segments, or no effect is given."),
            mo.md(
                "Of many segments one always looks best. Hollow marks are the effects as measured, filled ones are "
                "drawn to what all segments have in common, which is nearer the truth on average. What is not beyond "
                "chance is no reason to treat a segment differently."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(found):
    _checks = {name: mo.md("\n".join(f"- {line}" for line in one.sentences())) for name, one in found.checks.items()}
    _failed = [name for name, one in found.checks.items() if not one.passed]
    mo.vstack(
        [
            mo.md("## 9. What could be wrong with it"),
            mo.md(
                f"Of {formatted(len(_checks))} further checks "
                + (f"{len(_failed)} found something: {', '.join(_failed)}." if _failed else "none found anything.")
            ),
            mo.accordion({**_checks, "What to know of the data": points(found.warnings)}),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 10. What next

    The same on the command line; the plan is written before the start, the record when it is decided:

    ```
    journeylab experiment plan offer_test.yaml --events events.parquet --out plan.json
    journeylab experiment analyze offer_test.yaml --events events.parquet --plan plan.json
    ```

    (and `--contacts contacts.parquet` where attributes of contacts are asked for).

    With `--record record.json --by "growth team" --reason "no offer is better"` the second keeps the decision, which
    `journeylab promote --record` asks for.

    An effect that won is measured too large on average: plan the next test on the shrunken one.

    **Next:** `06_promote_and_watch.py` takes a journey live in a sandbox and holds what comes against its forecast.
    """)
    return


if __name__ == "__main__":
    app.run()

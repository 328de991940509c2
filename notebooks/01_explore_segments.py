"""Who is in a segment, how many over time, what distinguishes them: with `marimo edit` or `run`, or as a script."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Explore segments")

with app.setup:
    import marimo as mo

    import journeylab as jl
    from _cells import attempt, explored
    from journeylab import datasets
    from journeylab.yamltext import yaml_text


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 1. Explore segments

    Whom should a journey speak to? A segment is a condition on what contacts have done and are, and who is in it
    changes from day to day. Here you build one and see how many contacts it finds over time, which other segments
    they are in, what distinguishes them from the rest, and what some of them have done lately.

    Six notebooks tell one story on the log of Akacja, a made-up shop, or on yours: who (this one), what they get (2),
    what would come of it (3), when to send (4), which variant is better (5), and how it goes live (6).
    """)
    return


@app.cell
def _():
    # The one cell to change for a log of your own:
    # log = jl.EventLog.read("events.parquet", contacts="contacts.parquet")
    log = attempt(datasets.given_log)
    return (log,)


@app.cell(hide_code=True)
def _(log):
    mo.vstack([mo.plain_text(repr(log)), mo.accordion({"The kinds of events, and what is known of contacts": log})])
    return


@app.cell(hide_code=True)
def _(log):
    # What Akacja asks; a log without such events begins with the kinds that it has most of.
    examples = {
        "frequent_visitors": 'count("visit", "30d") >= 3',
        "buyers": 'did("purchase", "30d")',
        "away": 'since("visit") > "30d"',
    }
    if not {"visit", "purchase"} <= set(log.event_names):
        _most = log.summary().nlargest(3, "n_events")["event"]
        examples = {f"{name}_in_30_days": f'did("{name}", "30d")' for name in _most}
    return (examples,)


@app.cell(hide_code=True)
def _(examples, log):
    explorer = explored(jl.explorers.SegmentExplorer, log, examples)
    explorer
    return (explorer,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Reading it.** The line says how many contacts are in each segment, and the number moves by itself: people come and
    go. The bars of the overlap say how many are in exactly these segments together. What distinguishes a segment is
    description, not cause: that buyers open more says nothing of whether opening makes them buy. Sample paths show
    contacts under pseudonyms that are made for this session.
    """)
    return


@app.cell(hide_code=True)
def _(explorer):
    explorer.value  # this cell runs again whenever a control moves
    _values = explorer.values
    _named = {one["name"]: one["condition"] for one in _values["segments"] if one["condition"]}
    segments = {_values["name"]: _values["condition"], **_named}
    text = yaml_text({"segments": segments})
    mo.vstack([
        mo.md("## Keep them\nThe segments as a part of a journey file, where triggers and conditions can name them:"),
        mo.plain_text(text),
        mo.download(text.encode(), filename="segments.yaml", label="Save the segments"),
    ])  # fmt: skip
    return segments, text


@app.cell(hide_code=True)
def _(log, segments):
    audience = attempt(jl.audience, log, next(iter(segments.values())))
    mo.md(f"""
    ## Next

    The first of them finds **{len(audience):,}** of {log.n_contacts:,} contacts at the end of the log.

    - **2. Draw a journey** for them: `trigger: {{segment: {next(iter(segments))}, every: 1d}}` lets those in who join.
    - In Python: `jl.sizes`, `jl.overlap`, `jl.audience` and `jl.fit`, which learns the weights of evidence from
      an outcome.
    """)
    return (audience,)


if __name__ == "__main__":
    app.run()

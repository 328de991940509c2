"""From a segment to a replayed journey: open with `marimo edit` or `marimo run`, or run as a script."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Replay a journey")

with app.setup:
    from datetime import timedelta
    from fractions import Fraction
    from io import BytesIO

    import marimo as mo
    import pandas as pd

    import journeylab as jl
    from journeylab.definitiondiff import as_text
    from journeylab.drawing import share_text
    from journeylab.journeytext import plain_text

    DAY = timedelta(days=1)


@app.function
def refuse(reason):
    """Ends a cell, and those that need it, with a reason that says what to mend."""
    mo.stop(predicate=True, output=mo.callout(mo.plain_text(str(reason)), kind="danger"))


@app.function
def attempt(make, *arguments, **options):
    """What a call returns; where the data or the journey is at fault, the cell says so."""
    try:
        return make(*arguments, **options)
    except jl.JourneyLabError as error:
        refuse(error)


@app.function
def picture(chart, table):
    """A picture, and in the next tab the table whose numbers it shows."""
    return mo.ui.tabs({"Picture": chart, "Table": mo.ui.table(table, selection=None, page_size=15)})


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Replay a journey

    This notebook takes an event log, shows who is in your segments, and replays a journey over the log: what each
    contact would have met, node by node. Move a slider and the whole journey is replayed at once.

    A replay counts what happened in the log. It does not say what a message would have caused
    (docs/semantics.md, rule 32).
    """)
    return


@app.cell(hide_code=True)
def _():
    events_path = mo.ui.text(placeholder="events.parquet, or a URL", label="Events: path", full_width=True)
    contacts_path = mo.ui.text(placeholder="contacts.parquet (optional)", label="Contacts: path", full_width=True)
    events_upload = mo.ui.file(filetypes=[".csv", ".parquet"], label="or upload events")
    contacts_upload = mo.ui.file(filetypes=[".csv", ".parquet"], label="or upload contacts")
    columns = mo.ui.text(placeholder="customer_id=contact,date=occurred_at", label="Other names of columns")
    event = mo.ui.text(placeholder="purchase", label="The one kind of event, without a column `event`")
    zone = mo.ui.text(placeholder="UTC", label="Time zone of times that do not say theirs")
    own_files = mo.vstack(
        [
            mo.hstack([events_path, events_upload], widths=[3, 1]),
            mo.hstack([contacts_path, contacts_upload], widths=[3, 1]),
            mo.hstack([columns, event, zone], wrap=True),
        ]
    )
    mo.vstack(
        [
            mo.md("## 1. The event log\nWithout files of your own, it is that of Akacja, a simulated shop."),
            mo.accordion({"Use your own files": own_files}),
        ]
    )
    return columns, contacts_path, contacts_upload, event, events_path, events_upload, zone


@app.cell(hide_code=True)
def _(columns, contacts_path, contacts_upload, event, events_path, events_upload, zone):
    def _table(path, upload):
        if not upload.value:
            return path.value.strip() or None
        read = pd.read_parquet if upload.name().endswith(".parquet") else pd.read_csv
        try:
            return read(BytesIO(upload.contents()))
        except (ValueError, OSError) as error:
            return refuse(f"{upload.name()} cannot be read: {error}")

    _events = _table(events_path, events_upload)
    _names = [pair.split("=", 1) for pair in columns.value.replace(" ", "").split(",") if "=" in pair]
    log = (
        jl.datasets.shop()
        if _events is None
        else attempt(
            jl.EventLog.read,
            _events,
            contacts=_table(contacts_path, contacts_upload),
            columns=dict(_names),
            event=event.value.strip() or None,
            timezone=zone.value.strip() or None,
        )
    )
    return (log,)


@app.cell(hide_code=True)
def _(log):
    mo.vstack([mo.plain_text(repr(log)), mo.accordion({"The kinds of events, and what is known of contacts": log})])
    return


@app.cell(hide_code=True)
def _(log):
    _visits = 'count("visit", "30d") >= 3'
    _examples = {"frequent_visitors": _visits, "buyers": 'did("purchase", "30d")', "away": 'since("visit") > "30d"'}
    if not {"visit", "purchase"} <= set(log.event_names):
        _most = log.summary().nlargest(3, "n_events")["event"]
        _examples = {f"{name}_in_30_days": f'did("{name}", "30d")' for name in _most}
    segment_text = mo.ui.text_area(
        value="\n".join(f"{name}: {condition}" for name, condition in _examples.items()),
        label="One segment to a line, as `name: condition`",
        rows=4,
        full_width=True,
    )
    every = mo.ui.dropdown({"every day": "1d", "every week": "7d", "every 4 weeks": "28d"}, value="every week")
    mo.vstack(
        [
            mo.md("## 2. Segments\nA segment is a condition on what a contact has done or is, as of an instant."),
            segment_text,
            mo.hstack([mo.md("Look"), every], justify="start"),
        ]
    )
    return every, segment_text


@app.cell(hide_code=True)
def _(every, log, segment_text):
    _lines = [line.partition(":") for line in segment_text.value.splitlines() if line.strip()]
    _named = {name.strip(): condition.strip() for name, _, condition in _lines}
    sizes = attempt(jl.sizes, log, _named, every.value)
    overlap = jl.overlap(log, _named)
    segments = {name: jl.Segment(condition=condition) for name, condition in _named.items()}
    return overlap, segments, sizes


@app.cell(hide_code=True)
def _(sizes):
    picture(jl.charts.segment_size_chart(sizes), sizes)
    return


@app.cell(hide_code=True)
def _(log, overlap):
    mo.vstack(
        [
            mo.md(f"Who is in several of them, as of {log.end_at:%Y-%m-%d}:"),
            picture(jl.charts.segment_overlap_chart(overlap), overlap),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    journey_choice = mo.ui.dropdown(["trial_welcome", "keen_care"], value="trial_welcome", label="A bundled journey")
    journey_path = mo.ui.text(placeholder="my_journey.yaml", label="or the path of your own", full_width=True)
    mo.vstack(
        [mo.md("## 3. The journey"), mo.hstack([journey_choice, journey_path], widths=[1, 2], align="end")],
    )
    return journey_choice, journey_path


@app.cell(hide_code=True)
def _(journey_choice, journey_path):
    base = attempt(jl.Journey.read, journey_path.value.strip() or jl.datasets.journey_file(journey_choice.value))
    return (base,)


@app.cell(hide_code=True)
def _(base, segments):
    def _days(duration, label):
        days = duration / DAY
        return mo.ui.slider(0.5, max(30.0, 2 * days), 0.5, value=days, label=label, show_value=True, full_width=True)

    _own_trigger = "the journey's own trigger"
    _waits = {name: node for name, node in base.nodes.items() if isinstance(node, jl.Wait | jl.WaitFor)}
    _splits = {name: node for name, node in base.nodes.items() if isinstance(node, jl.Split)}
    who = mo.ui.dropdown([_own_trigger, *segments], value=_own_trigger, label="Who enters")
    waits = mo.ui.dictionary(
        {name: _days(node.wait if isinstance(node, jl.Wait) else node.within, name) for name, node in _waits.items()}
    )
    shares = mo.ui.dictionary(
        {
            name: mo.ui.dictionary(
                {
                    arm: mo.ui.slider(
                        0, 100, 5, value=round(float(share) * 100), label=arm, show_value=True, full_width=True
                    )
                    for arm, share in node.split.items()
                }
            )
            for name, node in _splits.items()
        }
    )
    _quiet = (base.quiet_hours.start, base.quiet_hours.end) if base.quiet_hours else ("00:00", "00:00")
    quiet_from, quiet_to = (
        mo.ui.slider(0, 23, value=int(_hour[:2]) % 24, label=_label, show_value=True, full_width=True)
        for _hour, _label in zip(_quiet, ("from, hour", "to, hour"), strict=True)
    )
    cap_sends = mo.ui.slider(
        0, 10, value=base.cap.sends if base.cap else 0, label="most sends", show_value=True, full_width=True
    )
    _within = max(1, base.cap.within // DAY) if base.cap else 7
    cap_days = mo.ui.slider(1, 30, value=_within, label="within, days", show_value=True, full_width=True)
    _columns = [
        mo.vstack([mo.md("**Waits**, days"), *waits.values()]),
        *(mo.vstack([mo.md(f"**Shares of `{name}`**, scaled to 100%"), *shares[name].values()]) for name in _splits),
    ]
    _limits = [mo.md("**Quiet hours**, none where both are equal"), quiet_from, quiet_to]
    _limits += [mo.md("**Cap**, none at 0"), cap_sends, cap_days]
    mo.vstack(
        [
            mo.hstack(
                [who, mo.md("A segment is looked at daily; who left may enter again after 30 days.")], align="end"
            ),
            mo.hstack([*_columns, mo.vstack(_limits)], widths="equal", align="start", gap=2),
        ]
    )
    return cap_days, cap_sends, quiet_from, quiet_to, shares, waits, who


@app.cell(hide_code=True)
def _(base, cap_days, cap_sends, quiet_from, quiet_to, segments, shares, waits, who):
    def _changed(name, node):
        if isinstance(node, jl.Split):
            total = sum(shares.value[name].values())
            if not total:
                refuse(f"{name}: give at least one arm a share")
            arms = {arm: Fraction(value, total) for arm, value in shares.value[name].items()}
            return node.model_copy(update={"split": arms})
        if name not in waits.value:
            return node
        field, before = ("wait", node.wait) if isinstance(node, jl.Wait) else ("within", node.within)
        after = timedelta(days=waits.value[name])
        return node if before == after else node.model_copy(update={field: after})

    _changes = {
        "nodes": {name: _changed(name, node) for name, node in base.nodes.items()},
        "quiet_hours": None
        if quiet_from.value == quiet_to.value
        else jl.QuietHours(start=f"{quiet_from.value:02d}:00", end=f"{quiet_to.value:02d}:00"),
        "cap": jl.Cap(sends=cap_sends.value, within=timedelta(days=cap_days.value)) if cap_sends.value else None,
    }
    if who.value in segments:
        _changes["segments"] = {**base.segments, who.value: segments[who.value]}
        _changes["trigger"] = jl.Trigger(segment=who.value, every="1d", reentry="30d")
    journey = base.model_copy(update=_changes)
    return (journey,)


@app.cell(hide_code=True)
def _(base, log):
    before = attempt(jl.replay, base, log)
    return (before,)


@app.cell(hide_code=True)
def _(journey, log):
    result = attempt(jl.replay, journey, log)
    return (result,)


@app.cell(hide_code=True)
def _(before, result):
    def _converted(replay):
        return replay.entries["converted"].mean() if replay.n_entries else float("nan")

    def _stat(label, now, was):
        return mo.stat(now, label=label, caption=f"as it was: {was}", bordered=True)

    def _sent(replay):
        return int(replay.sends["is_sent"].sum())

    mo.vstack(
        [
            mo.md("## 4. What would have happened"),
            mo.hstack(
                [
                    _stat("entries", f"{result.n_entries:,}", f"{before.n_entries:,}"),
                    _stat("sends", f"{_sent(result):,}", f"{_sent(before):,}"),
                    _stat("converted", share_text(_converted(result)), share_text(_converted(before))),
                ],
                widths="equal",
            ),
            mo.ui.tabs(
                {
                    "Picture": mo.Html(result.draw()),
                    "Table": mo.ui.table(result.counts, selection=None, page_size=15),
                    "The journey as it was": mo.Html(before.draw()),
                }
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(result):
    mo.vstack(
        [
            mo.md("### Branches"),
            picture(jl.charts.branch_chart(result.branches), result.branches),
        ]
    )
    return


@app.cell(hide_code=True)
def _(result):
    _flow = result.flow()
    _shown = picture(jl.charts.flow_chart(_flow), _flow) if len(_flow) else mo.md("No visit left by a branch.")
    mo.vstack([mo.md("### Which way visits went over time"), _shown])
    return


@app.cell(hide_code=True)
def _(result):
    _funnel = result.funnel()
    mo.vstack([mo.md("### How far entries came"), picture(jl.charts.funnel_chart(_funnel), _funnel)])
    return


@app.cell(hide_code=True)
def _(result):
    _curve = result.time_to_exit()
    _shown = (
        picture(jl.charts.time_to_event_chart(_curve), _curve)
        if len(_curve)
        else mo.md("Nobody converted: no `exit_when` of this journey is a `goal` that was met.")
    )
    mo.vstack([mo.md("### Time to convert"), _shown])
    return


@app.cell(hide_code=True)
def _(result):
    _closed = result.counts.groupby("node", sort=False)[["n_visits", "n_assumed", "n_predicted"]].sum().reset_index()
    _notes = "\n".join(f"- {note}" for note in result.notes) or "- Nothing: every outcome is in the log."
    mo.vstack(
        [
            mo.md(f"### What is assumed\n{_notes}"),
            mo.accordion({"Visits by what they rest on": mo.ui.table(_closed, selection=None, page_size=20)}),
        ]
    )
    return


@app.cell(hide_code=True)
def _(base, journey):
    _changes = as_text(jl.diff(base, journey))
    _yaml = plain_text(journey)
    mo.vstack(
        [
            mo.md("## 5. Keep it"),
            mo.plain_text(_changes),
            mo.accordion({"The journey as YAML": mo.plain_text(_yaml)}),
            mo.download(_yaml.encode(), filename=f"{journey.journey}.yaml", label="Save the journey"),
        ]
    )
    return


if __name__ == "__main__":
    app.run()

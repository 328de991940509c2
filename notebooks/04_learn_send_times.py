"""At which hour a message is answered most, and what that is worth: open with `marimo edit` or `marimo run`."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Learn send times")

with app.setup:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import marimo as mo

    import journeylab as jl
    from _cells import attempt, explored, points
    from journeylab.language import formatted, share_text
    from journeylab.sendtime import HabitModel, MedianOfOpens, evaluate_out_of_time, send_table
    from journeylab.sendtimeplots import level_table
    from journeylab.shop import Shop

    OWN, LETTER = "the log above", "Akacja's weekly letter, at drawn hours"


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Learn send times

    **At which hour is a message answered most, and by whom?** This notebook learns it from a log, says for how many
    contacts the answer rests on evidence, and finds out what following it would be worth. At the end there is the file
    that a journey takes as `at: best`.

    When people open says little of when they would like mail: a shop that mails at nine finds that people answer at
    nine. Only sends whose hour was *drawn by chance* tell what another hour would have brought.
    """)
    return


@app.cell(hide_code=True)
def _():
    # The one cell to change for a log of your own, such as jl.EventLog.read("events.parquet").
    log = jl.datasets.given_log()
    return (log,)


@app.cell(hide_code=True)
def _(log):
    try:
        own_sends, _missing = send_table(log), None
    except jl.JourneyLabError as error:
        own_sends, _missing = None, str(error)
    n_drawn = 0 if own_sends is None else int(own_sends.is_random.sum())
    _n_sends = 0 if own_sends is None else len(own_sends)
    if n_drawn:
        _said = mo.md(
            f"Of {formatted(_n_sends)} sends in this log {formatted(n_drawn)} went at an hour that was drawn: from "
            "these one can learn."
        )
    else:
        _notes = " ".join(own_sends.notes) if own_sends is not None else ""
        _why = _missing or f"None of its {formatted(_n_sends)} sends went at an hour known to be drawn. {_notes}"
        _said = mo.callout(
            mo.md(
                f"""
**This log cannot tell which hour is better.** {_why}

A journey provides it by itself once a share of its sends explores: `at: {{best: hours, explore: 10%}}`. Each such send
is logged with `slot_propensity`, the probability with which its hour was drawn. Until then the notebook goes on with a
letter that the made-up shop Akacja sent its contacts each week, at hours drawn from the whole week. **What follows is
then about that letter, and not about the log above.**
"""
            ),
            kind="warn",
        )
    mo.vstack([mo.md("## 1. What the log holds"), mo.plain_text(repr(log)), _said])
    return (n_drawn,)


@app.cell(hide_code=True)
def _(n_drawn):
    source = mo.ui.radio([OWN, LETTER], value=OWN if n_drawn else LETTER, label="Learn from")
    return (source,)


@app.cell(hide_code=True)
def _():
    n_contacts = mo.ui.slider(
        500, 6_000, 500, value=1_500, label="Contacts who get the letter", show_value=True, debounce=True
    )
    return (n_contacts,)


@app.cell(hide_code=True)
def _():
    n_letters = mo.ui.slider(4, 40, 4, value=20, label="Letters to each", show_value=True, debounce=True)
    return (n_letters,)


@app.cell(hide_code=True)
def _():
    outcome = mo.ui.dropdown({"opens": "opened", "clicks": "clicked"}, value="opens", label="An answer is")
    return (outcome,)


@app.cell(hide_code=True)
def _(n_contacts, n_letters, outcome, source):
    _letter = [mo.hstack([n_contacts, n_letters], justify="start", gap=2)] if source.value == LETTER else []
    mo.vstack(
        [
            mo.md("## 2. What to learn from"),
            mo.hstack([source, outcome], justify="start", gap=4),
            *_letter,
            mo.md("A fit and its test take some ten seconds for the numbers set here; more contacts take longer."),
        ]
    )
    return


@app.cell(hide_code=True)
def _(log, n_contacts, n_letters, source):
    studied = (
        log
        if source.value == OWN
        else Shop(n_contacts.value, seed=5, days=7 * (n_letters.value + 4), opens={"news": 0.6}).mailed(n_letters.value)
    )
    return (studied,)


@app.cell(hide_code=True)
def _(studied):
    def _n_values(name):
        attribute = studied.attribute(name)
        return len(attribute.categories or []) if attribute.kind == "text" else 0

    _names = [name for name in studied.attribute_names if 1 < _n_values(name) <= 12]
    segment = mo.ui.dropdown(
        {"none": None, **{name: name for name in _names}},
        value=_names[0] if _names else "none",
        label="Groups that may have hours of their own: by",
    )
    segment
    return (segment,)


@app.cell(hide_code=True)
def _(outcome, segment, studied):
    sends = attempt(send_table, studied, outcome=outcome.value, segment=segment.value)
    model = HabitModel().fit(sends)
    times = model.send_times()
    return model, sends, times


@app.cell(hide_code=True)
def _(sends):
    _share = float(sends.answered.mean())
    mo.vstack(
        [
            mo.md(
                f"{formatted(len(sends))} sends to {formatted(len(set(sends.contact.tolist())))} contacts, of which "
                f"{share_text(_share)} were {sends.outcome} by people within {sends.within.days} days; "
                f"{formatted(int(sends.is_random.sum()))} went at a drawn hour."
            ),
            points(sends.notes),
        ]
    )
    return


@app.cell(hide_code=True)
def _(model, sends, times):
    _words = {"everyone": "one week for everyone", "segment": "a week for each group", "person": "each contact's own"}
    _table = (
        model.evidence_.drop(columns="p_value")
        .replace({"level": _words})
        .rename(columns={"level": "hours", "n_answers": "answers it was tested on", "is_used": "used"})
    )
    _used = [_words[level] for level in times.about["levels"]]
    _said = (
        f"Used here: {' and '.join(_used)}. What is not used may still be true; this log does not show it."
        if _used
        else "None of them was better than no curve at all, so no hour is advised."
    )
    mo.vstack(
        [
            mo.md(
                f"""
## 3. What the log bears out

A model may not vouch for itself. It is learned from the first 70% of the sends, and asked about the rest: do the
answers lie where its curves say? `z` is how far beyond chance they do, and a `lift` of 1 means that the curves keep
what they promise (below 1 they promise too much). {_said}
"""
            ),
            mo.ui.table(_table.round(3), selection=None),
            points(note for note in model.notes_ if note not in sends.notes),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    slot_hours = mo.ui.slider(1, 3, value=3, label="Hours that count as one in the test", show_value=True)
    return (slot_hours,)


@app.cell(hide_code=True)
def _(sends, slot_hours):
    value, not_told = None, "No send went at a drawn hour, so nobody can tell what advice would be worth."
    if sends.is_random.any():
        try:
            value = evaluate_out_of_time(
                sends, {"habit": HabitModel(), "median of opens": MedianOfOpens()}, slot_hours=slot_hours.value
            )
        except jl.JourneyLabError as error:
            not_told = str(error)
    return not_told, value


@app.cell(hide_code=True)
def _(model, value):
    explorer = explored(jl.explorers.SendTimeExplorer, model, value=value)
    return (explorer,)


@app.cell(hide_code=True)
def _(explorer, not_told, slot_hours, times, value):
    _n = level_table(times).set_index("level")["contact_share"]
    _groups = (
        ""
        if "segment" in times.about["levels"]
        else " Groups are not in the list, as hours of their own were not borne out."
    )
    mo.vstack(
        [
            mo.md(
                """
## 4. When they answer, and what following it is worth

Choose whose hours to see. To find out what following them is worth, the models learn from the first 70% of the sends;
of the later ones, those that chance put at the hour that a model would have taken tell what it would have brought.
"""
            ),
            slot_hours,
            *([mo.callout(mo.plain_text(not_told), kind="warn")] if value is None else []),
            explorer,
            mo.md(
                f"""
**Reading it.**

- **The week** has hours beyond noise marked + and -. The chances are of a mean message in a mean week: they order
  hours, and do not predict a campaign.{_groups}
- **Gains** go from the contacts who are promised most over everyone's best hour to those who are promised least, a
  group of contacts to a point. They are missing where nobody has hours of their own. The greatest of many uncertain
  promises is too large: what the whole is worth is tested in the last picture.
- **Advice** rests on a contact's own answers for {share_text(_n["person"])} of the contacts, on those of their group
  for {share_text(_n["segment"])}, on everyone's for {share_text(_n["everyone"])}; for {share_text(_n["fallback"])}
  nothing is known, and their mail goes at once.
- **What it is worth**: `habit` is the model above, `median of opens` a rule of thumb, the middle of each contact's
  past opens, `everyone` the one best hour for all, and `drawn` sending at any hour by chance. Intervals are wide
  because only one in many drawn sends lies at the hour in question.

Not shown: what a different message would do, and what happens when every shop writes at that hour.
"""
            ),
            *(
                [
                    mo.accordion(
                        {
                            "How many sends it takes to see more": mo.ui.table(
                                value.needed.round(3), selection=None, page_size=12
                            ),
                            "What was compared": value,
                        }
                    )
                ]
                if value is not None
                else []
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(times):
    with TemporaryDirectory() as _folder:
        times.write(Path(_folder) / "times.parquet")
        file = (Path(_folder) / "times.parquet").read_bytes()
    mo.vstack(
        [
            mo.md(f"## 5. Put it to use\n\nVersion `{times.version}`, for {formatted(len(times.contacts))} contacts:"),
            mo.download(file, filename="times.parquet", label="Save times.parquet"),
            mo.md(
                """
A journey asks it by name, and keeps a share exploring, so that one can tell when habits change:

```yaml
hello: {send: news, at: {best: hours, within: 3d, explore: 10%}, next: done}
```

The same on the command line:

```
journeylab sendtime fit --events events.parquet --outcome opened --out times.parquet
journeylab sendtime evaluate --model habit --events events.parquet --outcome opened
journeylab replay letters.yaml --events events.parquet --send-times hours=times.parquet
```

**Next:** `05_test_variants.py` asks which of several offers works better. More of send times is in `docs/sendtime.md`.
"""
            ),
        ]
    )
    return (file,)


if __name__ == "__main__":
    app.run()

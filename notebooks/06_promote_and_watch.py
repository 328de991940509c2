"""A journey goes live in a sandbox, and what comes is held against its forecast: with marimo, or as a script."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Promote and watch")

with app.setup:
    import shutil
    import sqlite3
    from contextlib import closing
    from datetime import timedelta
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import marimo as mo
    import numpy as np
    import pandas as pd
    from sqlalchemy import StaticPool, create_engine, select

    import journeylab as jl
    from _cells import attempt, drawn, explored, picture, points
    from journeylab.language import formatted
    from journeylab.responses import fit_responses
    from journeylab.sender.keys import Keys
    from journeylab.sender.live.intake import Incoming, Person, declare, receive, receive_people
    from journeylab.sender.live.ticks import tick
    from journeylab.sender.mail.messages import Messages
    from journeylab.sender.mail.previews import preview
    from journeylab.sender.process import WhatRuns
    from journeylab.sender.promotion.checks import names_needed
    from journeylab.sender.promotion.deviation import compare
    from journeylab.sender.promotion.frozen import sends_of
    from journeylab.sender.promotion.promoting import prepare
    from journeylab.sender.promotion.releases import open_fully, promote, roll_back, withdraw
    from journeylab.sender.sending.claims import claim
    from journeylab.sender.sending.gate import Passed, Request, let_pass
    from journeylab.sender.sending.preparing import Made, freeze, sealed
    from journeylab.sender.sending.settling import Settled, settle
    from journeylab.sender.sending.transport import Outcome
    from journeylab.sender.settings import Settings
    from journeylab.sender.store import Store
    from journeylab.sender.store import tables as t
    from journeylab.sender.store.seals import seals_by_contact
    from journeylab.worlds import goal_of

    DAY, STEP = timedelta(days=1), timedelta(hours=6)
    RESPONSES = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")
    OWN_EVENTS = ("sent", "not_sent", "postponed", "called")
    STAND_IN = """<!doctype html><html lang="en"><head><title>{{ subject }}</title></head><body>
<p>Hello from Akacja. This stands in for a message that has not been written yet.</p>
<p><a href="{{ link('shop', 'https://akacja.example/shop') }}">Have a look around</a></p>
<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>
"""


@app.function
def sandbox(folder, journeys):
    """The settings, the messages and a new signing key of the made-up shop, in a folder of their own."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    shutil.copytree(jl.datasets.fixtures() / "messages", folder / "messages")
    for name in {name for journey in journeys for name in sends_of(journey)}:
        if not (folder / "messages" / f"{name}.yaml").exists():
            (folder / "messages" / f"{name}.yaml").write_text(f"message: {name}\nsubject: News from Akacja\n")
            (folder / "messages" / f"{name}.html").write_text(STAND_IN)
    key = generate_private_key(65537, 2048)
    (folder / "dkim.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "dkim.pem").chmod(0o600)
    return Settings.model_validate(
        {
            "sender": "akacja",
            "store": "sqlite:///sandbox.db",
            "domain": "akacja.example",
            "from": {"name": "Akacja", "address": "hello@akacja.example"},
            "list_id": "news.akacja.example",
            "bounces": "bounces.akacja.example",
            "public_url": "https://mail.akacja.example",
            "postal_address": "Akacja, ul. Prosta 1, 00-001 Warszawa",
            "dkim": {"domain": "akacja.example", "selector": "s1", "key": "dkim.pem"},
            "tracking": {"opens": True, "clicks": True},
            "relays": [{"name": "sandbox", "host": "127.0.0.1", "tls": "none"}],
        }
    ).model_copy(update={"folder": folder})


@app.function
def incoming_of(log, contacts, lost):
    """What the contacts do by themselves, in order of time, and how long after a message they answered it.

    The answers are by contact and message, with their distance from the message that went before them in the log; a
    share of the opens and clicks is left out.
    """
    events = log.events()
    events = events[events["contact"].isin(set(contacts))].sort_values("occurred_at", kind="stable")
    draws = np.random.default_rng(0).random(len(events))
    names = [name for name in events.columns if name not in ("contact", "event", "occurred_at")]
    doings, answers, sent_at = [], {}, {}
    for one, draw in zip(events.to_dict("records"), draws, strict=True):
        at, key = one["occurred_at"].to_pydatetime(), (str(one["contact"]), one.get("message"))
        given = {name: one[name] for name in names if not pd.isna(one[name])}
        if one["event"] == "sent":
            sent_at[key] = at
        elif one["event"] not in RESPONSES:
            if one["event"] not in OWN_EVENTS:
                doings.append(Incoming(key[0], one["event"], at, given))
        elif key in sent_at and not (one["event"] in ("opened", "clicked") and draw < lost):
            answers.setdefault(key, []).append((at - sent_at[key], one["event"], given))
    return doings, answers


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Promote and watch

    **Does a journey do live what its forecast said?** This notebook promotes a changed journey in a sandbox: it is
    checked, compared with what runs, opened for a few contacts and then for all, held against its forecast day by day,
    and taken back.

    Everything happens in a temporary folder that is deleted at once, on a clock that is moved by hand, at domains that
    do not exist. No mail leaves this machine: the relay of the sandbox keeps what it is given.
    """)
    return


@app.cell(hide_code=True)
def _():
    # The one cell to change for a log of your own, such as jl.EventLog.read("events.parquet").
    log = jl.datasets.given_log()
    return (log,)


@app.cell(hide_code=True)
def _():
    journey_path = mo.ui.text(placeholder="my_journey.yaml", label="A journey of your own: path", full_width=True)
    return (journey_path,)


@app.cell(hide_code=True)
def _(journey_path):
    _read = attempt(jl.Journey.read, journey_path.value.strip() or jl.datasets.journey_file("trial_welcome"))
    _now = {
        name: node.model_copy(update={"at": None})
        for name, node in _read.nodes.items()
        if isinstance(node, jl.Send) and node.best is not None
    }
    running_journey = _read.model_copy(update={"nodes": {**_read.nodes, **_now}})
    waits = {name: node.wait / DAY for name, node in running_journey.nodes.items() if isinstance(node, jl.Wait)}
    hours_left_out = sorted(_now)
    return hours_left_out, running_journey, waits


@app.cell(hide_code=True)
def _(waits):
    _last = [*waits][-1] if waits else None
    new_wait = mo.ui.slider(
        0.5,
        14,
        0.5,
        value=waits[_last] / 2 if waits else 1,
        label=f"Days to wait at {_last}, instead of {waits[_last]:g}" if waits else "There is no wait to change",
        show_value=True,
        debounce=True,
        disabled=not waits,
    )
    return (new_wait,)


@app.cell(hide_code=True)
def _(new_wait, running_journey, waits):
    def _changed():
        last = [*waits][-1]
        node = running_journey.nodes[last].model_copy(update={"wait": timedelta(days=new_wait.value)})
        return running_journey.model_copy(update={"nodes": {**running_journey.nodes, last: node}})

    changed_journey = _changed() if waits else running_journey
    return (changed_journey,)


@app.cell(hide_code=True)
def _(hours_left_out, journey_path, log, new_wait, running_journey):
    _left_out = (
        f"Send times are left out here: {', '.join(hours_left_out)} goes at once, within the quiet hours. "
        if hours_left_out
        else ""
    )
    mo.vstack(
        [
            mo.md("## 1. What runs, and what is to change"),
            mo.plain_text(repr(log)),
            journey_path,
            mo.accordion({"The journey that runs": running_journey}),
            mo.md(
                f"**{running_journey.title or running_journey.journey}** is what runs. {_left_out}The new version "
                "waits longer or shorter at its last wait:"
            ),
            new_wait,
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    n_contacts = mo.ui.slider(
        100, 1_500, 100, value=300, label="Contacts who come to the sandbox", show_value=True, debounce=True
    )
    return (n_contacts,)


@app.cell(hide_code=True)
def _():
    canary = mo.ui.slider(5, 100, 5, value=40, label="First open it for, %", show_value=True, debounce=True)
    return (canary,)


@app.cell(hide_code=True)
def _():
    full_day = mo.ui.slider(1, 21, 1, value=5, label="Open it for all after, days", show_value=True, debounce=True)
    return (full_day,)


@app.cell(hide_code=True)
def _():
    n_days = mo.ui.slider(
        5, 28, 1, value=15, label="Go on after the last has come, days", show_value=True, debounce=True
    )
    return (n_days,)


@app.cell(hide_code=True)
def _():
    lost = mo.ui.slider(
        0, 100, 10, value=0, label="Opens and clicks that never come, %", show_value=True, debounce=True
    )
    return (lost,)


@app.cell(hide_code=True)
def _(log):
    # Who is forecast by and who comes are different contacts, so that the forecast is put to a test.
    history, future = log.partition(0, 2), log.partition(1, 2)
    return future, history


@app.cell(hide_code=True)
def _(history, log, running_journey):
    def _fitted():
        event = running_journey.trigger.event
        if event is None or event not in log.event_names:
            there = ", ".join(sorted(log.event_names))
            raise jl.JourneyLabError(
                f"{running_journey.journey} begins with {event or 'a segment'}, and this log has no such event; "
                f"it has: {there}"
            )
        return fit_responses(history, converts=goal_of((running_journey,)), features=[])

    try:
        responses, _missing = _fitted(), None
    except jl.JourneyLabError as error:
        responses, _missing = None, error
    mo.stop(
        responses is None,
        mo.callout(
            mo.vstack(
                [
                    mo.md("**This log cannot rehearse the journey.**"),
                    mo.plain_text(str(_missing)),
                    mo.md(
                        "A rehearsal needs a log with the event that starts the journey, with `sent` events that say "
                        "their `message`, and with the opens and clicks that followed. Give the path of a journey that "
                        "fits this log, or a log of the shop whose journey it is."
                    ),
                ]
            ),
            kind="warn",
        ),
    )
    return (responses,)


@app.cell(hide_code=True)
def _(changed_journey, history, responses):
    simulation = attempt(
        jl.simulate, changed_journey, history, responses=responses, draws=60, override="a rehearsal: plain rates"
    )
    mo.vstack(
        [
            mo.md("## 2. The forecast"),
            picture(mo.Html(drawn(simulation.draw)), simulation.branches),
            mo.md(
                f"{formatted(simulation.summary()['draws'])} draws over half of the contacts, who were dealt by a hash "
                "of their names. It says what the new version would do if answers came as often as in the log. Rates "
                "are those of each message alone, so that fitting takes seconds."
            ),
        ]
    )
    return (simulation,)


@app.cell(hide_code=True)
def _():
    class _Clock:
        """A clock that stands until it is moved."""

        def __init__(self, at):
            self.at = at

        def __call__(self, _connection):
            return self.at

    class Sandbox:
        """A sender in a folder: its store goes by a clock that is moved, and its relay keeps what it is given."""

        def __init__(self, settings, log, start_at):
            self.settings, self.log, self.clock = settings, log, _Clock(start_at)
            self.path = settings.folder / "sandbox.db"
            self.keys = Keys.made(settings.path(settings.state) / "keys.json")
            self.store = Store.open(f"sqlite:///{self.path}", self.keys, clock=self.clock, create=True)
            self.waiting, self.answers, self.running = [], {}, WhatRuns(settings)

        def release(self, made, share):
            """Opens what was prepared, on the sandbox's own clock; `Prepared.open` does it on the database's."""
            made.findings.require()
            known = made.there.attributes, made.there.properties
            scopes = zip(("contact", "event"), names_needed(made.candidate), known, strict=True)
            with self.store.writing() as connection:
                for scope, wanted, kinds in scopes:
                    declare(connection, scope, {name: kinds[name] for name in sorted(wanted) if name in kinds})
            return promote(self.store, made.candidate.frozen(), share=share, actor="notebook")

        def bring(self, contacts, names):
            """Contacts with made-up addresses and the attributes that are asked for."""
            known = self.log.contacts().set_index("contact")
            columns = [name for name in known.columns if name in names | {"timezone"}]
            people = [
                Person(str(name), f"{name}@mail.example", {one: row[one] for one in columns if not pd.isna(row[one])})
                for name, row in known.loc[contacts].iterrows()
            ]
            with self.store.writing() as connection:
                return receive_people(connection, people, self.clock.at)

        def live(self, until):
            """Moves the clock, and lets come in and happen what is due; a message is answered as in the log."""
            self.clock.at = max(self.clock.at, until)
            waiting = sorted(self.waiting, key=lambda one: one.occurred_at)
            due = [one for one in waiting if one.occurred_at <= self.clock.at]
            self.waiting = waiting[len(due) :]
            if due:
                with self.store.writing() as connection:
                    receive(connection, due, self.clock.at)
            while tick(self.store, self.running).n_contacts + self.send():
                self.clock.at += timedelta(seconds=1)

        def send(self):
            """Takes what may go through the gate to a relay that accepts all and carries nothing away."""
            with self.store.writing() as connection:
                keys = claim(connection, "sandbox", 1_000, self.clock.at + DAY, self.clock.at)
                if not keys:
                    return 0
                rows = [*connection.execute(select(t.sends).where(t.sends.c.message_key.in_(keys)))]
                seals, keys = seals_by_contact(connection, {row.contact for row in rows}), self.store.keys
                made = [(row, Made(f"{row.contact}@mail.example", b"not made in the sandbox", {})) for row in rows]
                frozen = [
                    sealed(seals[row.contact], row.message_key, one, keys.address_digest(one.address))
                    for row, one in made
                ]
                freeze(connection, frozen, self.clock.at)
            asked = [Request(row.message_key, row.fence, row.contact, "sandbox") for row in rows]
            with self.store.writing() as connection:
                answers = let_pass(connection, asked, self.clock.at, self.settings)
            passed = [row for row in rows if isinstance(answers[row.message_key], Passed)]
            kept = Outcome("accepted", "dot", 250, text="kept in the sandbox")
            done = [
                Settled(row.message_key, row.fence, row.contact, kept, "sandbox", answers[row.message_key].gated_at)
                for row in passed
            ]
            with self.store.writing() as connection:
                settle(connection, done, self.clock.at, self.settings)
            for one in passed:
                gated_at = answers[one.message_key].gated_at
                for lag, event, given in self.answers.pop((one.contact, one.message), ()):
                    self.waiting.append(Incoming(one.contact, event, gated_at + lag, given))
            return len(passed)

        def watch(self, release_id):
            """Holds live shares against their forecast, which raises alerts; the store as of now, in memory."""
            with self.store.writing() as connection:
                compare(connection, release_id, self.clock.at)
            copy, at = sqlite3.connect(":memory:", check_same_thread=False), self.clock.at
            with closing(sqlite3.connect(self.path)) as there:
                there.backup(copy)
            engine = create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool)
            return Store(engine, clock=lambda _: at)

        def counts(self):
            """How many entries each version has, and what became of the messages."""
            with self.store.reading() as connection:
                entries = pd.DataFrame(connection.execute(select(t.entries.c.version, t.entries.c.contact)).all())
                sends = pd.DataFrame(connection.execute(select(t.sends.c.message, t.sends.c.state)).all())
            n = entries.groupby("version").size().rename("n_entries").reset_index() if len(entries) else entries
            return n, sends.value_counts().rename("n_sends").reset_index() if len(sends) else sends

    return (Sandbox,)


@app.cell(hide_code=True)
def _(
    Sandbox, canary, changed_journey, full_day, future, history, lost, n_contacts, n_days, running_journey, simulation
):
    def _rehearse(folder):
        begun = jl.replay(running_journey, future).entries.drop_duplicates("contact")
        begun = begun.sort_values("entered_at").head(n_contacts.value)
        contacts = begun["contact"].astype(str).tolist()
        if not contacts:
            raise jl.JourneyLabError(f"nobody of this log enters {running_journey.journey}: nobody would come")
        first_at, last_at = (begun["entered_at"].iloc[place].to_pydatetime() for place in (0, -1))
        start_at = first_at.replace(hour=9, minute=0, second=0, microsecond=0) - DAY
        end_at = min(last_at + n_days.value * DAY, log_end)
        settings = sandbox(folder, [running_journey, changed_journey])
        messages = Messages.read(folder / "messages")
        box, said = Sandbox(settings, future, start_at), []
        given = {"settings": settings, "messages": messages, "log": history}
        former = prepare(running_journey, without_forecast="what runs already", **given)
        said.append(box.release(former, 1.0))
        box.clock.at += timedelta(minutes=1)
        made = prepare(changed_journey, forecast=simulation, **given)
        release = box.release(made, canary.value / 100)
        said.append(release)
        box.bring(contacts, names_needed(made.candidate)[0])
        box.waiting, box.answers = incoming_of(future, contacts, lost.value / 100)
        looks, now, opened = {}, start_at, False
        while now < end_at:
            now += STEP
            if not opened and now >= start_at + full_day.value * DAY:
                said.append(open_fully(box.store, changed_journey.journey, actor="notebook"))
                opened = True
            box.live(now)
            day = (now - start_at) // DAY
            if day % 3 == 0 and day not in looks:
                looks[day] = box.watch(release.release_id)
        looks[(now - start_at) // DAY + 1] = box.watch(release.release_id)
        entries, sends = box.counts()
        if made.changes:
            why = "the rehearsal is over"
            said.append(roll_back(box.store, changed_journey.journey, reason=why, actor="notebook"))
            box.clock.at += timedelta(minutes=1)
        said.append(withdraw(box.store, changed_journey.journey, reason="the rehearsal is over", actor="notebook"))
        rows = future.contacts().set_index("contact").loc[contacts[:1]]
        shown = {name: preview(messages, name, rows)[0] for name in sends_of(changed_journey)}
        box.store.close()
        return {
            "findings": made.findings,
            "changes": made.changes,
            "said": said,
            "looks": looks,
            "entries": entries,
            "sends": sends,
            "previews": shown,
            "start_at": start_at,
            "n_contacts": len(contacts),
            "version": changed_journey.version,
        }

    log_end = future.end_at
    with TemporaryDirectory() as _folder:
        rehearsal = attempt(_rehearse, Path(_folder))
    return (rehearsal,)


@app.cell(hide_code=True)
def _(canary, full_day, lost, n_contacts, n_days, rehearsal):
    _findings = rehearsal["findings"]
    _found = [f"**{one.severity}, {one.check}** ({one.place}): {one.message}" for one in _findings.found]
    _changes = points(f"`{one}`" for one in rehearsal["changes"]) if rehearsal["changes"] else mo.md("Nothing.")
    mo.vstack(
        [
            mo.md("## 3. The rehearsal"),
            mo.hstack([n_contacts, canary], justify="start", gap=2, wrap=True),
            mo.hstack([full_day, n_days], justify="start", gap=2, wrap=True),
            lost,
            mo.md(
                "Each change plays the whole rehearsal again, which takes some twenty seconds. Contacts come from the "
                "other half of the log, in steps of six hours; a message is answered as long after it as it was in the "
                "log. Turn the last slider up, and see how reality leaves the forecast."
            ),
            mo.md("### What the checks say"),
            points(_found),
            mo.md(
                f"{len(_findings.errors)} errors and {len(_findings.warnings)} warnings. An error blocks the release, "
                "a warning is for a person to judge."
            ),
            mo.md("### What differs from what runs"),
            _changes,
        ]
    )
    return


@app.cell(hide_code=True)
def _(rehearsal):
    mo.vstack(
        [
            mo.md("### What a contact would get"),
            mo.ui.tabs(
                {
                    name: mo.vstack([mo.md(f"**{one.subject}**"), mo.iframe(one.html, height="420px")])
                    for name, one in rehearsal["previews"].items()
                }
            ),
            mo.md(
                "Links lead nowhere. Made with the attributes of one contact of the log; in the sandbox nobody's "
                "message is made, only counted."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(rehearsal):
    timeline = pd.DataFrame([(one.at, one.action, one.sentence) for one in rehearsal["said"]])
    timeline.columns = ["at", "action", "what happened"]
    _entries = rehearsal["entries"].assign(
        release=rehearsal["entries"]["version"].map(lambda one: "new" if one == rehearsal["version"] else "former")
    )
    _new = int(_entries.loc[_entries["release"] == "new", "n_entries"].sum())
    _accepted = int(rehearsal["sends"].query("state == 'accepted'")["n_sends"].sum())
    mo.vstack(
        [
            mo.md("### What was done"),
            points(f"**{one.action}**: {one.sentence}." for one in rehearsal["said"]),
            mo.md(
                f"{formatted(rehearsal['n_contacts'])} contacts came, {formatted(_new)} of them into the new version; "
                f"{formatted(_accepted)} messages passed all rules and were given to the relay that keeps them. Who is "
                "in the canary is decided by a hash, so nobody changes sides when it grows. An entry stays with the "
                "version that it entered."
            ),
            mo.accordion(
                {
                    "The actions as a table": mo.ui.table(timeline, selection=None),
                    "Entries by version": mo.ui.table(_entries, selection=None),
                    "Messages and what became of them": mo.ui.table(rehearsal["sends"], selection=None, page_size=20),
                }
            ),
        ]
    )
    return (timeline,)


@app.cell(hide_code=True)
def _(rehearsal):
    as_of_look = mo.ui.slider(
        steps=sorted(rehearsal["looks"]), value=max(rehearsal["looks"]), label="As of day", show_value=True
    )
    return (as_of_look,)


@app.cell(hide_code=True)
def _(as_of_look, rehearsal):
    store = rehearsal["looks"][as_of_look.value]
    look = jl.explorers.release_tables(store)["forecast"]
    monitor = explored(jl.explorers.ReleaseMonitor, store)
    return look, monitor


@app.cell(hide_code=True)
def _(as_of_look, look, monitor):
    _n = look["verdict"].value_counts()
    _counted = (
        f"On day {as_of_look.value}, {_n.get('within', 0)} shares of the new version are within their forecast, "
        f"{_n.get('outside', 0)} outside, and of {_n.get('too_few', 0)} nothing can be said yet."
        if len(look)
        else "There is no forecast to hold it against: the version that runs was promoted again unchanged."
    )
    mo.vstack(
        [
            mo.md(
                """
## 4. Forecast and reality

The monitor is that of a sender's database; here it looks at the sandbox's as it was on a day, before the new version
was taken back.
"""
            ),
            as_of_look,
            monitor,
            mo.md(
                f"{_counted} Grey bands are the forecast, dots what has come, each with its interval, as soon as ten "
                "contacts can be counted; the table has all shares, opens and clicks of each message among them. One "
                "may look as often as one likes: at most 5% of releases are ever said to be outside although they are "
                "not. It does not show which of two is wrong, the forecast or the world, and a drift that comes back "
                "before it is clear goes unseen."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(look):
    mo.vstack(
        [
            mo.md("## 5. Back, and what next"),
            mo.md(
                (
                    "Reality has left the forecast: take the new version back, find out why, and forecast anew. "
                    if (look["verdict"] == "outside").any()
                    else "Nothing speaks against the new version as of this day. "
                )
                + "In the rehearsal it was rolled back at the end, so that the former one took entries again, and then "
                "the journey was withdrawn: nobody enters any more, and those who are inside go on."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The same for real, with a sender of your own (`docs/promote.md`, `docs/sender.md`):

    ```
    journeylab simulate trial_welcome.yaml --events events.parquet --json > forecast.json
    journeylab promote trial_welcome.yaml --forecast forecast.json --canary 5% --yes
    journeylab run
    journeylab release watch trial_welcome
    journeylab release full trial_welcome
    journeylab release rollback trial_welcome --reason "outside of the forecast"
    ```

    **Next:** what the release leaves behind is a log again: open it in `01`, and the circle is closed.
    """)
    return


if __name__ == "__main__":
    app.run()

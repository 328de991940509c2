"""The options of journeys and of each verb as forms: which fields there are, and how a value is written.

The canvas draws forms from this data and knows nothing of verbs beyond where their branches lie. Whether a value is
right is said by the library when it is written, so a field has no rules of its own.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from journeylab.journey import WEEKDAYS
from journeylab.language import say, weekday_text

__all__ = ["forms", "words"]

Made: TypeAlias = dict[str, Any]


def _field(kind: str, path: str, label: str, **more: Any) -> Made:
    """A field at a dotted path below the part that the form is of."""
    return {"kind": kind, "path": path.split(".") if path else [], "label": label, **more}


def _leads(path: str = "next", label: str | None = None, **more: Any) -> Made:
    return _field("node", path, label or say("Next node"), **more)


def _between(path: str = "between") -> Made:
    return _field("between", path, say("Between, local time"), optional=True)


def _days() -> Made:
    return _field("days", "days", say("On days"), choices=[[day, weekday_text(i)] for i, day in enumerate(WEEKDAYS)])


def _duration(path: str, label: str, hint: str = "3d", **more: Any) -> Made:
    return _field("duration", path, label, hint=hint, **more)


def _either(path: str, label: str, forms: list[Made]) -> Made:
    return _field("either", path, label, forms=forms)


def _form(label: str, when: str, added: Any, *fields: Made, **more: Any) -> Made:
    """One of several ways to write a value: how it is told, and what it begins as."""
    return {"label": label, "when": when, "added": added, "fields": list(fields), **more}


def _at() -> Made:
    best = [
        _field("text", "best", say("Model")),
        _between(),
        _days(),
        _duration("within", say("Within"), "2d", optional=True),
        _field("share", "explore", say("Share sent by chance, to learn"), hint="5%", optional=True),
    ]
    return _either("at", say("When"), [
        _form(say("at once"), "absent", None),
        _form(say("at each contact's best hour"), "best", "best"),
        _form(say("at the best hour, within limits"), "has:best", {"best": "best"}, *best),
        _form(say("in a daily window"), "has:between", {"between": ["09:00", "17:00"]}, _between(), _days()),
    ])  # fmt: skip


def _until() -> Made:
    date = [
        _field("attribute", "date", say("Date attribute")),
        _duration("offset", say("Offset"), "-14d", optional=True),
        _field("time", "time", say("At, local time"), hint="09:00", optional=True),
    ]
    return _either("wait_until", say("Until"), [
        _form(say("a daily window opens"), "has:between", {"between": ["09:00", "17:00"]}, _between(), _days()),
        _form(say("a time of day"), "has:time", {"time": "09:00"},
              _field("time", "time", say("At, local time")), _days()),
        _form(say("a date of the contact"), "has:date", {"date": ""}, *date),
    ])  # fmt: skip


def _awaits() -> Made:
    row = [_field("awaited", "await", say("What is awaited")), _leads("go", say("Leads to"))]
    first = {"await": ""}
    return _either("wait_for", say("Awaits"), [
        _form(say("one thing"), "text", "", _field("awaited", "", say("What is awaited"))),
        _form(say("the first of several"), "list", [first],
              _field("list", "", say("Awaited"), fields=row, added=first, more=say("another")), drops=["then"]),
    ])  # fmt: skip


def _pairs(path: str, key: str, label: str, name: str, more: str) -> Made:
    return _field("mapping", path, label, key=key, name=name, more=more, stem=name, added="",
                  value=_field("scalar", "", say("Value")))  # fmt: skip


def _emits() -> Made:
    return _either("emit", say("Event"), [
        _form(say("by its name"), "text", "", _field("event", "", say("Event"))),
        _form(say("with properties"), "has:event", {"event": "", "with": {}},
              _field("event", "event", say("Event")),
              _pairs("with", "", say("Properties"), "property", say("a property"))),
    ])  # fmt: skip


def _verb(label: str, hint: str, stem: str, added: Made, *fields: Made) -> Made:
    """A verb: what it is called and does, the stem of a new node's name, what such a node begins as, and its fields."""
    return {"label": label, "hint": hint, "stem": stem, "added": added, "fields": list(fields)}


def _verbs() -> dict[str, Made]:
    clause = [_field("condition", "if", say("If")), _leads("go", say("Leads to"))]
    return {
        "send": _verb(
            say("Send"), say("Sends a message, when consent, caps and quiet hours allow it."), "message", {"send": ""},
            _field("message", "send", say("Message")), _leads(), _at(),
            _leads("skipped", say("When it is skipped"), optional=True, hint=say("as the next node")),
            _duration("expires", say("Skipped when held longer than"), "2d", optional=True),
            _field("choice", "when_capped", say("Over the cap"), optional=True, hint=say("waits"),
                   choices=[["wait", say("waits")], ["skip", say("is skipped")]]),
        ),
        "wait": _verb(say("Wait"), say("Waits an exact time."), "pause", {"wait": "1d"},
                      _duration("wait", say("How long")), _leads()),
        "wait_until": _verb(
            say("Wait until"), say("Waits for a local time, or a date of the contact."), "until",
            {"wait_until": {"time": "09:00"}}, _until(), _leads(),
            _leads("else", say("Without the date"), optional=True, hint=say("only with a date")),
        ),
        "wait_for": _verb(
            say("Wait for"), say("Waits for an event, for a time at most."), "await", {"wait_for": "", "within": "3d"},
            _awaits(), _leads("then", say("Then, when it happens"), shown={"path": ["wait_for"], "when": "text"}),
            _duration("within", say("At most")), _leads("else", say("Else, when it does not")),
            _field("node", "since", say("Counted since"), optional=True, hint=say("the arrival here"),
                   extra=["entry"]),
        ),
        "decide": _verb(
            say("Decide"), say("Goes where the first condition that holds leads."), "decision",
            {"decide": [{"if": ""}]},
            _field("list", "decide", say("Conditions"), fields=clause, added={"if": ""}, more=say("a condition")),
            _leads("else", say("Else")),
        ),
        "split": _verb(
            say("Split"), say("Divides contacts by chance, always alike for one contact."), "split", {"split": {}},
            _field("mapping", "split", say("Arms"), key="node", name="arm", stem="arm", added="0%", more=say("an arm"),
                   value=_field("share", "", say("Share"), hint="50%")),
            _field("choice", "per", say("Drawn for each"), optional=True, hint="contact",
                   choices=[["contact", "contact"], ["entry", "entry"]]),
            _field("text", "salt", say("Salt, to draw anew"), optional=True),
        ),
        "run": _verb(say("Run"), say("Runs another journey as a part."), "part", {"run": ""},
                     _field("journey", "run", say("Journey")), _leads()),
        "set": _verb(say("Set"), say("Sets attributes of the contact."), "set", {"set": {}},
                     _pairs("set", "attribute", say("Attributes"), "attribute", say("an attribute")), _leads()),
        "emit": _verb(say("Emit"), say("Makes an event of the contact."), "emit", {"emit": ""}, _emits(), _leads()),
        "call": _verb(
            say("Call"), say("Calls an outside service."), "call", {"call": ""}, _field("text", "call", say("Service")),
            _leads(), _leads("failed", say("When it fails"), optional=True, hint=say("as the next node")),
        ),
        "exit": _verb(say("Exit"), say("Ends the entry."), "done", {"exit": "finished"},
                      _field("text", "exit", say("Text in results"))),
    }  # fmt: skip


def _trigger() -> Made:
    where = _field("condition", "where", say("Where"), optional=True, hint='plan == "trial"')
    again = _field("suggest", "reentry", say("Enters again"), optional=True, hint="never",
                   choices=["never", "after_exit", "always", "30d"])  # fmt: skip
    offset = _duration("offset", say("Offset"), "-14d", optional=True)
    return _either("trigger", say("Who enters"), [
        _form(say("whoever has an event"), "has:event", {"event": "signup"},
              _field("event", "event", say("Event")), where, again),
        _form(say("whoever is in a segment"), "has:segment", {"segment": "", "every": "1d"},
              _field("segment", "segment", say("Segment")), _duration("every", say("Looked at every"), "1d"),
              _field("number", "at_least", say("Membership of at least"), hint="0.5", optional=True),
              offset, where, again),
        _form(say("on a date of the contact"), "has:date", {"date": ""},
              _field("attribute", "date", say("Date attribute")), offset,
              _field("time", "time", say("At, local time"), hint="00:00", optional=True), where, again),
    ])  # fmt: skip


def _journey() -> list[Made]:
    leaving = [
        _field("event", "event", say("Event")),
        _field("condition", "where", say("Where"), optional=True),
        _field("boolean", "goal", say("is the goal"), optional=True),
    ]
    return [
        _field("text", "journey", say("Name")),
        _field("text", "title", say("Title"), optional=True, part=True),
        _trigger(),
        _field("list", "exit_when", say("Leaves at once on"), fields=leaving, added={"event": ""}, optional=True,
               more=say("an event")),
        _field("time", "quiet_hours.from", say("Quiet hours from"), hint="21:00", optional=True),
        _field("time", "quiet_hours.to", say("Quiet hours to"), hint="08:00", optional=True),
        _field("integer", "cap.sends", say("At most so many sends"), optional=True),
        _duration("cap.within", say("within"), "7d", optional=True),
        _field("share", "holdout", say("Held out"), hint="5%", optional=True),
        _field("timezone", "timezone", say("Time zone"), hint="UTC", optional=True),
        _field("purpose", "purpose", say("Purpose of consent"), hint="marketing", optional=True),
        _field("node", "start", say("First node"), optional=True, hint=say("the first one listed"), part=True),
        _field("attribute", "unit", say("Drawn alike for each"), hint="contact", optional=True),
        _field("integer", "priority", say("Priority"), hint="0", optional=True),
        _field("integer", "max_visits", say("Most visits of an entry"), hint="20", optional=True),
        _field("mapping", "segments", say("Segments"), key="", name="segment", stem="segment", added="",
               more=say("a segment"), optional=True, part=True, value=_field("condition", "", say("Condition"))),
        _field("long", "description", say("Description"), optional=True, part=True),
    ]  # fmt: skip


def forms() -> Made:
    """The forms in the current language.

    `verbs` has for each verb its `label`, `hint`, the `stem` of new names, what a new node is (`added`) and its
    `fields`; `journey` the fields of the journey, those that count in a part marked `part`; `part` what a new one is.
    """
    part = {"trigger": {"event": "signup"}, "nodes": {"done": {"exit": "finished"}}}
    return {"verbs": _verbs(), "journey": _journey(), "part": part}


def words() -> Made:
    """What the canvas itself says, in the current language; `flow` is for screen readers."""
    moved = say("Moved; the place is now {x}, {y}.", x="{x}", y="{y}")
    return {
        "add": say("Add"), "added": say("Added"), "as_is": say("weighted evidence: changed in the file only"),
        "canvas": say("Journey canvas"), "dials": say("Sliders"), "outcome": say("What comes of it"),
        "now": say("now"), "was": say("before"), "forecast": say("forecast"), "files": say("Take along"),
        "saved": say("Saved"), "copied": say("The code is in the clipboard, and saved."),
        "language": say("Language"), "languages": {"en": "English", "pl": "polski"},
        "kinds": {"yaml": say("the journey as YAML"), "html": say("a page (HTML)"), "png": say("the picture (PNG)"),
                  "csv": say("the table (CSV)"), "code": say("the Python code")},
        "interval": say("share with its interval"), "delete": say("Delete"), "down": say("Down"),
        "faults": say("Faults"), "fit": say("Show all"), "from": say("from"),
        "journey": say("The journey"), "layers": say("Layers"), "leads_to": say("leads to"), "legend": say("Legend"),
        "make": say("Make a new journey"), "name": say("Name"), "no_layer": say("Plain"), "no_verb": say("No verb"),
        "nowhere": say("nowhere yet"), "open": say("Open"), "options": say("Options"),
        "parts": say("Where you are"), "redo": say("Redo"), "remove": say("Remove"), "removed": say("Deleted"),
        "removed_line": say("Deleted the line"), "several": say("{n} nodes are selected.", n="{n}"),
        "sound": say("No faults"), "start": say("start"), "taken": say("This name is taken."), "tidied": say("Tidied"),
        "tidy": say("Tidy"), "to": say("to"), "tools": say("Tools"), "trigger": say("Trigger"), "undo": say("Undo"),
        "undone": say("Undone"), "up": say("Up"), "version": say("version"), "zoom": say("Zoom"),
        "zoom_in": say("Larger"), "zoom_out": say("Smaller"),
        "flow": {
            "node.a11yDescription.default": say("Enter selects the node, Delete removes it, arrows move it, "
                                                "Alt and an arrow go along a branch."),
            "node.a11yDescription.keyboardDisabled": say("Enter selects the node."),
            "node.a11yDescription.ariaLiveMessage": moved,
            "edge.a11yDescription.default": say("Enter selects the line, Delete removes it."),
            "handle.ariaLabel": say("Connection point"),
        },
    }  # fmt: skip

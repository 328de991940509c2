"""The entry sources and activities of Journey Builder, and what becomes of each.

Types are as exports write them, in capitals; specifications made by hand also have them as `Wait` or `randomSplit`, and
some have the names that the editor gives to keys (`WAITBYDURATION`, `RANDOMSPLITV2`).
"""

from __future__ import annotations

from typing import Final

from journeylab.importers.outcomes import NodeType, Verdict

__all__ = ["ENTRY_TYPES", "NODE_TYPES", "type_named"]

_NEAR, _OUT = Verdict.approximated, Verdict.left_out
_CALL: Final = "made by an outside call; the sender's settings name its service under `calls`"
_ROWS: Final = (
    "a row that comes into the data extension is an event here, its columns are the event's properties, and it enters "
    "at once (rule 11); there rows are taken in batches on the schedule of the entry source"
)
_AUDIENCE: Final = (
    "who is in the audience is a flag attribute, asked once a day (rule 11); the export does not say its schedule"
)
_CHANCE: Final = (
    "the arm is a keyed hash of the contact, the same at every re-entry (rule 22); there chance is drawn anew"
)
_WINNER: Final = (
    f"{_CHANCE}, and once a winner is chosen all contacts take its path; here the shares of the test stay as they are"
)
_MODEL: Final = "what Einstein says of a contact is an attribute here, which the contacts have to have"
_DATE: Final = "the date is an attribute here, which all contacts have to have, as a journey has no dates of its own"
_ENGAGED: Final = "what contacts do with other channels is an event here, which the log has to have"
_ONWARD: Final = "it only leads on"

ENTRY_TYPES: Final = (
    NodeType("APIEvent", "API Event", "trigger"),
    NodeType("Event", "Custom event", "trigger"),
    NodeType("transactional-api", "Transactional API Event", "trigger"),
    NodeType("CloudPagesSmartCaptureSubmissionEvent", "CloudPages form submit", "trigger"),
    NodeType(
        "ContactEvent", "Contact data event", "trigger",
        _NEAR, "changed data of a contact begin it there; here an event of the log does, so that this has to be logged",
    ),
    NodeType("EmailAudience", "Data Extension", "trigger", _NEAR, _ROWS),
    NodeType("AutomationAudience", "Data Extension, filled by an automation", "trigger", _NEAR, _ROWS),
    NodeType("ContactAudience", "Audience", "trigger", _NEAR, _AUDIENCE),
    NodeType("Audience", "Audience, as data views call it", "trigger", _NEAR, _AUDIENCE),
    NodeType(
        "SalesforceObjectTriggerV2", "Salesforce Data", "trigger",
        _NEAR, "a record that is created or updated is an event here, its fields are the event's properties",
    ),
)  # fmt: skip
"""How contacts come into a journey."""

NODE_TYPES: Final = (
    *ENTRY_TYPES,
    NodeType("EMAILV2", "Email", "send"),
    NodeType("SMSSYNC", "SMS", "call", _NEAR, _CALL),
    NodeType("PUSHNOTIFICATIONACTIVITY", "Push Notification", "call", _NEAR, _CALL),
    NodeType("PUSHINBOXACTIVITY", "Inbox", "call", _NEAR, _CALL),
    NodeType("INAPPSYNCACTIVITY", "In-App Message", "call", _NEAR, _CALL),
    NodeType("WHATSAPPACTIVITY", "WhatsApp", "call", _NEAR, _CALL),
    NodeType("WHATSAPPSESSIONTRANSFERACTIVITY", "WhatsApp session transfer", "call", _NEAR, _CALL),
    NodeType("SENDTOLINESYNC", "LINE", "call", _NEAR, _CALL),
    NodeType("SLACKNOTIFIER", "Slack notification", "call", _NEAR, _CALL),
    NodeType("ACTIVEAUDIENCEJOURNEYACTIVITY", "Ad Audience", "call", _NEAR, _CALL),
    NodeType("WAIT", "Wait", "wait, wait_until, wait_for"),
    NodeType("WAITBYDURATION", "Wait By Duration", "wait, wait_until"),
    NodeType("WAITBYATTRIBUTE", "Wait By Attribute", "wait_until"),
    NodeType("WAITUNTILDATE", "Wait Until Date", "wait_until", _NEAR, _DATE),
    NodeType("WAITBYEVENT", "Wait Until API Event", "wait_for"),
    NodeType("WAITUNTILAPI", "Wait Until API Event, as data views call it", "wait_for"),
    NodeType("WAITUNTILPUSHENGAGEMENT", "Wait Until Push Engagement", "wait_for", _NEAR, _ENGAGED),
    NodeType("WAITUNTILPUSHINAPPENGAGEMENT", "Wait Until In-App Engagement", "wait_for", _NEAR, _ENGAGED),
    NodeType("WAITUNTILCHATRESPONSE", "Wait Until Chat Response", "wait_for", _NEAR, _ENGAGED),
    NodeType(
        "STOWAIT", "Einstein Send Time Optimization", "send",
        _NEAR, "the next message is sent `at: best`, by a model of ours, which may also choose the hour that has begun "
        "(rule 17); goals are not asked in between",
    ),
    NodeType("MULTICRITERIADECISION", "Decision Split", "decide"),
    NodeType("MULTICRITERIADECISIONV2", "Decision Split, by its key", "decide"),
    NodeType("MULTICRITERIADECISIONEXTENSION", "Einstein Scoring Split", "decide", _NEAR, _MODEL),
    NodeType("EINSTEINENGAGEMENTFREQUENCYSPLIT", "Einstein Frequency Split", "decide", _NEAR, _MODEL),
    NodeType("ENGAGEMENTDECISION", "Engagement Split", "decide"),
    NodeType("ENGAGEMENTSPLITV2", "Engagement Split, by its key", "decide"),
    NodeType("RANDOMSPLIT", "Random Split", "split", _NEAR, _CHANCE),
    NodeType("RANDOMSPLITV2", "Random Split, by its key", "split", _NEAR, _CHANCE),
    NodeType("ABNTEST", "Path Optimizer", "split", _NEAR, _WINNER),
    NodeType("PATHOPTIMIZER", "Path Optimizer, by its name", "split", _NEAR, _WINNER),
    NodeType("ABNTESTSTOP", "End of a Path Optimizer", "", _OUT, _ONWARD),
    NodeType("JOIN", "Join", "", _OUT, _ONWARD),
    NodeType("UNCONFIGUREDJOIN", "Join, as data views call it", "", _OUT, _ONWARD),
    NodeType("NOOP", "No operation", "", _OUT, _ONWARD),
    NodeType("START", "Start, in the editor's own data", "", _OUT, _ONWARD),
    NodeType("STOP", "Exit, in the editor's own data", "exit"),
    NodeType("UPDATECONTACTDATA", "Update Contact", "set"),
    NodeType("UPDATECONTACTDATAV2", "Update Contact, by its key", "set"),
    NodeType("CONTACTUPDATE", "Contact update", "set"),
    NodeType("DATAEXTENSIONUPDATE", "Data extension update", "set"),
    NodeType(
        "ADDAUDIENCE", "Add to an audience", "set",
        _NEAR, "who is in the audience is a flag attribute of the contact",
    ),
    NodeType(
        "SETCONTACTKEY", "Set contact key", "",
        _OUT, "a contact has one id here, in the log and in the contacts, for good",
    ),
    NodeType("SALESCLOUDACTIVITY", "Sales and Service Cloud activity", "call", _NEAR, _CALL),
    NodeType("OBJECTACTIVITY", "Salesforce object activity", "call", _NEAR, _CALL),
    NodeType("LEAD", "Salesforce lead", "call", _NEAR, _CALL),
    NodeType("CAMPAIGNMEMBER", "Salesforce campaign member", "call", _NEAR, _CALL),
    NodeType("CASE", "Salesforce case", "call", _NEAR, _CALL),
    NodeType("REST", "Custom activity", "call, decide", _NEAR, _CALL),
    NodeType("RESTDECISION", "Custom split", "call, decide", _NEAR, _CALL),
)  # fmt: skip
"""Every entry source and activity that is documented, or stands in the exports of public tools."""


def type_named(name: str) -> NodeType | None:
    """The type of a name, in whatever case it is written.

    >>> type_named("randomSplit").name
    'RANDOMSPLIT'
    """
    plain = name.upper().replace(" ", "")
    return next((one for one in NODE_TYPES if one.name.upper() == plain), None)

"""What becomes of HubSpot's enrollment, branches and actions: the types of its automation API."""

from __future__ import annotations

from typing import Final

from journeylab.importers.outcomes import NodeType, Verdict

__all__ = ["CALLS", "NODE_TYPES", "OTHER_APPS"]

_OUTSIDE: Final = "made through an outside call, which the sender's settings have to know (`calls`)"
OTHER_APPS: Final = "1-*"
"""The actions that apps bring, whatever their ids."""
CALLS: Final = {
    "0-3": ("task", "Create task"),
    "0-8": ("notification", "Send internal email notification"),
    "0-9": ("notification", "Send in-app notification"),
    "0-11": ("rotation", "Rotate record to owner"),
    "0-14": ("record", "Create record"),
    "0-18": ("salesforce_campaign", "Set Salesforce campaign"),
    "0-23": ("internal_email", "Send internal marketing email"),
    "0-25": ("copied_property", "Copy property value"),
    "0-30": ("ads_audience", "Add to or remove from ads audience"),
    "0-31": ("marketing_status", "Set marketing contact status"),
    "0-33": ("formatted_data", "Format data"),
    "0-18224765": ("deletion", "Delete contact"),
    "0-25085031": ("whatsapp", "Send WhatsApp message"),
    "0-40900952": ("sms", "Send SMS message"),
    "0-43347357": ("subscription", "Manage communication subscriptions"),
    "0-44475148": ("conversation_owner", "Assign conversation owner"),
    "0-46510720": ("sequence", "Enroll in a sequence"),
    "0-4702372": ("sequence_end", "Unenroll from sequence"),
    "0-61139476": ("association", "Remove association labels"),
    "0-61139484": ("association", "Update association labels"),
    "0-63189541": ("association", "Create associations"),
    "0-169425243": ("note", "Create note"),
    "0-199186210": ("survey", "Send survey"),
    "0-225935194": ("phone_check", "Validate phone number"),
    "0-261589386": ("number_property", "Increase or decrease a number property"),
}
"""The actions that are outside calls, by id: what the service is named after, and what people know the action as."""
_SCHEDULE: Final = (
    "who meets the criteria at the scheduled instant enters, by UTC and not by the account's zone, and again each time"
)

NODE_TYPES: Final = (
    NodeType("EVENT_BASED", "Enrollment when an event occurs", "trigger"),
    NodeType(
        "LIST_BASED", "Enrollment when filter criteria are met", "trigger",
        Verdict.approximated, "the criteria are looked at every hour (rule 11), there at once; with re-enrollment, "
        "whenever something changes that they speak of",
    ),
    NodeType(
        "MANUAL", "Manual enrollment", "trigger",
        Verdict.approximated, "the event enrolled_in_workflow_ID enrolls, which other workflows emit and people may "
        "log",
    ),
    NodeType("DAILY", "Schedule: daily", "trigger", Verdict.approximated, _SCHEDULE),
    NodeType("WEEKLY", "Schedule: weekly", "trigger", Verdict.approximated, _SCHEDULE),
    NodeType(
        "MONTHLY_SPECIFIC_DAYS", "Schedule: days of the month", "trigger",
        Verdict.approximated, f"{_SCHEDULE}; a month is 30 days here (rule 2), and its days are not known",
    ),
    NodeType(
        "MONTHLY_RELATIVE_DAYS", "Schedule: weekdays of the month", "trigger",
        Verdict.approximated, f"{_SCHEDULE}; a month is 30 days here (rule 2), and its days are not known",
    ),
    NodeType(
        "YEARLY", "Schedule: yearly", "trigger",
        Verdict.approximated, f"{_SCHEDULE}; a year is 365 days here (rule 2), and its days are not known",
    ),
    NodeType(
        "PROPERTY_BASED", "Schedule: on a date property", "trigger",
        Verdict.approximated, "days before and after are exact ones (rule 2); the hour is the contact's (rule 3), "
        "there the account's; where it returns yearly, the attribute has to hold the next date",
    ),
    NodeType(
        "LIST_BRANCH", "If/then branch by criteria", "decide",
    ),
    NodeType(
        "STATIC_BRANCH", "Branch by a value", "decide",
    ),
    NodeType(
        "AB_TEST_BRANCH", "Random percentage split", "split",
        Verdict.approximated, "the arm is a keyed hash of the contact, the same at every re-entry (rule 22); there, "
        "chance is drawn anew",
    ),
    NodeType("WEBHOOK", "Send a webhook", "call", Verdict.approximated, _OUTSIDE),
    NodeType(
        "CUSTOM_CODE", "Custom code", "call",
        Verdict.approximated, f"{_OUTSIDE}; what the code gives back is not known here",
    ),
    NodeType(
        "0-1", "Delay: set amount of time, day of week, time of day", "wait, wait_until",
        Verdict.approximated, "a day is 24 hours (rule 2); hours and weekdays are the contact's (rule 3), there the "
        "account's",
    ),
    NodeType(
        "0-29", "Delay until event happens", "wait_for",
        Verdict.approximated, "it waits for what comes after the arrival (rule 8); whether it came is kept in a flag "
        "attribute where a branch asks for it",
    ),
    NodeType(
        "0-35", "Delay until calendar date or date property", "wait_until, set",
        Verdict.approximated, "hours are the contact's (rule 3), there the account's; a calendar date is set as an "
        "attribute first, which contacts must have as a date, whichever it is",
    ),
    NodeType(
        "0-4", "Send marketing email", "send",
        Verdict.approximated, "it needs consent to the journey's purpose, whose withdrawal ends the entry (rule 14), "
        "and passes the gates (rule 17)",
    ),
    NodeType(
        "0-5", "Set property value", "set, call",
        Verdict.approximated, "a value is set in this journey's sight only, unless a connector writes it back; one "
        "that is worked out, and one of another record, is an outside call",
    ),
    NodeType(
        "0-13", "Add to or remove from static list (older)", "set",
        Verdict.approximated, "being on a list is a flag attribute, which no list outside hears of",
    ),
    NodeType(
        "0-63809083", "Add to static list", "set",
        Verdict.approximated, "being on a list is a flag attribute, which no list outside hears of",
    ),
    NodeType(
        "0-63863438", "Remove from static list", "set",
        Verdict.approximated, "being on a list is a flag attribute, which no list outside hears of",
    ),
    NodeType(
        "0-15", "Go to workflow", "emit",
        Verdict.approximated, "the event enrolled_in_workflow_ID begins the other one, where that is enrolled manually "
        "or by several events",
    ),
    *(NodeType(identity, title, "call", Verdict.approximated, _OUTSIDE) for identity, (_, title) in CALLS.items()),
    NodeType(OTHER_APPS, "Action of an app", "call", Verdict.approximated, _OUTSIDE),
)  # fmt: skip

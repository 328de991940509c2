"""What becomes of Klaviyo's triggers and actions: the types of its Flows API."""

from __future__ import annotations

from typing import Final

from journeylab.importers.outcomes import NodeType, Verdict

__all__ = ["NODE_TYPES"]

_OUTSIDE: Final = "made through an outside call, which the sender's settings have to know (`calls`)"

NODE_TYPES: Final = (
    NodeType(
        "list", "Added to a list", "trigger",
        Verdict.approximated, "the export names the list without saying who is on it: a flag attribute, looked at "
        "every hour (rule 11); there, a profile enters at once, and once only",
    ),
    NodeType(
        "segment", "Added to a segment", "trigger, decide",
        Verdict.approximated, "the export names the segment without its definition: a flag attribute, looked at every "
        "hour (rule 11); who is no longer in it leaves before the next action",
    ),
    NodeType("metric", "Metric", "trigger"),
    NodeType(
        "date", "Date property", "trigger",
        Verdict.approximated, "it begins once for each value of the attribute (rule 11), and not in the middle for who "
        "gets a date late; a yearly, monthly or weekly return needs the next date in the attribute",
    ),
    NodeType(
        "price-drop", "Price drop", "trigger",
        Verdict.approximated, "a price is no event of a contact: whoever watches the catalogue has to log the event "
        "price_drop for each contact in the audience",
    ),
    NodeType(
        "low-inventory", "Low inventory", "trigger",
        Verdict.approximated, "a stock is no event of a contact: whoever watches the catalogue has to log the event "
        "low_inventory for each contact in the audience",
    ),
    NodeType(
        "send-email", "Email", "send",
        Verdict.approximated, "it needs consent to the journey's purpose, whose withdrawal ends the entry (rule 14), "
        "and passes the gates (rule 17)",
    ),
    NodeType("send-sms", "SMS", "call", Verdict.approximated, _OUTSIDE),
    NodeType("send-mobile-push", "Mobile push", "call", Verdict.approximated, _OUTSIDE),
    NodeType("send-whatsapp", "WhatsApp", "call", Verdict.approximated, _OUTSIDE),
    NodeType("send-webhook", "Webhook", "call", Verdict.approximated, _OUTSIDE),
    NodeType("send-internal-alert", "Internal alert", "call", Verdict.approximated, _OUTSIDE),
    NodeType("code", "Code", "call", Verdict.approximated, f"{_OUTSIDE}; what the code gives back is not known here"),
    NodeType(
        "internal-service", "Internal service", "emit",
        Verdict.approximated, "a tracked event is emitted here, too, without what is in it; a report that is sent to "
        "colleagues is left out",
    ),
    NodeType(
        "time-delay", "Time delay", "wait, wait_until",
        Verdict.approximated, "a day is 24 hours (rule 2), days until a time of day are calendar days, as there; the "
        "zone is the contact's first (rule 3); who arrives at midnight exactly waits one calendar day less",
    ),
    NodeType(
        "target-date", "Wait until the date", "wait_until",
        Verdict.approximated, "for who comes after the date, the wait ends at once (rule 5); the zone is the contact's "
        "first (rule 3)",
    ),
    NodeType(
        "countdown-delay", "Wait until before the date", "wait_until",
        Verdict.approximated, "days and weeks before the date are exact ones (rule 2); for who comes later, the wait "
        "ends at once (rule 5)",
    ),
    NodeType(
        "back-in-stock-delay", "Back in stock delay", "wait_for",
        Verdict.approximated, "whoever watches the catalogue has to log the event back_in_stock for the contact; here "
        "it is awaited for a year, there without an end",
    ),
    NodeType("conditional-split", "Conditional split", "decide, split"),
    NodeType("trigger-split", "Trigger split", "decide"),
    NodeType("multi-branch-split", "Multi-branch split", "decide"),
    NodeType(
        "action-output-split", "Split by a code's output", "decide",
        Verdict.approximated, "no call brings a value back into a journey: it is a flag attribute",
    ),
    NodeType(
        "ab-test", "A/B test", "split, send",
        Verdict.approximated, "the arm is a keyed hash of the contact, the same at every re-entry (rule 22); the "
        "shares stay, and no winner is chosen",
    ),
    NodeType(
        "content-experiment", "Content experiment", "split, call",
        Verdict.approximated, "the arm is a keyed hash of the contact, the same at every re-entry (rule 22); the "
        "shares stay, and no winner is chosen",
    ),
    NodeType(
        "update-profile", "Profile property update", "set",
        Verdict.approximated, "a property is set in this journey's sight only, unless a connector writes it back; "
        "values are fixed, one of a list is a flag attribute, and nothing can be deleted",
    ),
    NodeType(
        "list-update", "List update", "set",
        Verdict.approximated, "being on a list is a flag attribute, which no list outside hears of",
    ),
)  # fmt: skip

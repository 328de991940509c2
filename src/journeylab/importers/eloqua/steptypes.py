"""The steps of Eloqua's campaign canvas, and what becomes of each."""

from __future__ import annotations

from typing import Final

from journeylab.importers.outcomes import NodeType, Verdict

__all__ = ["DECISIONS", "ENTRIES", "NODE_TYPES"]

_OUTSIDE: Final = "it is made by an outside call (`calls:`), whose failure changes nothing unless `failed` says so"
_RETRIED: Final = (
    "an evaluation period ends when the event comes (rule 8); there, it is looked every 10 minutes, or every 30 in "
    "periods of more than a day"
)
_STATE: Final = (
    "over an evaluation period it is asked on arrival and once more at the end; there, every 10 minutes, or every 30 "
    "in periods of more than a day"
)
_UNCHECKED: Final = "the API's name for this step is in no page that was read, and follows the others'"


def _call(name: str, title: str, note: str = "") -> NodeType:
    return NodeType(name, title, "call", Verdict.approximated, f"{note}; {_OUTSIDE}" if note else _OUTSIDE)


def _asked(name: str, title: str, becomes: str, *notes: str, verdict: Verdict = Verdict.mapped) -> NodeType:
    return NodeType(name, title, becomes, verdict, "; ".join(notes))


def _flagged(name: str, title: str, *notes: str) -> NodeType:
    return _asked(name, title, "decide", *notes, verdict=Verdict.approximated)


def _unchecked(name: str, title: str, becomes: str, *notes: str) -> NodeType:
    return _asked(name, title, becomes, *notes, _UNCHECKED, verdict=Verdict.approximated)


ENTRIES: Final = (
    NodeType(
        "CampaignSegment", "Segment members", "trigger", Verdict.approximated,
        "the campaign names the segment and does not say who is in it: that is a flag attribute, such as "
        "`in_segment_38`",
    ),
    NodeType(
        "CampaignCloudFeeder", "Cloud feeder", "trigger", Verdict.approximated,
        "an app brings contacts by the event `contact_fed`, which the log has to have, with the step's name as "
        "`feeder`",
    ),
    NodeType(
        "CampaignInput", "Campaign input", "trigger", Verdict.approximated,
        "other campaigns bring contacts by the event `campaign_joined` with this campaign's id",
    ),
)  # fmt: skip
DECISIONS: Final = (
    _asked("CampaignEmailOpenedRule", "Opened email?", "decide, wait_for", _RETRIED),
    _asked("CampaignEmailClickthroughRule", "Clicked email?", "decide, wait_for", _RETRIED),
    _asked("CampaignEmailSentRule", "Sent email?", "decide", _STATE),
    _asked(
        "CampaignSubmitFormRule", "Submitted form?", "decide, wait_for",
        "asked is for the event `form_submitted`, which the log has to have, with the form's id as `asset_id`",
        _RETRIED,
    ),
    _asked(
        "CampaignWebsiteVisitRule", "Visited website?", "decide, wait_for",
        "asked is for the event `page_viewed`, which the log has to have", _RETRIED,
    ),
    _asked(
        "CampaignContactFieldComparisonRule", "Compare contact fields", "decide",
        "the campaign names fields by their ids, and so are the attributes, such as `field_100015`", _STATE,
    ),
    _flagged(
        "CampaignCustomObjectFieldComparisonRule", "Compare custom object fields",
        "contacts have no records of custom objects: the answer is a flag attribute", _STATE,
    ),
    _flagged(
        "CampaignContactListMembershipRule", "Shared list member?",
        "membership is a flag attribute, such as `list_12`", _STATE,
    ),
    _flagged(
        "CampaignContactFilterMembershipRule", "Shared filter member?",
        "the campaign names the filter and does not say what it is: the answer is a flag attribute, such as `filter_7`",
        _STATE,
    ),
    _unchecked(
        "CampaignDateComparisonRule", "Compare date", "decide",
        "no condition knows today's date: the answer is a flag attribute",
    ),
    _unchecked(
        "CampaignAudienceSplitRule", "Audience split", "split",
        "the arm is a keyed hash of the contact, the same at every entry (rule 22)",
    ),
    _unchecked(
        "CampaignSmsSentRule", "Sent SMS?", "decide, wait_for",
        "asked is for the event `sms_sent`, which the log has to have", _RETRIED,
    ),
    _unchecked(
        "CampaignSmsClickthroughRule", "Clicked SMS?", "decide, wait_for",
        "asked is for the event `sms_clicked`, which the log has to have", _RETRIED,
    ),
    _unchecked(
        "CampaignSmsReplyRule", "Replied to SMS?", "decide, wait_for",
        "asked is for the event `sms_replied`, which the log has to have", _RETRIED,
    ),
    _unchecked(
        "CampaignCloudDecision", "Cloud decision", "call",
        "the app is asked by an outside call, and no is a call that failed",
    ),
)  # fmt: skip
NODE_TYPES: Final = (
    *ENTRIES,
    NodeType("CampaignEmail", "Email", "send"),
    _call("CampaignSms", "SMS", _UNCHECKED),
    NodeType("CampaignLandingPage", "Landing page (reporting only)", "", Verdict.left_out, "it is for reports only"),
    NodeType("CampaignForm", "Form (reporting only)", "", Verdict.left_out, "it is for reports only"),
    *DECISIONS,
    NodeType("CampaignWaitAction", "Wait", "wait, wait_until"),
    NodeType(
        "CampaignAddToContactListAction", "Add to shared list", "set", Verdict.approximated,
        "membership is a flag attribute, such as `list_12`",
    ),
    NodeType(
        "CampaignMoveToContactListAction", "Move to shared list", "set", Verdict.approximated,
        "membership is a flag attribute, such as `list_12`",
    ),
    NodeType(
        "CampaignRemoveFromContactListAction", "Remove from shared list", "set", Verdict.approximated,
        "membership is a flag attribute, such as `list_12`",
    ),
    NodeType(
        "CampaignAddToCampaignAction", "Add to campaign", "emit", Verdict.approximated,
        "the other campaign is joined by the event `campaign_joined` with its id and step, which its journey has to "
        "await",
    ),
    NodeType(
        "CampaignMoveToCampaignAction", "Move to campaign", "emit, exit", Verdict.approximated,
        "the other campaign is joined by the event `campaign_joined` with its id and step, which its journey has to "
        "await",
    ),
    NodeType(
        "CampaignRemoveFromCampaignAction", "Remove from campaign", "emit, exit", Verdict.approximated,
        "another campaign is left by the event `campaign_left` with its id, which its journey has to await",
    ),
    _call("CampaignAddToProgramAction", "Add to program"),
    _call("CampaignMoveToProgramAction", "Move to program"),
    _call("CanvasAddToProgramAction", "Add to program (canvas)"),
    _call("CanvasMoveToProgramAction", "Move to program (canvas)"),
    _call("CampaignAddToProgramBuilderAction", "Add to Program Builder"),
    _call("CampaignMoveToProgramBuilderAction", "Move to Program Builder"),
    _call("CampaignCloudAction", "Cloud action"),
    _call("CampaignSendToCloudConnectorAction", "Cloud connector"),
)  # fmt: skip

"""The sources, actions, decisions and conditions of Mautic's campaign builder, and what becomes of each."""

from __future__ import annotations

from typing import Final

from journeylab.importers.outcomes import NodeType, Verdict

__all__ = ["NODE_TYPES"]

_OUTSIDE: Final = "it is made by an outside call (`calls:`), whose failure changes nothing unless `failed` says so"
_ASKED: Final = "the answer is an attribute that contacts have to have, as the log does not know it"


def _call(name: str, title: str, note: str = "") -> NodeType:
    return NodeType(name, title, "call", Verdict.approximated, f"{note}; {_OUTSIDE}" if note else _OUTSIDE)


def _awaits(name: str, title: str, event: str) -> NodeType:
    note = f"awaited is the event `{event}`, which the log has to have (rule 8)"
    return NodeType(name, title, "wait_for", Verdict.mapped, note)


NODE_TYPES: Final = (
    NodeType(
        "lists", "Source: contact segments", "trigger", Verdict.approximated,
        "members are looked for every hour (rule 11), there whenever its cron job runs; who leaves the segment leaves "
        "the campaign there, and goes on here (rule 14)",
    ),
    NodeType(
        "forms", "Source: campaign forms", "trigger", Verdict.mapped,
        "the trigger is the event `form_submitted`, which the log has to have, with the form's id as `form`",
    ),
    NodeType("email.send", "Send email", "send"),
    _call("email.send.to.user", "Send email to user", "it goes to an owner, a user or another address"),
    _call("message.send", "Send marketing message", "the contact's preferred channel is chosen outside"),
    _call("sms.send_text_sms", "Send text message"),
    _call("notification.send_notification", "Send web notification"),
    _call("notification.send_mobile_notification", "Send mobile notification"),
    _call("focus.show", "Show focus item"),
    _call("dwc.push_content", "Push dynamic content"),
    _call("tracking.pixel.send", "Send tracking event"),
    _call("twitter.tweet", "Tweet contact"),
    _call("plugin.leadpush", "Push contact to integration"),
    _call("campaign.sendwebhook", "Send a webhook", "the call has our body, not its data and headers"),
    NodeType("lead.updatelead", "Update contact", "set"),
    NodeType(
        "lead.changetags", "Modify contact's tags", "set", Verdict.approximated,
        "a tag is a flag attribute called after it, such as `tag_vip`",
    ),
    NodeType(
        "lead.changelist", "Modify contact's segments", "set", Verdict.approximated,
        "membership is a flag attribute such as `in_vip`; who is removed from a segment with filters is in it again "
        "here where the filters hold",
    ),
    NodeType(
        "stage.change", "Change contact's stage", "set", Verdict.approximated,
        "the stage is the attribute `stage`, by its id; there, a contact moves to stages of more weight only",
    ),
    NodeType(
        "lead.changeowner", "Update contact owner", "set", Verdict.approximated,
        "the owner is the attribute `owner`, by the user's id",
    ),
    NodeType(
        "lead.adddnc", "Add Do Not Contact", "set", Verdict.approximated,
        "a flag attribute such as `do_not_contact_email`, which the sends of this campaign ask; consent and "
        "suppression (rules 17 and 34) are not changed by it, and have to be told to the sender",
    ),
    NodeType(
        "lead.removednc", "Remove Do Not Contact", "set", Verdict.approximated,
        "the flag attribute is set back; nobody's consent is given by a journey (rule 34)",
    ),
    _call("lead.changepoints", "Adjust contact points", "`set` takes no sums, so that points are counted outside"),
    _call("lead.scorecontactscompanies", "Add to company's score", "companies are no contacts"),
    _call("lead.addtocompany", "Add company action", "companies are no contacts"),
    _call("lead.updatecompany", "Update contact's primary company", "companies are no contacts"),
    _call("lead.action_anonymizeuserdata", "Anonymize user data", "it changes what other systems have"),
    NodeType(
        "lead.deletecontact", "Delete contact", "call, exit", Verdict.approximated,
        "the outside call has to delete the contact and to send `erased` for it; the entry ends in any case",
    ),
    NodeType(
        "campaign.addremovelead", "Change campaigns", "emit, exit", Verdict.approximated,
        "another campaign is joined or left by an event, `campaign_joined` or `campaign_left` with its id, which its "
        "journey has to await; to leave this campaign ends the entry",
    ),
    NodeType(
        "campaign.jump_to_event", "Jump to event", "next", Verdict.approximated,
        "a node can be visited 20 times in one entry (`max_visits`, rule 24), there without a limit",
    ),
    NodeType("email.open", "Opens email", "wait_for"),
    NodeType("email.click", "Clicks email", "wait_for"),
    _awaits("email.reply", "Replies to email", "replied"),
    _awaits("page.pagehit", "Visits a page", "page_viewed"),
    _awaits("page.devicehit", "Device visit", "page_viewed"),
    _awaits("asset.download", "Downloads asset", "asset_downloaded"),
    _awaits("form.submit", "Submits form", "form_submitted"),
    _awaits("dwc.decision", "Request dynamic content", "content_requested"),
    _awaits("sms.reply", "Replies to text message", "sms_replied"),
    NodeType("lead.field_value", "Contact field value", "decide"),
    NodeType("lead.segments", "Contact segments", "decide"),
    NodeType(
        "lead.tags", "Contact tags", "decide", Verdict.approximated,
        "a tag is a flag attribute called after it, such as `tag_vip`",
    ),
    NodeType("lead.points", "Contact points", "decide", Verdict.mapped, "points are the attribute `points`"),
    NodeType("lead.owner", "Contact owner", "decide", Verdict.mapped, "the owner is the attribute `owner`, by its id"),
    NodeType("lead.stages", "Contact stages", "decide", Verdict.mapped, "it is the attribute `stage`, by its id"),
    NodeType("lead.dnc", "Do Not Contact", "decide", Verdict.approximated, _ASKED),
    NodeType("lead.campaigns", "Contact campaigns", "decide", Verdict.approximated, _ASKED),
    NodeType(
        "lead.device", "Contact device", "decide", Verdict.approximated,
        "asked is for the event `page_viewed` with such a device, which the log has to have",
    ),
    NodeType(
        "lead.pageHit", "Visited a page", "decide", Verdict.approximated,
        "asked is for the event `page_viewed`, which the log has to have",
    ),
    NodeType("lead.attached", "Prevent action after date", "decide", Verdict.approximated, _ASKED),
    NodeType(
        "form.field_value", "Form field value", "decide", Verdict.approximated,
        "any submission with such a value counts, as the event `form_submitted` with the field as a property",
    ),
    NodeType("email.validate.address", "Has valid email address", "decide", Verdict.approximated, _ASKED),
    NodeType("notification.has.active", "Has active notification", "decide", Verdict.approximated, _ASKED),
)  # fmt: skip

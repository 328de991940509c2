"""What Mautic's actions do, as what a node says: a send, a call, or attributes that are set."""

from __future__ import annotations

import re
from typing import Any, Final

from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Part

from .comparisons import literal_of
from .entities import Entities
from .events import Event
from .segments import Segments

__all__ = ["Actions", "do_not_contact"]

_SERVICES: Final = {
    "email.send.to.user": ("email_user", "email", "email"),
    "message.send": ("message", "channel.message", "marketingMessage"),
    "sms.send_text_sms": ("sms", "sms", "sms"),
    "notification.send_notification": ("web_push", "notification", "notification"),
    "notification.send_mobile_notification": ("push", "notification", "notification"),
    "focus.show": ("popup", "focus", "focus"),
    "dwc.push_content": ("content", "dynamicContent", "dynamicContent"),
    "tracking.pixel.send": ("pixel", "", ""),
    "twitter.tweet": ("tweet", "", ""),
    "plugin.leadpush": ("integration", "", ""),
    "campaign.sendwebhook": ("webhook", "", ""),
    "lead.changepoints": ("points", "", ""),
    "lead.scorecontactscompanies": ("company", "", ""),
    "lead.addtocompany": ("company", "", ""),
    "lead.updatecompany": ("company", "", ""),
    "lead.action_anonymizeuserdata": ("anonymize", "", ""),
    "lead.deletecontact": ("delete_contact", "", ""),
}
"""How the service of each outside call is called, and where its template is named: of which kind, by which key."""
_TOKEN: Final = re.compile(r"\{[a-z_]+=[^}]*\}")


def do_not_contact(channel: str) -> str:
    """The flag attribute that says that a contact is not to be contacted through a channel."""
    return name_of(f"do_not_contact {channel}")


class Actions:
    """The actions of one campaign.

    Args:
        main: the draft that names messages and attributes.
        entities: what came along.
        segments: its segments.
    """

    def __init__(self, main: Draft, entities: Entities, segments: Segments) -> None:
        self._main, self._entities, self._segments = main, entities, segments

    def said(self, event: Event) -> tuple[dict[str, Any], list[str]]:
        """What the node of an action says but for where it leads, and what differs; nothing where it does nothing."""
        config = event.config
        match event.type:
            case "email.send":
                return self._send(event)
            case "lead.updatelead":
                return self._update(config)
            case "lead.changetags":
                tags = {
                    self._main.attribute(f"tag_{one}", config): key == "add_tags"
                    for key in ("remove_tags", "add_tags")
                    for one in (config.values(key) if config.raw(key) else [])
                }
                return {"set": tags} if tags else {}, []
            case "lead.changelist":
                lists = {
                    self._segments.member_flag(str(one)): key == "addToLists"
                    for key in ("removeFromLists", "addToLists")
                    for one in (config.values(key) if config.raw(key) else [])
                }
                return {"set": lists} if lists else {}, []
            case "stage.change":
                return {"set": {"stage": config.text("stage")}}, []
            case "lead.changeowner":
                owner = config.optional("owner")
                return {"set": {"owner": owner}} if owner else {}, []
            case "lead.adddnc" | "lead.removednc":
                channels = config.values("channels") if config.raw("channels") else []
                flags = {do_not_contact(str(one)): event.type == "lead.adddnc" for one in channels}
                config.skip("reason")
                return {"set": flags} if flags else {}, []
        return self._call(event)

    def message(self, event: Event) -> str:
        """The message of an action that sends an e-mail."""
        identity = event.config.text("email")
        return self._main.message(self._entities.label("email", identity, event.label), identity)

    def _send(self, event: Event) -> tuple[dict[str, Any], list[str]]:
        config, but = event.config, []
        said: dict[str, Any] = {"send": self.message(event)}
        if event.timing.best is not None:
            within = event.timing.best["within"]
            said |= {"at": event.timing.best, "expires": within}
            but.append(
                f"its hour is the best within {within} by the scores of a model `best` (rule 17), there the median "
                "hour of the contact's last interactions"
            )
        email = self._entities.part("email", config.text("email"))
        if email is not None and (email.data.get("variant_settings") or email.data.get("variant_parent_id")):
            but.append("the e-mail has A/B variants of its own there, and one message here")
        if (
            config.choice("email_type", ("marketing", "transactional"), "types of e-mails", "transactional")
            == "marketing"
        ):
            but.append("who has had it from another campaign, too, is not sent it again there")
        else:
            but.append("it is transactional there, and here it is of the journey's purpose (rule 34)")
        return said, but

    def _update(self, config: Part) -> tuple[dict[str, Any], list[str]]:
        values: dict[str, Any] = {}
        for field in config.data:
            value = config.raw(field)
            if value is None or value in ("", []):
                continue  # an empty value changes nothing there
            if not isinstance(value, str | int | float) or (isinstance(value, str) and _TOKEN.search(value)):
                why = "it is made of other fields, and `set` takes values only"
                self._main.left_out(config, f"value of {field!r}", why)
                continue
            kind = self._entities.field_types.get(field, "")
            values[self._main.attribute(field, config)] = literal_of(value, kind).value
        return {"set": values} if values else {}, []

    def _call(self, event: Event) -> tuple[dict[str, Any], list[str]]:
        prefix, kind, key = _SERVICES[event.type]
        config = event.config
        label, template = event.label, None
        if event.type == "email.send.to.user":
            inner = config.optional_part("useremail")
            template = inner.optional("email") if inner is not None else None
        elif key and (config.raw(key) is not None):
            template = config.optional(key)
        if template is not None:
            label = self._entities.label(kind, template, label)
        service = name_of(f"{prefix} {label}", prefix)
        but = [f"its service is {service}"]
        if event.type == "lead.changepoints":
            but.append(f"{config.number('points', 0):+g} points")
        if event.timing.best is not None:
            but.append("no hour is chosen for a call, so that it is made at once")
        config.skip(*(set(config.data) - {"points"}))
        return {"call": service}, but

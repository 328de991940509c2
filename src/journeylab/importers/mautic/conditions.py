"""What Mautic's conditions ask, and what its decisions await, as conditions and awaited events."""

from __future__ import annotations

from typing import Final

from journeylab.expressions import (
    Aggregate,
    And,
    Attribute,
    Compare,
    Property,
    Text,
    Tree,
    expression_text,
    literal_text,
)
from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Part
from journeylab.importers.outcomes import Verdict

from .comparisons import OPERATORS, any_of, compared
from .entities import Entities
from .events import Event
from .segments import Segments

__all__ = ["Asking", "awaited_text", "one_of"]

_REASONS: Final = {"1": "unsubscribed", "2": "bounced", "3": "manual"}
_DEVICE: Final = ("device_type", "device_brand", "device_os")
_FLAG: Final = "what it asks is a flag attribute here"
_BESIDE: Final = {
    "in": ("a value that only contains one of the list counts there, too",),
    "empty": ("an empty text is empty there, and here a value has to be missing (rule 7)",),
}
_STANDARD: Final = {"points": "number"}


def awaited_text(event: str, where: Tree | None) -> str:
    """An event as `wait_for` awaits it."""
    if where is None:
        return f"event({literal_text(event)})"
    return f"event({literal_text(event)}, where={literal_text(expression_text(where))})"


def one_of(kind: str, ids: list[str]) -> Tree | None:
    """Whether an event is of one of some forms, pages or assets, by their ids; None where any counts."""
    return any_of([Compare("==", Property(kind), Text(one)) for one in ids]) if ids else None


class Asking:
    """Conditions and decisions of one campaign.

    Args:
        main: the draft that names attributes.
        entities: what came along.
        segments: its segments.
    """

    def __init__(self, main: Draft, entities: Entities, segments: Segments) -> None:
        self._main, self._entities, self._segments = main, entities, segments

    def condition(self, event: Event, draft: Draft) -> tuple[Tree, list[str]]:
        """What a condition asks, and what differs."""
        config = event.config
        match event.type:
            case "lead.field_value":
                return self._field(event)
            case "lead.segments":
                ids = _ids(config, "segments")
                return any_of([self._segments.member(draft, one, config) for one in ids]), []
            case "lead.tags":
                return any_of(
                    [Attribute(self._main.attribute(f"tag_{one}", config)) for one in _ids(config, "tags")]
                ), []
            case "lead.points":
                return self._points(config)
            case "lead.owner" | "lead.stages":
                attribute, key = {"lead.owner": ("owner", "owner"), "lead.stages": ("stage", "stages")}[event.type]
                is_one = [Compare("==", Attribute(attribute), Text(one)) for one in _ids(config, key)]
                return any_of([*is_one]), []
            case "lead.dnc":
                return self._do_not_contact(config)
            case "lead.campaigns":
                config.skip("dataAddedLimit", "expr", "dateAdded")
                but = ["since when they are in it is not asked"] if config.raw("dateAdded") else []
                why = "who is in it is not in the export"
                flags = [self._segments.flag(one, config, "in campaign", why) for one in _ids(config, "campaigns")]
                return any_of(flags), but
            case "lead.device":
                return Aggregate("did", "page_viewed", where=self._device(config)), []
            case "lead.pageHit":
                return self._page_hit(config)
            case "form.field_value":
                return self._form_field(event)
            case _:
                config.skip("timestamp", "operator", "triggerInterval", "triggerIntervalUnit")
                return self._segments.flag(event.label, event.part, "answer", "the log does not know it"), []

    def awaited(self, event: Event) -> tuple[str, Tree | None]:
        """The event that a decision awaits, unless it is about an e-mail, and its `where`."""
        config = event.config
        match event.type:
            case "page.pagehit":
                return "page_viewed", self._page(config)
            case "page.devicehit":
                return "page_viewed", self._device(config)
            case "asset.download":
                return "asset_downloaded", one_of("asset", _ids(config, "assets", needed=False))
            case "form.submit":
                return "form_submitted", one_of("form", _ids(config, "forms", needed=False))
            case "dwc.decision":
                config.skip("dynamicContent")
                return "content_requested", Compare("==", Property("slot"), Text(config.text("dwc_slot_name")))
            case _:
                pattern = config.optional("pattern")
                return "sms_replied", None if pattern is None else self.like("text", pattern, config)

    def like(self, name: str, pattern: str, part: Part) -> Tree:
        """A property that is like a pattern, in which a star stands for anything."""
        if not any(sign in pattern for sign in "*?["):
            return Compare("==", Property(name), Text(pattern))
        flag = name_of(f"{name} like {pattern}", "property")
        note = (
            "conditions compare whole texts (rule 7); the events have to have the flag property "
            f"{flag}, which says whether {name} is like it"
        )
        self._main.note(part, f"pattern {pattern!r}", Verdict.approximated, flag, note=note)
        return Property(flag)

    def _page(self, config: Part) -> Tree | None:
        """A visit of one of the pages, of an address that is like one of some, or from one: any of these counts."""
        pages = one_of("page", _ids(config, "pages", needed=False))
        trees = [] if pages is None else [pages]
        for key, name in (("url", "link"), ("referer", "referrer")):
            patterns = [one.strip() for one in (config.optional(key) or "").split(",")]
            trees += [self.like(name, one, config) for one in patterns if one]
        return any_of(trees) if trees else None

    def _device(self, config: Part) -> Tree | None:
        trees = [
            any_of([Compare("==", Property(key), Text(str(one))) for one in config.values(key)])
            for key in _DEVICE
            if config.raw(key)
        ]
        return And(tuple(trees)) if len(trees) > 1 else trees[0] if trees else None

    def _field(self, event: Event) -> tuple[Tree, list[str]]:
        config = event.config
        field, operator = config.text("field"), config.choice("operator", OPERATORS, "operators")
        kind = self._entities.field_types.get(field, _STANDARD.get(field, ""))
        given = config.raw("value")
        said = compared(Attribute(self._main.attribute(field, config)), operator, given, kind, config)
        if said is None:
            return self._segments.filter(f"{field} {operator} {given}", event.part), [_FLAG]
        guessed = not kind and not isinstance(given, list) and operator in ("=", "!=") and "Number" in repr(said)
        but = [f"the export does not say what type {field} is of; {given} is taken for a number"] if guessed else []
        return said, [*but, *_BESIDE.get(operator.removeprefix("!"), ())]

    def _points(self, config: Part) -> tuple[Tree, list[str]]:
        operator, group = config.choice("operator", OPERATORS, "operators"), config.optional("group")
        label = "" if group is None else self._entities.label("pointGroup", group)
        attribute = self._main.attribute_for(("points", group), f"points {label}")
        said = compared(Attribute(attribute), operator, config.number("score", 0), "number", config)
        if said is None:
            raise config.malformed(f"{operator!r} does not compare points", "operator")
        return said, [f"those of the group {label!r} are the attribute {attribute}"] if label else []

    def _do_not_contact(self, config: Part) -> tuple[Tree, list[str]]:
        reason = config.optional("reason")
        if reason is not None and reason not in _REASONS:
            raise config.malformed(f"{reason!r} is no reason; they are 1, 2 and 3", "reason")
        because = f"_{_REASONS[reason]}" if reason else ""
        flags = [f"do_not_contact_{one}{because}" for one in _ids(config, "channels")]
        but = ["any of the channels counts; there, the last one does"] if len(flags) > 1 else []
        return any_of([Attribute(name_of(one)) for one in flags]), but

    def _page_hit(self, config: Part) -> tuple[Tree, list[str]]:
        page, url, seconds = config.optional("page"), config.optional("page_url"), config.whole("accumulative_time", 0)
        hit = [] if page is None else [Compare("==", Property("page"), Text(page))]
        trees: list[Tree] = [*hit, *([] if url is None else [self.like("link", url, config)])]
        if not trees:
            raise config.malformed("there is neither a page nor a page_url to have been visited")
        where = any_of(trees)
        but = []
        if seconds:
            long = compared(Property("seconds"), "gte", seconds, "number", config)
            where = And((where, long)) if long is not None else where
            but.append("how long it was looked at is the property `seconds` of the visit")
        if config.raw("startDate") or config.raw("endDate"):
            but.append("between which dates it was is not asked, as no condition has two instants of its own")
        return Aggregate("did", "page_viewed", where=where), but

    def _form_field(self, event: Event) -> tuple[Tree, list[str]]:
        config = event.config
        form, field = config.text("form"), config.text("field")
        operator, given = config.choice("operator", OPERATORS, "operators"), config.raw("value")
        said = compared(Property(name_of(field, "field")), operator, given, "text", config)
        if said is None:
            return self._segments.filter(f"{field} {operator} {given}", event.part), [_FLAG]
        of_form = Compare("==", Property("form"), Text(form))
        return Aggregate("did", "form_submitted", where=And((of_form, said))), []


def _ids(config: Part, key: str, *, needed: bool = True) -> list[str]:
    """The ids or names of a list, in their order."""
    found = [str(one) for one in config.values(key) if str(one)] if config.raw(key) is not None else []
    if needed and not found:
        raise config.malformed("this is missing", key)
    return found

"""What came along with a campaign, by kind and id: e-mails, segments, forms, pages, assets, point groups."""

from __future__ import annotations

from typing import Final

from journeylab.importers.export import Part

__all__ = ["Entities"]

_KINDS: Final = (
    "email", "lists", "forms", "form_fields", "form_action", "page", "asset", "dynamicContent", "pointGroup", "sms",
    "notification", "mobile_notification", "focus", "channel.message", "stage",
)  # fmt: skip
_FIELDS: Final = ("custom_field", "custom_fields", "lead_field", "lead_fields")
_NAMES: Final = ("name", "title", "label", "alias")


class Entities:
    """The entities of one export.

    Args:
        top: the export of some campaigns.
    """

    def __init__(self, top: Part) -> None:
        self._by_id: dict[str, dict[str, Part]] = {}
        for kind in _KINDS:
            self._by_id[kind] = {}
            for one in top.parts(kind):
                self._by_id[kind][one.text("id")] = one
                one.skip(*one.data)  # what is on a page or in an e-mail is no part of a journey
        self.field_types = {
            one.text("alias"): one.text("type", "") for key in _FIELDS for one in top.parts(key) if _is_known(one)
        }

    def part(self, kind: str, identity: str) -> Part | None:
        """An entity, None where it did not come along."""
        return self._by_id[kind].get(identity)

    def label(self, kind: str, identity: str, otherwise: str = "") -> str:
        """What people call an entity."""
        part = self.part(kind, identity)
        named = [] if part is None else [part.optional(key) for key in _NAMES if isinstance(part.data.get(key), str)]
        return next((one for one in named if one), otherwise or identity)


def _is_known(field: Part) -> bool:
    field.skip(*field.data)
    return "alias" in field

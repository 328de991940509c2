"""Klaviyo: flows with their definitions, as its API gives them."""

from __future__ import annotations

from typing import Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export

from .actiontypes import NODE_TYPES
from .reading import journeys_of

__all__ = ["SYSTEM"]


class _Klaviyo:
    name: Final = "klaviyo"
    title: Final = "Klaviyo, flow definitions"
    documented: Final = (
        "Klaviyo Flows API (revision 2024-10-15 and later): Create Flow, Get Flow; OpenAPI description of create_flow; "
        "help centre: How contacts move through a flow, How to add a time delay to a flow, About filters for flows, "
        "Understanding how date-based flows schedule recipients"
    )
    node_types: Final = NODE_TYPES
    ignored: Final = frozenset({
        "id", "temporary_id", "created", "updated", "trigger_type", "relationships", "links", "status", "name",
        "from_email", "from_label", "reply_to_email", "cc_email", "bcc_email", "to_emails", "subject_line",
        "preview_text", "template_id", "add_tracking_params", "custom_tracking_params", "body", "title", "sound",
        "badge", "badge_options", "image_id", "dynamic_image", "video_asset_id", "on_open", "ios_link", "android_link",
        "web_url", "kv_pairs", "action_buttons", "shorten_links", "include_contact_card", "add_org_prefix",
        "add_info_link", "add_opt_out_language", "message_hierarchy", "url", "headers", "vendor_id", "push_type",
        "conversion_metric_id", "currency_type", "trigger_id", "trigger_subtype", "included", "experiment_status",
        "started", "type", "winner_metric", "code_function_id",
    })  # fmt: skip

    def read(self, export: Export) -> list[Draft]:
        return journeys_of(export)


SYSTEM: Final = _Klaviyo()

"""Tables of one's own: a warehouse's, under JourneyLab's names, or brought under them by a query."""

from __future__ import annotations

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table
from journeylab.importers.events.unfolding import unfolding

__all__ = ["ADAPTER"]

_STEPS = """
```
journeylab events import warehouse postgresql://reader@db.example/shop --log events.parquet --query "
    SELECT customer_id AS contact, 'purchase' AS event, paid_at AS occurred_at, order_id AS id, amount FROM orders"
journeylab events import warehouse adbc+snowflake://reader:…@account/shop/public --query "SELECT …" --log events.parquet
```
"""

ADAPTER = Adapter(
    name="warehouse",
    title="tables of your own",
    documented=["docs/intake.md"],
    clock=Clock("text", None, "a time without a zone is refused until you say which it is in"),
    tables=(
        Table(
            name="events",
            needs=("contact", "event", "occurred_at", "id"),
            words=("events", "event"),
            contact=("contact",),
            key=("id",),
            events=(Event("", "occurred_at"),),
            named_by="event",
            received_at="received_at",
            message=("message",),
            properties={
                "link": "link",
                "purpose": "purpose",
                "bounce_type": "bounce_type",
                "name": "name",
                "value": "value",
                "is_machine": "is_machine",
            },
        ),
        Table(
            name="contacts",
            needs=("contact",),
            lacks=("event", "occurred_at"),
            words=("contacts", "contact"),
            contact=("contact",),
            is_contacts=True,
            modified_at="modified_at",
        ),
    ),
    unfold=unfolding("contact"),
    steps=_STEPS,
    limits=(
        "`id` tells events apart and must stay the same: a repeated one is taken once. What has none needs one made in "
        "the query, of the columns that tell a row from the others.",
        "`consent_given` and `consent_withdrawn` need the column `purpose` in the table; `--purpose` is for systems "
        "whose exports have none.",
    ),
)

"""The catalogue: what is known of products, as a connector says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, Given, among

__all__ = ["products_of", "take_products"]


def take_products(
    connection: Connection,
    products: Sequence[tuple[str, Mapping[str, Any], bool, datetime | None]],
    now: datetime,
) -> None:
    """Takes products: each with its properties, whether it is gone, and when that changed."""
    _TAKING.run(
        connection,
        [(product, _text(properties), is_gone, at, now) for product, properties, is_gone, at in products],
    )


def products_of(connection: Connection, products: Collection[str]) -> dict[str, dict[str, Any]]:
    """The properties of products that are sold, by their ids; others are left out."""
    p = t.products.c
    asked = select(p.product, p.properties).where(among(connection, p.product, [*products]), p.is_gone.is_(False))
    return {product: dict(properties) for product, properties in connection.execute(asked)}


def _text(properties: Mapping[str, Any]) -> str:
    import json

    return json.dumps(properties, ensure_ascii=False, sort_keys=True)


def _taking(given: Given) -> Any:
    made = given.into(t.products, *_PRODUCT)
    latest = {name: made.excluded[name] for name in _PRODUCT[1:]}
    return made.on_conflict_do_update(index_elements=["product"], set_=latest)


_PRODUCT: Final = ("product", "properties", "is_gone", "changed_at", "taken_at")
_TAKING: Final = Bulk(_taking, *_PRODUCT)

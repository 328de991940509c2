"""Previews: messages as chosen contacts would get them, and the sample on which `lint` checks a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .compose import Envelope, compose
from .dkim import DkimKey, signed
from .messages import Message, Messages
from .rendering import Context, Rendered, Renderer

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.sender.settings import Settings

__all__ = ["example_context", "preview", "preview_page", "sample", "save_page"]

_EXAMPLE_TOKEN = "examp1e" * 7 + "exa"


def example_context(
    message: Message, *, public_url: str = "https://mail.example.com", postal_address: str = "Our Shop, 1 Example Road"
) -> Context:
    """The context that a message's `example` gives, with links that lead nowhere and products named by number.

    As in a real one, only mail that asks to confirm has `confirm_url`, and only marketing has the links to unsubscribe.
    """
    values = message.example
    links = ["confirm"] if message.asks_to_confirm else [] if message.transactional else ["unsubscribe", "preferences"]
    return Context(
        attributes={name: values.get(name) for name in message.attributes},
        entry={name: values.get(f"entry.{name}") for name in message.entry},
        links={f"{link}_url": f"{public_url}/{link}/{_EXAMPLE_TOKEN}" for link in links},
        postal_address=postal_address,
        recommended=[_product(message, f"Product {i + 1}") for i in range(message.recommend or 0)],
    )


def _product(message: Message, name: str) -> str | dict[str, Any]:
    """A product as the catalogue would have it, where the example has values of `product.NAME`; else its name."""
    of = {key.removeprefix("product."): value for key, value in message.example.items() if key.startswith("product.")}
    return {"product": name, **of} if of else name


def preview(
    messages: Messages,
    name: str,
    contacts: Iterable[Mapping[str, Any]] | pd.DataFrame,
    *,
    context: Context | None = None,
) -> list[Rendered]:
    """A message as each of some contacts would get it, in their order.

    Args:
        messages: the messages.
        name: which of them.
        contacts: rows with the message's attributes, as mappings or as a table (`log.contacts()`); NaN is missing.
        context: all but the attributes; by default the message's example, with links that lead nowhere.

    Raises:
        RenderError: when a contact lacks what the message writes.
        DefinitionError: when there is no such message.
    """
    base = context or example_context(messages[name])
    rows = (
        contacts if isinstance(contacts, Iterable) and not hasattr(contacts, "to_dict") else contacts.to_dict("records")
    )
    with Renderer(messages) as renderer:
        return [renderer.render(name, replace(base, attributes=row)) for row in rows]


def preview_page(rendered: Sequence[tuple[str, Rendered]], title: str) -> str:
    """One HTML page of titled messages: subject, HTML and text part of each side by side.

    The mail's HTML stands in a frame that runs no script, and the page fetches nothing but pictures.
    """
    sections = "".join(
        f"<section><h2>{escape(name)}</h2><p class=subject>{escape(one.subject)}</p>"
        f'<div class=pair><iframe sandbox="" title="HTML of {escape(name)}" srcdoc="{escape(one.html)}"></iframe>'
        f"<pre>{escape(one.text)}</pre></div></section>"
        for name, one in rendered
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src https: data:"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 86rem; padding: 0 1rem; color: #1a1a1a; }}
.subject {{ font-weight: 600; }}
.pair {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
iframe {{ flex: 1 1 40rem; height: 52rem; border: 1px solid #8a8a8a; background: #fff; }}
pre {{ flex: 1 1 30rem; margin: 0; padding: 1rem; border: 1px solid #8a8a8a; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
</style></head><body><h1>{escape(title)}</h1>{sections}</body></html>
"""


def save_page(rendered: Sequence[tuple[str, Rendered]], title: str, path: str | Path) -> None:
    """Writes `preview_page` to a file."""
    Path(path).write_text(preview_page(rendered, title), encoding="utf-8")


def sample(renderer: Renderer, name: str, settings: Settings, key: DkimKey | None, date: datetime) -> bytes:
    """The bytes of a message made from its example, as `lint` takes them: composed, and signed where there is a key.

    Raises:
        RenderError, HeaderError: when the example cannot be sent as a message.
    """
    message = renderer.messages[name]
    context = example_context(message, public_url=settings.public_url, postal_address=settings.postal_address)
    sender = message.from_ or settings.from_
    is_marketing = not message.transactional
    envelope = Envelope(
        message_id=f"<sample.{name}@{settings.domain}>",
        from_address=sender.address,
        from_name=sender.name,
        to_address="someone@example.com",
        date=date,
        reply_to=message.reply_to or settings.reply_to,
        list_id=settings.list_id if is_marketing else None,
        unsubscribe_url=context.links.get("unsubscribe_url"),
        unsubscribe_mailto=settings.unsubscribe if is_marketing else None,
        one_click=is_marketing,
        feedback_id=f"{name}:{settings.sender}",
        send_key="0" * 32,
    )
    data = compose(renderer.render(name, context), envelope).data
    return data if key is None else signed(data, key)

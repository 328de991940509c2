"""A journey as Mermaid text, which GitHub, GitLab and many wikis render as a flowchart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journeylab.journey import Journey, Node
from journeylab.language import count_text, say, share_text

from .facts import edges_of, node_facts, trigger_facts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["mermaid"]

_SHAPES = {
    "send": ("[", "]"),
    "wait": ("([", "])"),
    "wait_until": ("([", "])"),
    "wait_for": ("([", "])"),
    "decide": ("{{", "}}"),
    "split": ("{{", "}}"),
    "run": ("[[", "]]"),
    "exit": ("((", "))"),
}


def mermaid(journey: Journey, counts: pd.DataFrame | None = None) -> str:
    """The journey as a Mermaid flowchart: a node for each node, a link for each target, the trigger before the first.

    Args:
        journey: the journey.
        counts: closed visits by branch, as a replay returns them; then links carry their number and share.

    Raises:
        DataError: when `counts` lacks a column or has nothing of this journey.

    >>> from journeylab.journey import Exit, Journey, Send, Trigger
    >>> print(mermaid(Journey(journey="hello", trigger=Trigger(event="signup"),
    ...                       nodes={"greet": Send(send="hi", next="done"), "done": Exit(exit="finished")})))
    flowchart TD
      trigger(["on event signup<br/>once for each contact"])
      n0["<b>greet</b><br/>send hi"]
      n1(("<b>done</b><br/>exit finished"))
      trigger --> n0
      n0 --> n1
    """
    ids = {name: f"n{number}" for number, name in enumerate(_names(journey))}
    lines = ["flowchart TD", f'  trigger(["{"<br/>".join(map(_escaped, trigger_facts(journey.trigger)))}"])']
    for name, key in ids.items():
        node = journey.nodes.get(name)
        opened, closed = _SHAPES.get(node.verb, ("[/", "/]")) if node else ("[", "]")
        lines.append(f'  {key}{opened}"{_node_text(name, node)}"{closed}')
    lines.append(f"  trigger --> {ids[journey.first]}")
    for edge in edges_of(journey, counts):
        texts = [edge.label] if edge.label else []
        if edge.n_visits is not None:
            texts.append(count_text(edge.n_visits) + (f" · {share_text(edge.branch_share)}" if edge.n_visits else ""))
        arrow = "-.->" if edge.n_visits and edge.n_assumed * 2 >= edge.n_visits else "-->"
        label = f'|"{"<br/>".join(map(_escaped, texts))}"|' if texts else ""
        lines.append(f"  {ids[edge.node]} {arrow}{label} {ids[edge.target]}")
    return "\n".join(lines)


def _names(journey: Journey) -> list[str]:
    return list(dict.fromkeys([*journey.nodes, journey.first, *(target for _, _, target in journey.edges())]))


def _node_text(name: str, node: Node | None) -> str:
    facts = node_facts(node) if node else [say("is not defined")]
    return f"<b>{_escaped(name)}</b><br/>{'<br/>'.join(map(_escaped, facts))}"


def _escaped(text: str) -> str:
    """The text with Mermaid's entity codes for what Mermaid or HTML would read as its own."""
    return "".join(f"#{ord(letter)};" if letter in "\"'<>&#`;{}[]|\\" else letter for letter in text)

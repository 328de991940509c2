"""The keys of the activities that stand for the nodes of a journey of ours, and the ways between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from journeylab.conditions import AwaitedEvent, parse, parse_awaited
from journeylab.expressions import MessageEvent, Or, Tree
from journeylab.journey import (
    WEEKDAYS,
    Call,
    Decide,
    Emit,
    Exit,
    Journey,
    Node,
    Run,
    Send,
    Set,
    Split,
    Wait,
    WaitFor,
    WaitUntil,
)

from .messages import SERVICES

__all__ = ["Keys", "asked_message", "channel_of", "is_open"]

_BEGINNINGS: Final[dict[type[Node], str]] = {
    Send: "EMAILV2", Wait: "WAITBYDURATION", WaitUntil: "WAITBYATTRIBUTE", WaitFor: "WAITBYEVENT",
    Decide: "MULTICRITERIADECISIONV2", Split: "RANDOMSPLITV2", Set: "UPDATECONTACTDATAV2", Emit: "REST", Run: "RUN",
}  # fmt: skip
"""What keys begin with in the editor."""
_CHANNELS: Final = {beginning: kind for kind, beginning in reversed(list(SERVICES.items()))}


def is_open(node: Node) -> bool:
    """Whether a node waits for a window that is always open, and so only leads on."""
    if not isinstance(node, WaitUntil):
        return False
    until = node.wait_until
    return until.between == ("00:00", "24:00") and {*until.days} == {*WEEKDAYS}


def channel_of(service: str) -> tuple[str, str]:
    """The type of activity that stands for an outside service, and what it is called there.

    >>> channel_of("sms_cart_reminder"), channel_of("loyalty")
    (('SMSSYNC', 'cart_reminder'), ('REST', 'loyalty'))
    """
    beginning, _, rest = service.partition("_")
    return (_CHANNELS[beginning], rest) if beginning in _CHANNELS and rest else ("REST", service)


def asked_message(node: Decide) -> tuple[MessageEvent, tuple[str, ...]] | None:
    """What a `decide` asks of one message, where that is all that it asks, and of which links.

    Opens and clicks together are the opens of Journey Builder, where a click counts as an open.
    """
    tree: Tree = parse(node.decide[0].condition).tree
    if len(node.decide) > 1:
        return None
    if isinstance(tree, MessageEvent):
        return tree, () if tree.link is None else (tree.link,)
    events = tree.parts if isinstance(tree, Or) else ()
    asked = [one for one in events if isinstance(one, MessageEvent)]
    if not asked or len(asked) < len(events) or len({one.node for one in asked}) > 1:
        return None
    if {(one.kind, one.link) for one in asked} == {("opened", None), ("clicked", None)}:
        return next(one for one in asked if one.kind == "opened"), ()
    links = tuple(one.link for one in asked if one.link is not None)
    return (asked[0], links) if len(links) == len(asked) and {one.kind for one in asked} == {"clicked"} else None


class Keys:
    """The keys of a journey.

    Attributes:
        heads: of each node that has an activity, the key of the first one.
        emails: of each send, the key of its e-mail.
        extends: of each wait that the following wait for a time of day extends, that one's node: both are one activity.
    """

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._numbers: Counter[str] = Counter()
        self.extends = dict(self._extended())
        self.heads: dict[str, str] = {}
        self.emails: dict[str, str] = {}
        for name, node in journey.nodes.items():
            if isinstance(node, Exit) or is_open(node) or name in self.extends.values():
                continue
            self.heads[name] = self.new(_beginning(node))
            if isinstance(node, Send):
                self.emails[name] = self.heads[name] if node.best is None else self.new("EMAILV2")

    def new(self, beginning: str) -> str:
        """A key that nothing has yet."""
        self._numbers[beginning] += 1
        return f"{beginning}-{self._numbers[beginning]}"

    def to(self, target: str) -> str | None:
        """The key of the activity that a branch to a node leads to, None where the journey ends."""
        node, seen = self._journey.nodes[target], {target}
        while isinstance(node, WaitUntil) and is_open(node) and node.next not in seen:
            target = node.next
            seen.add(target)
            node = self._journey.nodes[target]
        return self.heads.get(target)

    def backwards(self) -> Iterator[tuple[str, str]]:
        """The ways back: nodes that lead to one from which they were come to, with it."""
        after: dict[str, list[str]] = {name: [] for name in self._journey.nodes}
        for name, _, target in self._journey.edges():
            after[name].append(target)
        done: set[str] = set()
        stack: list[tuple[str, Iterator[str]]] = [(self._journey.first, iter(after[self._journey.first]))]
        path = {self._journey.first}
        while stack:
            name, targets = stack[-1]
            for target in targets:
                if target in path:
                    yield name, target
                elif target not in done:
                    path.add(target)
                    stack.append((target, iter(after[target])))
                    break
            else:
                done.add(name)
                path.discard(name)
                stack.pop()

    def _extended(self) -> Iterator[tuple[str, str]]:
        nodes = self._journey.nodes
        leading = Counter(target for _, _, target in self._journey.edges())
        for name, node in nodes.items():
            if not isinstance(node, Wait):
                continue
            after = nodes[node.next]
            if isinstance(after, WaitUntil) and leading[node.next] == 1 and node.next != self._journey.first:
                until = after.wait_until
                if until.date is None and until.time is not None and {*until.days} == {*WEEKDAYS}:
                    yield name, node.next


def _beginning(node: Node) -> str:
    """What the key of the first activity of a node begins with."""
    match node:
        case Send() if node.best is not None:
            return "STOWAIT"
        case WaitUntil() if node.wait_until.date is None:
            return "WAITBYDURATION"
        case WaitUntil() if node.otherwise not in (None, node.next):
            return "MULTICRITERIADECISIONV2"
        case WaitFor() if not isinstance(parse_awaited(node.awaited[0]), AwaitedEvent):
            return "WAITBYDURATION"
        case Decide() if asked_message(node) is not None:
            return "ENGAGEMENTSPLITV2"
        case Call():
            return channel_of(node.call)[0]
    return _BEGINNINGS[type(node)]

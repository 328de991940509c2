"""What templates use, read from them without running them: names, the trigger event's properties, links, files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.meta import find_referenced_templates, find_undeclared_variables

from journeylab.errors import known

from .templating import environment

__all__ = ["GIVEN", "LINKS", "Place", "Uses", "uses"]

LINKS: Final = ("unsubscribe_url", "preferences_url", "confirm_url")
GIVEN: Final = (*LINKS, "postal_address", "subject", "preheader", "entry", "link", "recommend")
"""The names that every template may use undeclared."""

Place = tuple[str, int]
"""A file and a line of it, counted from 1."""


@dataclass
class Uses:
    """What some templates and all that they include or extend use, with where it is first used, and their faults.

    `names` are those that the context has to give; `entry` are properties of the trigger event, `links` the addresses
    of named links, `recommended` the largest number of products asked for (0 where `recommend` is not used).
    """

    files: list[str] = field(default_factory=list)
    names: dict[str, Place] = field(default_factory=dict)
    entry: dict[str, Place] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    recommended: int = 0
    faults: list[tuple[Place, str]] = field(default_factory=list)


def uses(sources: Mapping[str, str], roots: Iterable[str]) -> Uses:
    """What the templates `roots` among `sources` use, with what they include, import and extend.

    >>> layout = "<p>{% block main %}{% endblock %} {{ link('shop', 'https://shop.example/') }}</p>"
    >>> page = "{% extends 'b.html' %}{% block main %}{{ plan }}{% endblock %}"
    >>> found = uses({"a.html": page, "b.html": layout}, ["a.html"])
    >>> found.files, found.names["plan"], found.links
    (['a.html', 'b.html'], ('a.html', 1), {'shop': 'https://shop.example/'})
    """
    found = Uses()
    env = environment(sources)
    trees: dict[str, nodes.Template] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop(0)
        if name in found.files:
            continue
        found.files.append(name)
        try:
            env.compile(sources[name], name, name)  # which knows filters and tests, as parsing does not
            trees[name] = env.parse(sources[name], name, name)
        except TemplateSyntaxError as error:
            found.faults.append(((name, error.lineno), f"no Jinja2 template: {error.message}"))
            continue
        except ValueError:
            found.faults.append(((name, 1), "no Jinja2 template: it has a number of more than 4,300 digits"))
            continue
        except RecursionError:
            found.faults.append(((name, 1), "no Jinja2 template: it is nested too deeply"))
            continue
        for node in trees[name].find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
            for other in find_referenced_templates(nodes.Template([node], lineno=node.lineno)):
                if other is None:
                    found.faults.append(((name, node.lineno), "the name of another template is written out, in quotes"))
                elif other in sources:
                    waiting.append(other)
                else:
                    problem = f"there is no template {other!r}; {known(other, sources, 'templates')}"
                    found.faults.append(((name, node.lineno), problem))
    for name, tree in trees.items():
        # Blocks see what the top of their file sets; included files see all that is set around them.
        own = set().union(*(_set_in(node) for node in tree.body if not isinstance(node, nodes.Block)))
        elsewhere = set().union(*(_set_in(other) for file, other in trees.items() if file != name))
        free = find_undeclared_variables(tree) - own - elsewhere
        for one in _names(tree):
            if one.name in free and one.ctx == "load":
                found.names.setdefault(one.name, (name, one.lineno))
        _read_entry(tree, name, found)
        _read_calls(tree, name, found)
    return found


def _names(tree: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(tree, nodes.Name):
        yield tree
    yield from tree.find_all(nodes.Name)


def _set_in(tree: nodes.Node) -> set[str]:
    """The names that a part of a template sets or imports, and the macros it defines."""
    found = {one.name for one in _names(tree) if one.ctx != "load"}
    for node in (tree, *tree.find_all((nodes.Macro, nodes.Import, nodes.FromImport))):
        if isinstance(node, nodes.Macro):
            found.add(node.name)
        elif isinstance(node, nodes.Import):
            found.add(node.target)
        elif isinstance(node, nodes.FromImport):
            found |= {one if isinstance(one, str) else one[1] for one in node.names}
    return found


def _read_entry(tree: nodes.Template, file: str, found: Uses) -> None:
    within = set()
    reads: list[tuple[nodes.Expr, object, int]]
    reads = [(one.node, one.attr, one.lineno) for one in tree.find_all(nodes.Getattr)]
    reads += [(one.node, getattr(one.arg, "value", None), one.lineno) for one in tree.find_all(nodes.Getitem)]
    for inside, name, line in reads:
        if isinstance(inside, nodes.Name) and inside.name == "entry" and isinstance(name, str):
            within.add(id(inside))
            found.entry.setdefault(name, (file, line))
    for one in _names(tree):
        if one.name == "entry" and id(one) not in within:
            problem = "a property of the trigger event is used as entry.NAME, its name written out"
            found.faults.append(((file, one.lineno), problem))


def _read_calls(tree: nodes.Template, file: str, found: Uses) -> None:
    called = set()
    for call in tree.find_all(nodes.Call):
        if not isinstance(call.node, nodes.Name):
            continue
        called.add(id(call.node))
        values = [getattr(argument, "value", None) for argument in call.args]
        plain = not (call.kwargs or call.dyn_args or call.dyn_kwargs)
        if call.node.name == "link":
            problem = _link_problem(values, found.links) if plain else "link has a name and an address, nothing else"
            if problem:
                found.faults.append(((file, call.lineno), problem))
            else:
                found.links[str(values[0])] = str(values[1])
        elif call.node.name == "recommend":
            if not plain or len(values) != 1 or type(values[0]) is not int or values[0] < 1:
                problem = "recommend takes how many products are shown, written out: recommend(3)"
                found.faults.append(((file, call.lineno), problem))
            else:
                found.recommended = max(found.recommended, values[0])
    for one in _names(tree):
        if one.name in ("link", "recommend") and one.ctx == "load" and id(one) not in called:
            found.faults.append(((file, one.lineno), f"{one.name} is called, as {one.name}(…)"))


def _link_problem(values: list[object], links: Mapping[str, str]) -> str | None:
    """What is wrong with the arguments of `link`: both are texts, the address is https and the name's only one."""
    match values:
        case [str() as name, str() as address]:
            if not name.isidentifier():
                return f"the name of a link has letters, digits and underscores, got {name!r}"
            if urlsplit(address).scheme != "https" or not urlsplit(address).hostname:
                return f"the link {name!r} must lead to https://…, got {address!r}"
            if links.get(name, address) != address:
                return f"the link {name!r} leads to {links[name]} elsewhere; give one of them another name"
            return None
    return 'link takes a name and an address, both written out: link("shop", "https://shop.example/")'

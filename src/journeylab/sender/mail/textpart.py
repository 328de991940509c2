"""The text part of a mail, made from its HTML: what a person who sees no HTML needs to read and to follow."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from typing import Final

__all__ = ["text_of"]

WIDTH: Final = 76
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_UNSEEN = frozenset(("head", "script", "style", "template", "title", "noscript", "object", "svg"))
_BLOCKS = frozenset(
    (
        "address", "article", "aside", "body", "center", "dd", "div", "dl", "dt", "figcaption", "figure", "footer",
        "form", "header", "main", "nav", "p", "section", "table", "tbody", "thead", "tfoot", "h1", "h2", "h3", "h4",
        "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "tr", "caption",
    )
)  # fmt: skip
_TOKEN = re.compile(
    r"<!--.*?-->|<(?P<raw>head|noscript|script|style|title)\b.*?</(?P=raw)\s*+>|<!(?!--)[^>]*+>"
    r"|<(?P<end>/?)(?P<tag>[a-z][a-z0-9:-]*+)(?P<attributes>(?:[^>\"']|\"[^\"]*+\"|'[^']*+')*+)>|(?P<text>[^<]++|<)",
    re.IGNORECASE | re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""([^\s=/>"']++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>]++)))?""")
_READ: Final = ("a", "img", "ol", "table")
"""The elements of which attributes are read; of the others only whether they are hidden."""
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all|max-height\s*:\s*0", re.IGNORECASE)
_INVISIBLE = dict.fromkeys((0x200B, 0x034F, 0xFEFF, 0x00AD))
_BLANKS = re.compile(r"\s+")
_RULES: Final = {"h1": "=", "h2": "-"}


@dataclass
class _Open:
    """An element that is open, and what is done when it closes."""

    tag: str
    at_end: Callable[[], None] | None = None
    is_hidden: bool = False
    is_layout: bool = False


@dataclass
class _List:
    number: int | None = None


@dataclass
class _Walker:
    """Blocks of text, gathered while the HTML is read; a tight block follows the one before without an empty line."""

    width: int = WIDTH
    blocks: list[tuple[str, bool]] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    lists: list[_List] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)
    cells: list[str] | None = None
    bullet: str = ""
    n_hidden: int = 0
    n_pre: int = 0

    def walk(self, html: str) -> None:
        """Reads HTML to its end; what is open then is closed."""
        for token in _TOKEN.finditer(html):
            if token["text"] is not None:
                self.write(token["text"])
            elif token["tag"] is not None:
                (self.close if token["end"] else self.open)(token["tag"].lower(), token["attributes"])
        while self.stack:
            self.close(self.stack[-1].tag)
        self.end_block()

    def open(self, tag: str, attributes: str) -> None:
        values: dict[str, str] = {}
        if attributes and (tag in _READ or "hidden" in attributes or _HIDDEN.search(attributes)):
            values = {name.lower(): unescape("".join(value)) for name, *value in _ATTRIBUTE.findall(attributes)}
        if self.n_hidden or tag in _UNSEEN or "hidden" in values or _HIDDEN.search(values.get("style", "")):
            if tag not in _VOID:
                self.stack.append(_Open(tag, is_hidden=True))
                self.n_hidden += 1
            return
        if tag == "br":
            self.line.append("\n")
        elif tag == "img":
            self.line.append(values.get("alt", ""))
        elif tag == "hr":
            self.end_block()
            self.blocks.append(("-" * 20, False))
        if tag in _VOID:
            return
        if tag in _BLOCKS:
            self.end_block()
        self.n_pre += tag == "pre"
        only_places = values.get("role") in ("presentation", "none")
        self.stack.append(_Open(tag, self.opened(tag, values), is_layout=only_places))

    def opened(self, tag: str, values: dict[str, str]) -> Callable[[], None] | None:
        """Begins an element; what is returned ends it."""
        if tag == "a" and values.get("href", "").strip() and not values["href"].startswith("#"):
            return self.link(values["href"].strip())
        if tag in _RULES:
            return lambda: self.end_block(rule=_RULES[tag])
        if tag in ("ul", "ol"):
            start = values.get("start", "")
            self.lists.append(_List(None if tag == "ul" else int(start) if start.isdecimal() else 1))
            return self.end_list
        if tag == "li":
            return self.item()
        if tag == "blockquote":
            self.prefix.append("> ")
            return self.end_prefix
        if tag == "tr" and not self.is_layout:
            self.cells = []
            return self.end_row
        if tag in ("td", "th"):
            return self.end_cell if self.cells is not None else self.begin_cell()
        if tag == "table":
            outer, self.cells = self.cells, None
            return lambda: self.end_table(outer)
        return self.end_block if tag in _BLOCKS else None

    @property
    def is_layout(self) -> bool:
        """Whether the innermost table only places things."""
        tables = [one.is_layout for one in self.stack if one.tag == "table"]
        return not tables or tables[-1]

    def begin_cell(self) -> Callable[[], None]:
        self.end_block()
        return self.end_block

    def end_cell(self) -> None:
        if self.cells is not None:
            self.cells.append(self.taken().replace("\n", " "))

    def end_row(self) -> None:
        cells, self.cells = self.cells, None
        text = " | ".join(cells or ())
        if text.strip(" |"):
            self.add(text, is_tight=True)

    def end_table(self, outer: list[str] | None) -> None:
        self.end_block()
        self.cells = outer
        if self.blocks:
            self.blocks.append(("", False))

    def link(self, address: str) -> Callable[[], None]:
        before, self.line = self.line, []

        def end() -> None:
            shown = _BLANKS.sub(" ", "".join(self.line)).strip()
            target = address.removeprefix("mailto:")
            text = "".join(self.line) if shown == target else f"{shown} <{target}>" if shown else f"<{target}>"
            self.line = [*before, text]

        return end

    def item(self) -> Callable[[], None]:
        inner = self.lists[-1] if self.lists else _List()
        self.bullet = "- " if inner.number is None else f"{inner.number}. "
        if inner.number is not None:
            inner.number += 1
        indent = " " * len(self.bullet)
        self.prefix.append(indent)

        def end() -> None:
            self.end_block()
            self.bullet = ""
            self.prefix.remove(indent)

        return end

    def end_list(self) -> None:
        self.end_block()
        self.lists.pop()
        if not self.lists:
            self.blocks.append(("", False))

    def end_prefix(self) -> None:
        self.end_block()
        self.prefix.pop()

    def close(self, tag: str, _attributes: str = "") -> None:
        if all(one.tag != tag for one in self.stack):
            return
        while True:
            one = self.stack.pop()
            if one.at_end is not None:
                one.at_end()
            self.n_hidden -= one.is_hidden
            self.n_pre -= one.tag == "pre" and not one.is_hidden
            if one.tag == tag:
                break

    def write(self, data: str) -> None:
        if not self.n_hidden:
            data = unescape(data) if "&" in data else data
            self.line.append(data if self.n_pre else _BLANKS.sub(" ", data))

    def taken(self) -> str:
        """The text since the last block, its blanks evened out."""
        text = "".join(self.line)
        self.line = []
        if not text or text.isspace():
            return ""
        text = text.translate(_INVISIBLE).replace("\xa0", " ")
        if self.n_pre:
            return text.strip("\n")
        return "\n".join(re.sub(r" +", " ", one).strip() for one in text.split("\n")).strip()

    def end_block(self, rule: str = "") -> None:
        if self.cells is not None:
            self.line.append(" ")
            return
        text = self.taken()
        if text:
            self.add(text, is_tight=bool(self.lists), rule=rule)

    def add(self, text: str, *, is_tight: bool, rule: str = "") -> None:
        """Adds a block, wrapped, with the bullet or prefix of what it is in."""
        first = "".join(self.prefix[: -1 if self.bullet else None]) + self.bullet
        rest = "".join(self.prefix)
        self.bullet = ""
        lines: list[str] = []
        wrap = textwrap.TextWrapper(self.width, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
        for one in text.split("\n"):
            lead = first if not lines else rest
            wrap.initial_indent = lead
            if self.n_pre or not one:
                lines.append(lead + one)
            else:
                lines += wrap.wrap(one)
        if rule:
            lines.append(rule * min(max(map(len, lines)), self.width))
        self.blocks.append(("\n".join(line.rstrip() for line in lines), is_tight))


def text_of(html: str, width: int = WIDTH) -> str:
    r"""The text of a mail's HTML, in lines of at most `width` letters except where an address is longer.

    Links keep their addresses in angle brackets, pictures their alternative text, lists their bullets, rows of tables
    their cells; tables with `role="presentation"` only place things. What is not shown is left out: styles, scripts,
    the title, and elements that are hidden by attribute or style, such as a preheader.

    >>> text_of('<h1>Hello</h1><p>Read <a href="https://shop.example/a">on</a>.</p><ul><li>tea</li><li>milk</li></ul>')
    'Hello\n=====\n\nRead on <https://shop.example/a>.\n\n- tea\n- milk\n'
    """
    walker = _Walker(width)
    walker.walk(html)
    text, was_tight = "", False
    for block, is_tight in walker.blocks:
        if block:
            text += ("\n" if is_tight and was_tight else "\n\n" if text else "") + block
        was_tight = is_tight
    return text + "\n"

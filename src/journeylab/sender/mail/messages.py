"""Messages: a folder of templates, each with a file that says what it may know of a contact.

`welcome_1.yaml` beside `welcome_1.html` (or `.mjml`) and, if one wants to write it oneself, `welcome_1.txt`:

```yaml
message: welcome_1
subject: "{{ first_name|default('Hello') }}, your trial has begun"
preheader: Three things to try first
attributes: [first_name]          # of the contact
entry: [plan]                     # of the event that began the journey, used as entry.plan
example: {first_name: Ala, entry.plan: trial}
```

Templates may include and extend other files of the folder. What a message declares and what its templates use must be
the same: nothing else of a contact reaches a template (GDPR Art. 5(1)(c), data minimisation).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from journeylab.errors import DefinitionError, Fault, known
from journeylab.journey import Definition, Name, Scalar
from journeylab.journeyfile import SUFFIXES, text_of
from journeylab.journeyform import part_of
from journeylab.sender.settings import Address, Mailbox
from journeylab.yamlsource import Document, documents

from .templateuse import GIVEN, Uses, uses

__all__ = ["Message", "Messages"]

BODIES: Final = (".html", ".mjml")
MOST_RECOMMENDED: Final = 20


class Message(Definition):
    """One message: what it is called, what it may know, and its templates.

    Attributes:
        message: its name, by which `send` nodes name it.
        subject, preheader: templates; the preheader is what inboxes show after the subject.
        from_, reply_to: instead of the settings'.
        attributes: the attributes of the contact that its templates use.
        entry: the properties of the trigger event that they use, as `entry.NAME`.
        transactional: whether it is owed to the contact (a receipt, the confirmation of an address), so that it goes
            out without marketing consent and needs no way to unsubscribe.
        recommend: how many recommended products its templates may ask for.
        example: values for previews and checks, by the name of the attribute, `entry.NAME`, or `product.NAME` for
            what the catalogue says of recommended products.
        templates: the sources of its templates by file name, with all that they include and extend.
    """

    message: Name
    subject: str = Field(min_length=1)
    preheader: str | None = None
    from_: Address | None = Field(default=None, alias="from")
    reply_to: Mailbox | None = None
    attributes: tuple[Name, ...] = ()
    entry: tuple[str, ...] = ()
    transactional: bool = False
    recommend: Annotated[int, Field(ge=1, le=MOST_RECOMMENDED)] | None = None
    example: dict[str, Scalar] = Field(default_factory=dict)
    templates: dict[str, str] = Field(default_factory=dict, exclude=True, repr=False)

    @model_validator(mode="after")
    def _names_once(self) -> Message:
        for name in ("attributes", "entry"):
            listed = getattr(self, name)
            twice = sorted({one for one in listed if listed.count(one) > 1})
            if twice:
                raise ValueError(f"{name} has {twice[0]!r} twice; keep one")
        taken = sorted({*self.attributes} & {*GIVEN})
        if taken:
            raise ValueError(f"every template has {taken[0]!r} already; an attribute of that name cannot be used")
        return self

    @property
    def sources(self) -> dict[str, str]:
        """All templates by name: the files, and `NAME.subject` and `NAME.preheader`."""
        own = {f"{self.message}.subject": self.subject}
        if self.preheader is not None:
            own[f"{self.message}.preheader"] = self.preheader
        return {**self.templates, **own}

    @property
    def body(self) -> str:
        """The file name of the template of its HTML."""
        return next(self.message + end for end in BODIES if self.message + end in self.templates)

    @property
    def text(self) -> str | None:
        """The file name of the template of its text part; None where that is made from the HTML."""
        name = f"{self.message}.txt"
        return name if name in self.templates else None

    @cached_property
    def uses(self) -> Uses:
        """What its templates use."""
        return uses(self.sources, _roots(self, self.templates))

    @property
    def links(self) -> dict[str, str]:
        """The addresses of its named links by name, as written in the templates: `clicked(NODE, "name")`."""
        return dict(self.uses.links)

    @property
    def asks_to_confirm(self) -> bool:
        """Whether it asks to confirm an address (double opt-in): it uses `confirm_url`."""
        return "confirm_url" in self.uses.names

    @property
    def hash(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of all that it is made of, the included files among them."""
        content = {"message": self.data(), "templates": self.templates}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Messages(Mapping[str, Message]):
    """Messages by name."""

    def __init__(self, messages: Mapping[str, Message]) -> None:
        self._messages = dict(sorted(messages.items()))

    def __getitem__(self, name: str) -> Message:
        if name not in self._messages:
            raise DefinitionError([Fault((), f"there is no message {name!r}; {known(name, self, 'messages')}")])
        return self._messages[name]

    def __contains__(self, name: object) -> bool:
        return name in self._messages

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __repr__(self) -> str:
        return f"Messages({', '.join(self)})"

    @classmethod
    def read(cls, folder: str | Path) -> Messages:
        """The messages in a folder: every YAML or JSON file there, with the templates beside it.

        Raises:
            DefinitionError: with every fault of every file, and where it stands.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DefinitionError([Fault((), "there is no such folder of messages", str(folder))])
        reading = _Reading(folder)
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES:
                reading.message(path)
        if not reading.messages and not reading.faults:
            reading.faults.append(Fault((), "there are no messages here; each is a NAME.yaml", str(folder)))
        if not reading.faults:
            reading.unused_files()
        if reading.faults:
            raise DefinitionError(reading.faults)
        return cls(reading.messages)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, the sources included, as a release keeps it."""
        templates = {file: source for one in self.values() for file, source in one.templates.items()}
        messages = {name: one.data() | {"templates": sorted(one.templates)} for name, one in self.items()}
        return {"messages": messages, "templates": templates}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Messages:
        """The messages of which `to_dict` made `data`.

        Raises:
            DefinitionError: when it is something else.
        """
        made = {}
        for name, one in data["messages"].items():
            own = {file: data["templates"][file] for file in one["templates"]}
            plain = {key: value for key, value in one.items() if key != "templates"}
            message, faults = part_of(Message, plain, Document(), ("messages", name), "a message")
            if message is None:
                raise DefinitionError(faults)
            made[name] = message.model_copy(update={"templates": own})
        return cls(made)


def _roots(message: Message, files: Mapping[str, str]) -> list[str]:
    name = message.message
    own = [f"{name}.subject", *([f"{name}.preheader"] if message.preheader is not None else ())]
    return own + [name + end for end in (*BODIES, ".txt") if name + end in files]


class _Reading:
    """The reading of a folder: its templates, the messages so far, and all faults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: dict[str, Message] = {}
        self.faults: list[Fault] = []
        self.templates: dict[str, str] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix in (*BODIES, ".txt"):
                try:
                    self.templates[path.name] = text_of(path).text
                except DefinitionError as error:
                    self.faults += error.faults

    def message(self, path: Path) -> None:
        """Reads a message's file and checks it against its templates."""
        read = documents(text_of(path).text, source=str(path), is_json=path.suffix == ".json")
        document, *more = read or [Document(source=str(path))]
        faults = [*document.faults, *(fault for other in more for fault in other.faults)]
        if more and not faults:
            faults = [Fault((), "a file has one message", str(path))]
        if not faults and not (isinstance(document.data, dict) and "message" in document.data):
            faults = [document.fault((), "there is no message here; it begins with `message: NAME`")]
        message = None
        if not faults:
            message, faults = part_of(Message, document.data, document, (), "a message")
        if message is not None:
            faults = self._own_faults(message, path, document)
        if message is not None and not faults:
            found = uses(self.templates | message.sources, _roots(message, self.templates))
            faults = self._faults_of_use(message, found, document)
            own = {file: self.templates[file] for file in sorted(found.files) if file in self.templates}
            self.messages[message.message] = message.model_copy(update={"templates": own})
        self.faults += faults

    def unused_files(self) -> None:
        """Notes the templates that no message uses: most likely the message's own file is missing."""
        used = {file for message in self.messages.values() for file in message.templates}
        for file in self.templates.keys() - used:
            problem = f"no message uses this template; {Path(file).stem}.yaml is missing, or this file is too much"
            self.faults.append(Fault((), problem, str(self.folder / file)))

    def _own_faults(self, message: Message, path: Path, document: Document) -> list[Fault]:
        name, faults = message.message, []
        if name != path.stem:
            faults.append(document.fault(("message",), f"the file of the message {name!r} is called {name}.yaml"))
        elif name in self.messages:
            faults.append(document.fault(("message",), f"there are two files of the message {name!r}; keep one"))
        bodies = [path.stem + end for end in BODIES if path.stem + end in self.templates]
        if not bodies:
            near = known(f"{path.stem}.html", self.templates, "templates")
            faults.append(document.fault((), f"its HTML is missing: {path.stem}.html or {path.stem}.mjml; {near}"))
        if len(bodies) > 1:
            faults.append(document.fault((), f"its HTML is made from {bodies[0]} or {bodies[1]}; keep one"))
        known_values = [*message.attributes, *(f"entry.{one}" for one in message.entry)]
        for one in message.example:
            is_products = message.recommend is not None and one.startswith("product.")
            if one not in known_values and not is_products:
                problem = f"the example has {one!r}, which is not declared; {known(one, known_values, 'names')}"
                faults.append(document.fault(("example", one), problem, at_key=True))
        return faults

    def _faults_of_use(self, message: Message, found: Uses, document: Document) -> list[Fault]:
        """Where what the templates use differs from what the message declares, and the faults of the templates."""
        name = message.message

        def fault(place: tuple[str, int], problem: str) -> Fault:
            file, line = place
            for part in ("subject", "preheader"):
                if file == f"{name}.{part}":
                    return document.fault((part,), problem)
            return Fault((), f"{problem} (message {name})", str(self.folder / file), line)

        faults = [fault(place, problem) for place, problem in found.faults]
        can_know = not any("no Jinja2 template" in problem for _, problem in found.faults)
        for what, declared, used in (
            ("attributes", message.attributes, {one: at for one, at in found.names.items() if one not in GIVEN}),
            ("entry", message.entry, found.entry),
        ):
            shown = "entry." if what == "entry" else ""
            for one in used.keys() - {*declared}:
                near = known(one, (*declared, *(GIVEN if what == "attributes" else ())), "names")
                problem = f"{shown}{one} is not declared; add it to `{what}` if the contact has it. Otherwise: {near}"
                faults.append(fault(used[one], problem))
            for i, one in enumerate(declared):
                if one not in used and can_know:
                    near = known(one, used, "names in the templates")
                    problem = f"{one!r} is declared and no template uses it; take it out, or {near}"
                    faults.append(document.fault((what, i), problem))
        if message.preheader is not None and "preheader" not in found.names and can_know:
            faults.append(
                document.fault(("preheader",), "no template shows the preheader; write {{ preheader }} there")
            )
        if found.recommended > (message.recommend or 0):
            at = found.names.get("recommend", (f"{name}.subject", 1))
            faults.append(
                fault(at, f"{found.recommended} products are asked for; write recommend: {found.recommended}")
            )
        elif message.recommend and not found.recommended and can_know:
            faults.append(document.fault(("recommend",), "no template asks for recommend(…); take it out"))
        if "confirm_url" in found.names and not message.transactional:
            problem = "a message with confirm_url asks for consent, so it goes out before there is any"
            faults.append(fault(found.names["confirm_url"], f"{problem}; write transactional: true"))
        return faults

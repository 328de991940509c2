"""The table of Python's ways in: nothing that takes a store, settings or keys is missing, and what asks, asks."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import journeylab as jl
import journeylab.disclosure
import journeylab.explorers
import journeylab.reports
import journeylab.sender
from journeylab.errors import DataError
from journeylab.journey import Exit, Journey, Trigger, Wait
from journeylab.sender.acting import acting
from journeylab.sender.callables import ASKING, PYTHON, table
from journeylab.sender.permissions import PERMISSIONS, ROLES, matrix
from journeylab.sender.persons.pseudonymising import pseudonymised_log
from journeylab.sender.persons.revealing import copied, exported, revealed
from journeylab.sender.process import Sender
from journeylab.sender.promotion.foureyes import approve_release, open_in_full
from journeylab.sender.promotion.promoting import Prepared, prepare
from journeylab.sender.store import Store
from journeylab.sender.web.app import application
from journeylab.sender.web.serving import serve, served
from outside import settings as settings_of
from promotable import write_messages
from stores import START, people

_TYPES = re.compile(r"\b(Store|Settings|Keys|PseudonymKeys)\b")


def takes_a_sender(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(one.name in ("store", "settings") or _TYPES.search(str(one.annotation)) for one in parameters)


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """The callables of a module's `__all__`, and the public methods of classes among them, under their own names."""
    for name in getattr(module, "__all__", ()):
        found = getattr(module, name)
        if inspect.ismodule(found) or not callable(found):
            continue
        full = f"{found.__module__}.{getattr(found, '__qualname__', name)}"
        yield full, found
        if inspect.isclass(found):
            for key, method in vars(found).items():
                inner = getattr(method, "__func__", method)
                if not key.startswith("_") and callable(inner):
                    yield f"{full}.{key}", inner


def modules() -> Iterator[Any]:
    yield from (jl, journeylab.explorers, journeylab.disclosure)
    for package in (journeylab.sender, journeylab.reports):
        for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." not in one.name:
                yield import_module(one.name)


def test_whatever_takes_a_sender_stands_in_the_table() -> None:
    found = {
        name.removeprefix("journeylab.")
        for module in modules()
        for name, function in public(module)
        if takes_a_sender(function)
    }
    assert len(found) > 80
    assert found <= PYTHON.keys(), sorted(found - PYTHON.keys())
    assert PYTHON.keys() >= ASKING


def test_what_stands_in_it_is_there_and_public() -> None:
    there = {name.removeprefix("journeylab.") for module in modules() for name, _ in public(module)}
    assert PYTHON.keys() <= there, sorted(PYTHON.keys() - there)
    assert {one for one in PYTHON.values() if one is not None} == PERMISSIONS.keys() - {"act_for_others"}


def test_the_matrix_shows_it() -> None:
    assert table() in matrix()
    for name in PYTHON:
        assert (f"`{name}`" in table()) == (PYTHON[name] is not None)


def without(permission: str) -> dict[str, Any]:
    """The settings' `access` that gives somebody everything but what takes a permission."""
    roles = [role for role, ones in ROLES.items() if permission not in ones]
    return {"people": {"kim": roles}}


JOURNEY = Journey(
    journey="hello",
    trigger=Trigger(event="signup"),
    nodes={"pause": Wait(wait="1d", next="done"), "done": Exit(exit="finished")},
)


def _prepared(store: Store, settings: Any, folder: Path) -> Prepared:
    """A release that was prepared by who may, and is to be opened by who may not."""
    free = settings.model_copy(update={"access": None, "four_eyes": None})
    made = prepare(JOURNEY, settings=free, store=str(store.engine.url), without_forecast="new")
    from dataclasses import replace

    return replace(made, settings=settings)


CALLS: dict[str, Callable[[Store, Any, Path], Any]] = {
    "sender.persons.revealing.revealed": lambda store, settings, _: revealed(store, settings, "ada"),
    "sender.persons.revealing.copied": lambda store, settings, _: copied(store, settings, "ada"),
    "sender.persons.revealing.exported": lambda store, settings, folder: exported(
        store, settings, folder / "e", folder / "c"
    ),
    "sender.persons.pseudonymising.pseudonymised_log": lambda store, settings, folder: pseudonymised_log(
        store, settings, folder / "e", folder / "c", purpose="x", actor="kim", expires_at=START + timedelta(days=1),
        now=START,
    ),
    "sender.process.Sender": lambda store, settings, _: Sender(store, settings, "worker"),
    "sender.web.app.application": lambda store, settings, _: application(store, settings),
    "sender.web.serving.served": lambda store, settings, _: served(store, settings),
    "sender.web.serving.serve": lambda store, settings, _: serve(store, settings, host="127.0.0.1", port=1),
    "sender.promotion.promoting.promote": lambda store, settings, _: jl.promote(
        JOURNEY, settings=settings, store=str(store.engine.url), without_forecast="new"
    ),
    "sender.promotion.promoting.prepare": lambda store, settings, _: prepare(
        JOURNEY, settings=settings, store=str(store.engine.url), without_forecast="new"
    ),
    "sender.promotion.promoting.Prepared.open": lambda store, settings, folder: _prepared(
        store, settings, folder
    ).open(share=1, actor="kim"),
    "sender.promotion.foureyes.open_in_full": lambda store, settings, _: open_in_full(
        store, settings, "hello", actor="kim"
    ),
}  # fmt: skip
ELSEWHERE = {  # tests/test_four_eyes.py and tests/test_tokens.py have those that are handed who acts
    "sender.approvals.approve", "sender.approvals.approved_or_asked", "sender.promotion.foureyes.approve_release",
    "sender.tokens.create",
}  # fmt: skip


def test_each_one_that_asks_is_tried() -> None:
    assert CALLS.keys() | ELSEWHERE == ASKING
    assert callable(approve_release)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", CALLS)
def test_it_asks_and_without_asking_it_would_be_done(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="kim"))
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    write_messages(tmp_path / "messages", "hello")
    people(store, "ada")
    permission = PYTHON[name]
    assert permission is not None
    settings = settings_of(access=without(permission)).model_copy(update={"folder": tmp_path})
    before = acting(settings)
    with pytest.raises(DataError, match=f"kim may not {re.escape(PERMISSIONS[permission])}"):
        CALLS[name](store, settings, tmp_path)
    assert permission not in before.permissions
    monkeypatch.setattr("journeylab.sender.acting.allowed", lambda *_: frozenset(PERMISSIONS))
    said = ""
    try:
        CALLS[name](store, settings, tmp_path)
    except DataError as problem:
        said = str(problem)
    assert "may not" not in said

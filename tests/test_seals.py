"""Seals: without the ring a database tells nothing of a person, and nothing that is moved or changed in it opens."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from journeylab.errors import DataError
from journeylab.sender.consent.requests import give
from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import (
    Incoming,
    Person,
    addresses_of,
    attributes_of,
    properties_of,
    receive,
    receive_people,
)  # fmt: skip
from journeylab.sender.sending.preparing import Made
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import Seals, rewrap
from stores import KEYS, a_send, freeze, rows_of

CANARY = "Zx7canaryQ"
COLUMNS = ("contacts.address", "contacts.attributes", "events.sealed")
texts = st.text(max_size=40)


@given(texts, texts, st.sampled_from(COLUMNS), st.sampled_from(COLUMNS), texts)
def test_a_value_opens_in_its_place_alone(contact: str, other: str, column: str, another: str, text: str) -> None:
    seals = Seals(KEYS)
    key = seals.new_key(contact)
    sealed = seals.of(contact, key).seal(column, text)
    assert seals.of(contact, key).open(column, sealed) == text
    if another != column:
        with pytest.raises(DataError, match="was changed, or sealed for another place"):
            seals.of(contact, key).open(another, sealed)
    if other != contact:
        with pytest.raises(DataError, match="these are not the keys of this store"):
            seals.of(other, key)


@given(texts, st.data())
def test_a_value_that_was_changed_anywhere_does_not_open(text: str, data: st.DataObject) -> None:
    seals = Seals(KEYS)
    ada = seals.of("ada", seals.new_key("ada"))
    sealed = bytearray(ada.seal("contacts.address", text))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DataError, match="was changed"):
        ada.open("contacts.address", bytes(sealed))


def test_the_same_value_is_sealed_differently_each_time() -> None:
    seals = Seals(KEYS)
    ada = seals.of("ada", seals.new_key("ada"))
    assert len({ada.seal("contacts.address", "ada@mail.example") for _ in range(100)}) == 100


def test_it_is_aes_gcm_as_others_read_it() -> None:
    seals = Seals(KEYS)
    key = seals.new_key("ada")
    ring = AESGCM(KEYS.of("person", 1))
    data_key = ring.decrypt(key[4:16], key[16:], b"contacts.sealed_key\x001\x00ada")
    sealed = seals.of("ada", key).seal("contacts.address", "ada@mail.example")
    assert AESGCM(data_key).decrypt(sealed[:12], sealed[12:], b"contacts.address\0ada") == b"ada@mail.example"


def test_keys_stand_in_no_text_of_a_seal() -> None:
    seals = Seals(KEYS)
    ada = seals.of("ada", seals.new_key("ada"))
    assert ada.key.hex() not in repr(ada)
    assert repr(ada.key) not in repr(ada)


@pytest.fixture
def known(store: Store) -> Store:
    """A contact of whom every field is a token that nothing else has."""
    with store.writing() as connection:
        now = store.now(connection)
        attributes = {"first_name": CANARY, "timezone": "Europe/Warsaw"}
        receive_people(connection, [Person("c1", f"{CANARY}@mail.example", attributes)], now)
        receive(connection, [Incoming("c1", "bought", None, {"product": CANARY})], now)
        receive_people(connection, [Person("c1", None, {"first_name": f"{CANARY}2"})], now)
        give(connection, "c1", "marketing", "Yes", "en", "form", {"agent": CANARY}, now)
    key = a_send(store, "c1")
    with store.writing() as connection:
        row = connection.execute(select(t.sends).where(t.sends.c.message_key == key)).one()
        made = Made(f"{CANARY}@mail.example", f"Hello {CANARY}".encode(), {"offer": f"https://shop.example/{CANARY}"})
        freeze(connection, [(row, made)], store.now(connection))
    return store


def test_what_is_known_comes_back_as_it_was(known: Store) -> None:
    with known.reading() as connection:
        assert addresses_of(connection, ["c1"]) == {"c1": f"{CANARY}@mail.example"}
        assert attributes_of(connection, ["c1"])["c1"]["first_name"] == f"{CANARY}2"
        bought = connection.execute(select(t.events).where(t.events.c.event == "bought")).all()
        assert properties_of(connection, bought) == [{"product": CANARY}]


def test_no_column_of_any_table_has_a_person_in_clear(known: Store) -> None:
    spelled = [CANARY.encode(), CANARY.lower().encode(), CANARY.encode().hex().encode()]
    spelled += [base64.b64encode(CANARY.encode())[:-4], CANARY[::-1].encode()]
    with known.reading() as connection:
        for table in t.metadata.sorted_tables:
            for row in connection.execute(select(table)):
                for cell in row:
                    held = bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode()
                    assert not any(one in held for one in spelled), table.name


def test_a_store_without_the_ring_reads_nothing_personal(known: Store) -> None:
    blind = Store(known.engine.execution_options(seals=None), known.clock)
    with blind.reading() as connection:
        assert connection.scalar(select(t.contacts.c.contact)) == "c1"
        with pytest.raises(DataError, match="open the store with the sender's keys"):
            addresses_of(connection, ["c1"])


def test_another_ring_opens_nothing(known: Store) -> None:
    other = known.with_keys(Keys(bytes(32)))
    with other.reading() as connection, pytest.raises(DataError, match="these are not the keys of this store"):
        addresses_of(connection, ["c1"])


def test_values_that_are_exchanged_between_persons_do_not_open(known: Store) -> None:
    with known.writing() as connection:
        receive_people(connection, [Person("c2", "eve@mail.example")], known.now(connection))
        stolen = connection.scalar(select(t.contacts.c.address).where(t.contacts.c.contact == "c1"))
        connection.execute(update(t.contacts).where(t.contacts.c.contact == "c2").values(address=stolen))
        with pytest.raises(DataError, match=r"contacts\.address of the contact 'c2' was changed"):
            addresses_of(connection, ["c2"])


def test_after_a_rotation_all_is_wrapped_anew_and_the_old_key_can_go(known: Store) -> None:
    turned = KEYS.rotated()
    store = known.with_keys(turned)
    assert rewrap(store) == 1
    assert rewrap(store) == 0
    turned_again = turned.rotated()
    store = known.with_keys(turned_again)
    assert rewrap(store) == 1
    left = known.with_keys(turned_again.without(2))
    with left.reading() as connection:
        assert addresses_of(connection, ["c1"]) == {"c1": f"{CANARY}@mail.example"}
    assert rows_of(known, t.names, name="first_name")


def test_files_of_the_database_have_nobody_in_clear(known: Store, tmp_path: Path) -> None:
    known.close()
    for path in tmp_path.glob("sender.db*"):
        assert CANARY.encode() not in path.read_bytes(), path.name

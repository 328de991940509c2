"""The sender's key: tokens say what they name and nothing else, and the key is made once and kept from others."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from journeylab.errors import DataError
from journeylab.sender.keys import USES, Keys

KEYS = Keys(bytes(range(32)))
identities = st.binary(min_size=16, max_size=16)
uses = st.sampled_from(USES)


@given(uses, identities, st.binary(max_size=8))
def test_token_names_its_identity_in_letters_of_either_case(use, identity, detail):
    token = KEYS.token(use, identity, detail)
    assert len(token) == 52
    assert token.isascii()
    assert token.isalnum()
    assert KEYS.named_by(use, token, detail) == KEYS.named_by(use, token.upper(), detail) == identity


@given(uses, uses, identities, st.binary(max_size=4), st.binary(max_size=4))
def test_token_of_another_use_detail_or_key_names_nothing(use, other, identity, detail, another):
    token = KEYS.token(use, identity, detail)
    assert (KEYS.named_by(other, token, another) is None) == ((use, detail) != (other, another))
    assert Keys(bytes(32)).named_by(use, token, detail) is None


@given(identities, st.integers(0, 51), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567018=-_ /\u212aſı"))
def test_token_with_another_letter_names_nothing(identity, place, letter):
    token = KEYS.token("click", identity)
    changed = token[:place] + letter + token[place + 1 :]
    assert KEYS.named_by("click", changed) == (identity if changed == token else None)


@given(st.text())
def test_texts_that_are_no_tokens_name_nothing(text):
    assert KEYS.named_by("bounce", text) is None


def test_token_with_something_around_it_names_nothing():
    token = KEYS.token("open", bytes(16))
    for text in (token + "====", " " + token, token + "\n", token + "a", token[:-1], token * 1000, ""):
        assert KEYS.named_by("open", text) is None


@pytest.mark.parametrize("n", [0, 15, 17, 32])
def test_identity_of_another_size_gets_no_token(n):
    with pytest.raises(ValueError, match=f"16 bytes, not {n}"):
        KEYS.token("click", bytes(n))


def test_keys_of_uses_are_hkdf_of_the_root_and_differ():
    expected = HKDF(SHA256(), 32, salt=None, info=b"journeylab/bounce/v1").derive(KEYS.root)
    assert KEYS.of("bounce") == expected
    assert len({KEYS.of(use) for use in USES}) == len(USES)
    with pytest.raises(ValueError, match="no key is made for 'beer'"):
        KEYS.of("beer")


def test_root_stands_in_no_text_of_the_keys():
    assert repr(KEYS) == "Keys()"
    assert KEYS.root.hex() not in f"{KEYS} {KEYS!r}"


def test_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "state" / "key.json"
    made = Keys.made(path)
    assert Keys.made(path) == Keys.read(path) == made
    assert len(made.root) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["key.json"]
    assert Keys.made(tmp_path / "another.json") != made


def test_of_many_that_make_a_key_at_once_all_have_the_same(tmp_path):
    path = tmp_path / "key.json"
    with ThreadPoolExecutor(16) as pool:
        assert len({keys.root for keys in pool.map(Keys.made, [path] * 64)}) == 1


def test_key_that_is_not_there_or_others_may_read_is_refused(tmp_path):
    path = tmp_path / "key.json"
    with pytest.raises(DataError, match="there is no key; `journeylab promote` makes one"):
        Keys.read(path)
    Keys.made(path)
    path.chmod(0o640)
    with pytest.raises(DataError, match="others may read the key; chmod 600"):
        Keys.read(path)


SECRET = "5ec2e7" * 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no key ring"),
        ("[]", "no key ring"),
        ("{}", "no key ring"),
        ('{"roots": 7}', "no key ring"),
        (json.dumps({"roots": [SECRET + "zz"]}), "no key ring"),
        (json.dumps({"roots": [SECRET]}), "240 bits, not 256"),
        (json.dumps({"roots": []}), "no key ring"),
        (json.dumps({"roots": [None, SECRET]}), "the first key is missing"),
        ("\udcff", "no key ring"),
    ],
)
def test_file_that_is_no_key_is_refused_without_showing_it(tmp_path, text, message):
    path = tmp_path / "key.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(DataError, match=message) as caught:
        Keys.read(path)
    assert SECRET not in str(caught.value)


def test_place_where_no_key_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="no key can be made there"):
        Keys.made(tmp_path / "file" / "key.json")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(DataError, match="the key cannot be read: Is a directory"):
        Keys.read(tmp_path / "folder")


def test_crash_while_the_key_is_made_leaves_no_half_key(tmp_path, monkeypatch):
    path = tmp_path / "key.json"

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", crash)
    with pytest.raises(KeyboardInterrupt):
        Keys.made(path)
    monkeypatch.undo()
    assert not path.exists()
    assert len(Keys.made(path).root) == 32


@given(uses, identities)
def test_what_older_keys_made_is_understood_until_they_are_destroyed(use, identity):
    second = KEYS.rotated()
    third = second.rotated()
    tokens = [keys.token(use, identity) for keys in (KEYS, second, third)]
    assert len({*tokens}) == 3
    assert [third.named_by(use, one) for one in tokens] == [identity] * 3
    assert second.named_by(use, tokens[2]) is None
    left = third.without(2)
    assert [left.named_by(use, one) for one in tokens] == [identity, None, identity]
    assert Keys.parsed(left.text(), "here") == left
    with pytest.raises(DataError, match="key 2 of the ring was destroyed"):
        left.of(use, 2)


def test_messages_and_addresses_keep_their_keys_when_the_ring_turns():
    turned = KEYS.rotated()
    assert turned.message_key("a", "b", 1, "c", 1) == KEYS.message_key("a", "b", 1, "c", 1)
    assert turned.address_digest("Ada@mail.example") == KEYS.address_digest("ada@mail.example")


@pytest.mark.parametrize(
    ("number", "message"),
    [(1, "names all messages"), (3, "is in use; rotate first"), (4, "has 1 to 3"), (0, "no key 0")],
)
def test_key_that_is_needed_is_not_destroyed(number, message):
    with pytest.raises(DataError, match=message):
        KEYS.rotated().rotated().without(number)


def test_ring_in_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "key.json"
    turned = Keys.made(path).rotated()
    turned.write(path)
    assert Keys.read(path) == turned
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["key.json"]

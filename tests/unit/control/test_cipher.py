from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.config.secret_keys import SecretKey
from tallystick.control.cipher import Cipher, key_id_of, seems_sealed
from tallystick.control.key_ring import KeyRing
from tallystick.errors import SecretUnreadable

OLD = SecretKey(key_id="old-1", key=bytes(range(32)))
NEW = SecretKey(key_id="new-2", key=bytes(range(32, 64)))
CIPHER = Cipher(KeyRing([NEW, OLD]))
TEXTS = st.text(st.characters(codec=None))  # Lone surrogates, too.


@settings(deadline=None)
@given(text=TEXTS, place=TEXTS)
def test_what_was_sealed_opens_at_its_place(text: str, place: str) -> None:
    sealed = CIPHER.seal(text, place=place)

    assert CIPHER.open(sealed, place=place) == text
    assert seems_sealed(sealed)
    assert key_id_of(sealed) == "new-2"


@settings(deadline=None)
@given(text=st.text(), place=st.text(), other=st.text())
def test_it_opens_nowhere_else(text: str, place: str, other: str) -> None:
    sealed = CIPHER.seal(text, place=place)

    if place != other:
        with pytest.raises(SecretUnreadable, match="did not seal it for this place"):
            CIPHER.open(sealed, place=other)


@settings(deadline=None)
@given(text=st.text(), position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_an_altered_value_does_not_open(text: str, position: int, bit: int) -> None:
    sealed = CIPHER.seal(text, place="here")
    position %= len(sealed)
    altered = f"{sealed[:position]}{chr(ord(sealed[position]) ^ (1 << bit))}{sealed[position + 1 :]}"
    try:
        opened = CIPHER.open(altered, place="here")
    except SecretUnreadable:
        return
    # The last character of base64 has bits that stand for nothing.
    assert position == len(sealed) - 1
    assert opened == text


def test_each_seal_is_another_one() -> None:
    assert len({CIPHER.seal("same", place="here") for _ in range(100)}) == 100


def test_older_keys_of_the_ring_open() -> None:
    sealed = Cipher(KeyRing([OLD])).seal("secret", place="here")

    assert CIPHER.open(sealed, place="here") == "secret"


def test_a_key_that_is_not_in_the_ring_is_named() -> None:
    sealed = CIPHER.seal("hidden-secret", place="control_objects/model/m/litellm_params/api_key")

    with pytest.raises(SecretUnreadable) as caught:
        Cipher(KeyRing([OLD])).open(sealed, place="control_objects/model/m/litellm_params/api_key")

    assert caught.value.key_id == "new-2"
    assert caught.value.message == (
        "The secret at control_objects/model/m/litellm_params/api_key can't be opened: "
        "the key 'new-2' is not in secret_keys."
    )


def test_another_key_of_the_same_id_does_not_open() -> None:
    sealed = CIPHER.seal("secret", place="here")
    impostor = SecretKey(key_id="new-2", key=bytes(range(64, 96)))

    with pytest.raises(SecretUnreadable, match="did not seal it"):
        Cipher(KeyRing([impostor])).open(sealed, place="here")


@pytest.mark.parametrize(
    "text", ["", "plain", "sealed:v1:", "sealed:v1:new-2", "sealed:v1:new-2:", "sealed:v1:new-2:!!",
             "sealed:v1:NEW:AAAA", "sealed:v2:new-2:AAAA", "sealed:v1:new-2:" + "A" * 36, "sealed:v1:new-2:é"],
)  # fmt: skip
def test_what_is_malformed_does_not_open(text: str) -> None:
    with pytest.raises(SecretUnreadable, match="malformed"):
        CIPHER.open(text, place="here")


@pytest.mark.parametrize("text", ["sealed:v1:k:AAAA", "sealed:v2:", " sealed:v1:x", "SEALED:V1:x"])
def test_pretenders_are_seen(text: str) -> None:
    assert seems_sealed(text)


@pytest.mark.parametrize("text", ["", "sealed", "sealed:", "sealed:vault", "sealed: v1:", "un-sealed:v1:x"])
def test_other_texts_are_not_taken_for_sealed(text: str) -> None:
    assert not seems_sealed(text)

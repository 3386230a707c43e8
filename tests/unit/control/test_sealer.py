from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tallystick.config.secret_keys import SecretKey
from tallystick.control.cipher import key_id_of, seems_sealed
from tallystick.control.key_ring import KeyRing
from tallystick.control.objects import Kind
from tallystick.control.sealer import Sealer
from tallystick.control.secret_fields import MASK, masked, secret_here, text_at
from tallystick.errors import BadRequest, SecretUnreadable
from unit.control.specs import ANY_SPEC, KINDS, MARKER, SPECS_BY_KIND, TEXTS, VALUES
from unit.control.test_secret_fields import texts_of

OLD = SecretKey(key_id="old", key=bytes(range(32)))
NEW = SecretKey(key_id="new", key=bytes(range(32, 64)))
STRANGE = SecretKey(key_id="strange", key=bytes(range(64, 96)))
SEALER = Sealer(KeyRing([NEW, OLD]))
BEFORE_ROTATION = Sealer(KeyRing([OLD]))


@pytest.mark.parametrize("kind", list(Kind))
def test_known_secrets_are_sealed_and_open_again(kind: Kind) -> None:
    object_id, spec = SPECS_BY_KIND[kind]

    sealed = SEALER.seal(kind, object_id, spec)

    assert MARKER not in msgspec.json.encode(sealed).decode()
    assert SEALER.open(kind, object_id, sealed) == spec
    assert masked(kind, object_id, sealed) == masked(kind, object_id, spec)


@settings(deadline=None)
@given(kind=KINDS, object_id=st.text(max_size=5), spec=ANY_SPEC)
def test_seal_then_open_is_identity(kind: Kind, object_id: str, spec: dict) -> None:
    sealed = SEALER.seal(kind, object_id, spec)

    assert SEALER.open(kind, object_id, sealed) == spec
    for path, text in texts_of(spec):
        stored = text_at(sealed, path)
        assert stored is not None
        assert seems_sealed(stored) == secret_here(kind, object_id, path, text)
    assert "sealed:v1:new:" not in msgspec.json.encode(masked(kind, object_id, sealed)).decode()


@settings(deadline=None)
@given(kind=KINDS, object_id=st.text(max_size=5), spec=ANY_SPEC)
def test_sealing_twice_changes_nothing(kind: Kind, object_id: str, spec: dict) -> None:
    sealed = SEALER.seal(kind, object_id, spec)

    assert SEALER.seal(kind, object_id, sealed) == sealed
    assert SEALER.seal(kind, object_id, spec, before=sealed) == sealed
    assert SEALER.seal(kind, object_id, masked(kind, object_id, sealed), before=sealed) == sealed
    assert SEALER.reseal(kind, object_id, sealed) == sealed


@settings(deadline=None)
@given(object_id=st.text(max_size=5), other_kind=KINDS, other_id=st.text(max_size=5), secret=TEXTS)
def test_it_opens_for_no_other_object(object_id: str, other_kind: Kind, other_id: str, secret: str) -> None:
    assume((Kind.ENVIRONMENT_VARIABLE, object_id) != (other_kind, other_id))
    assume(secret_here(Kind.ENVIRONMENT_VARIABLE, object_id, ("value",), secret))
    sealed = SEALER.seal(Kind.ENVIRONMENT_VARIABLE, object_id, {"value": secret})

    with pytest.raises(SecretUnreadable):
        SEALER.open(other_kind, other_id, sealed)


@settings(deadline=None)
@given(values=st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
def test_rotation_keeps_what_it_holds(values: dict) -> None:
    spec = {"credential_values": values, "credential_info": {}}
    old = BEFORE_ROTATION.seal(Kind.CREDENTIAL, "c", spec)

    rotated = SEALER.reseal(Kind.CREDENTIAL, "c", old)

    assert SEALER.open(Kind.CREDENTIAL, "c", rotated) == spec
    assert Sealer(KeyRing([NEW])).open(Kind.CREDENTIAL, "c", rotated) == spec


def test_a_value_does_not_open_at_another_path() -> None:
    sealed = credential(api_key="a-secret")
    moved = {"credential_values": {"other": sealed["credential_values"]["api_key"]}}

    with pytest.raises(SecretUnreadable, match="control_objects/credential/c/credential_values/other") as caught:
        SEALER.open(Kind.CREDENTIAL, "c", moved)
    assert "a-secret" not in caught.value.message


@pytest.mark.parametrize("kind", list(Kind))
def test_text_that_pretends_to_be_sealed_is_refused_wherever_it_stands(kind: Kind) -> None:
    object_id, spec = SPECS_BY_KIND[kind]
    foreign = SEALER.seal(Kind.CREDENTIAL, "elsewhere", {"credential_values": {"x": "y"}})["credential_values"]["x"]
    for pretender in ("sealed:v1:new:AAAA", " SEALED:v9:what", foreign):
        for field in (*spec, "note"):
            with pytest.raises(BadRequest) as caught:
                SEALER.seal(kind, object_id, {**spec, field: {"x": pretender}})
            assert caught.value.param == f"{field}.x"


def test_what_can_not_be_opened_may_stay_but_not_be_brought() -> None:
    lost = Sealer(KeyRing([STRANGE])).seal(Kind.CREDENTIAL, "c", {"credential_values": {"a": "x", "b": "y"}})
    patched = {**lost, "credential_values": {**lost["credential_values"], "b": "new"}}

    sealed = SEALER.seal(Kind.CREDENTIAL, "c", patched, before=lost)

    assert sealed["credential_values"]["a"] == lost["credential_values"]["a"]
    assert key_id_of(sealed["credential_values"]["b"]) == "new"
    assert SEALER.reseal(Kind.CREDENTIAL, "c", lost) == lost
    with pytest.raises(BadRequest):
        SEALER.seal(Kind.CREDENTIAL, "c", patched)


def test_a_new_secret_is_sealed_under_the_first_key_and_the_others_are_kept() -> None:
    before = BEFORE_ROTATION.seal(Kind.CREDENTIAL, "c", {"credential_values": {"a": "x", "b": "y"}})

    sealed = SEALER.seal(Kind.CREDENTIAL, "c", {"credential_values": {"a": "x", "b": "z"}}, before=before)

    assert sealed["credential_values"]["a"] == before["credential_values"]["a"]
    assert key_id_of(sealed["credential_values"]["b"]) == "new"


def test_a_mask_without_anything_behind_it_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"'credential_values\.api_key' is '\*\*\*\*'"):
        SEALER.seal(Kind.CREDENTIAL, "c", {"credential_values": {"api_key": MASK}})
    with pytest.raises(BadRequest, match="give the secret itself"):
        SEALER.seal(Kind.CREDENTIAL, "c", {"credential_values": {"new": MASK}}, before=credential(api_key="x"))


def test_a_mask_is_refused_when_a_list_moved_under_it() -> None:
    callbacks = [callback("one", "a-key"), callback("two", "b-key"), callback("three", "c-key")]
    before = SEALER.seal(Kind.TEAM, "t", {"metadata": {"logging": callbacks}})
    shown = masked(Kind.TEAM, "t", before)["metadata"]["logging"]

    appended = {"metadata": {"logging": [*shown, callback("four", "d-key")]}}
    kept = SEALER.open(Kind.TEAM, "t", SEALER.seal(Kind.TEAM, "t", appended, before=before))
    assert kept == {"metadata": {"logging": [*callbacks, callback("four", "d-key")]}}

    for moved in (shown[1:], [shown[1], shown[0], shown[2]], [*shown[1:], callback("four", "d-key")]):
        with pytest.raises(BadRequest, match="can't be told which one is meant"):
            SEALER.seal(Kind.TEAM, "t", {"metadata": {"logging": moved}}, before=before)


def test_an_object_that_takes_another_id_keeps_its_secrets() -> None:
    spec = {"metadata": {"api_key": "a-secret"}}
    sealed = SEALER.seal(Kind.KEY, "old-hash", spec)

    moved = SEALER.rebind(Kind.KEY, sealed, old_id="old-hash", new_id="new-hash")

    assert SEALER.open(Kind.KEY, "new-hash", moved) == spec
    with pytest.raises(SecretUnreadable):
        SEALER.open(Kind.KEY, "new-hash", sealed)


def test_a_secret_that_was_written_plainly_is_sealed_by_a_rotation() -> None:
    plain = {"credential_values": {"api_key": "a-secret"}}

    assert SEALER.open(Kind.CREDENTIAL, "c", plain) == plain
    assert key_id_of(SEALER.reseal(Kind.CREDENTIAL, "c", plain)["credential_values"]["api_key"]) == "new"


def test_a_spec_that_is_too_deep_is_the_callers_fault() -> None:
    spec: dict[str, Any] = {}
    for _ in range(100):
        spec = {"metadata": spec}

    with pytest.raises(BadRequest, match="deeper than 64 levels"):
        SEALER.seal(Kind.KEY, "k", spec)


def credential(**values: str) -> dict[str, Any]:
    return SEALER.seal(Kind.CREDENTIAL, "c", {"credential_values": values})


def callback(name: str, key: str) -> dict[str, Any]:
    return {"callback_name": name, "callback_vars": {"langfuse_secret_key": key}}

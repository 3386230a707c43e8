from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.control.cipher import seems_sealed
from tallystick.control.objects import Kind
from tallystick.control.secret_fields import (
    DEPTH_MAX,
    MASK,
    field_name,
    masked,
    place_of,
    replace_texts,
    secret_here,
    text_at,
)
from unit.control.specs import ANY_SPEC, KINDS, MARKER, SPECS_BY_KIND


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_rule(kind: Kind) -> None:
    assert secret_here(kind, "id", ("nothing_of_the_kind",), "text") in {True, False}


@pytest.mark.parametrize("kind", list(Kind))
def test_known_secrets_are_masked_and_the_rest_is_shown(kind: Kind) -> None:
    object_id, spec = SPECS_BY_KIND[kind]

    shown = masked(kind, object_id, spec)

    assert MARKER not in msgspec.json.encode(shown).decode()
    for path, text in texts_of(spec):
        assert text_at(shown, path) == (MASK if MARKER in text else text), path


@pytest.mark.parametrize("kind", list(Kind))
def test_references_and_empty_texts_are_no_secrets(kind: Kind) -> None:
    object_id, spec = SPECS_BY_KIND[kind]
    for stand_in in ("os.environ/OPENAI_API_KEY", "file:///run/secrets/openai", ""):
        referring = replace_texts(spec, lambda _path, text, new=stand_in: new if MARKER in text else text)

        assert masked(kind, object_id, referring) == referring


@pytest.mark.parametrize(
    "text", ["os.environ/", "os.environ/sk-123 4", "os.environ/A-B", "file://relative", "file:///"]
)
def test_what_only_begins_as_a_reference_is_a_secret(text: str) -> None:
    assert secret_here(Kind.ENVIRONMENT_VARIABLE, "NAME", ("value",), text)


def test_the_id_of_a_setting_may_say_that_it_is_secret() -> None:
    assert secret_here(Kind.SETTING, "general_settings.alert_to_webhook_url", ("value", "budget"), "https://hooks/x")
    assert secret_here(Kind.SETTING, "litellm_settings.redis_password", ("value",), "x")
    assert not secret_here(Kind.SETTING, "litellm_settings.callbacks", ("value", 0), "prometheus")
    assert not secret_here(Kind.SETTING, "general_settings.key_management_system", ("value",), "aws")


def test_names_of_own_fields_do_not_make_secrets() -> None:
    assert not secret_here(Kind.RETIRED_KEY, "hash", ("key_hash",), "ab12")
    assert not secret_here(Kind.KEY, "hash", ("aliases", "secret-model"), "gpt-4o")
    assert not secret_here(Kind.CREDENTIAL, "name", ("credential_info", "custom_llm_provider"), "openai")


@settings(deadline=None)
@given(kind=KINDS, object_id=st.text(max_size=5), spec=ANY_SPEC)
def test_masking_leaves_no_secret_and_is_stable(kind: Kind, object_id: str, spec: dict) -> None:
    shown = masked(kind, object_id, spec)

    for path, text in texts_of(spec):
        expected = MASK if seems_sealed(text) or secret_here(kind, object_id, path, text) else text
        assert text_at(shown, path) == expected
    assert masked(kind, object_id, shown) == shown


@settings(deadline=None)
@given(
    first=st.tuples(KINDS, st.text(max_size=6), st.lists(st.text("a/~0", max_size=3), min_size=1, max_size=3)),
    second=st.tuples(KINDS, st.text(max_size=6), st.lists(st.text("a/~0", max_size=3), min_size=1, max_size=3)),
)
def test_no_two_values_have_the_same_place(first: tuple, second: tuple) -> None:
    places = {place_of(kind, object_id, tuple(path)) for kind, object_id, path in (first, second)}

    assert len(places) == (1 if first == second else 2)


def test_a_place_is_a_pointer_below_the_object() -> None:
    place = place_of(Kind.MODEL, "a/b~", ("litellm_params", "list", 0, "x/y"))

    assert place == "control_objects/model/a~1b~0/litellm_params/list/0/x~1y"


def test_fields_are_named_as_people_do() -> None:
    assert field_name(("metadata", "logging", 0, "callback_vars", "key")) == "metadata.logging[0].callback_vars.key"


def test_what_is_too_deep_is_refused() -> None:
    spec: dict = {"leaf": "x"}
    for _ in range(DEPTH_MAX + 2):
        spec = {"below": spec}

    with pytest.raises(ValueError, match="deeper than 64 levels"):
        replace_texts(spec, lambda _path, text: text)


def texts_of(spec: dict) -> list[tuple[tuple, str]]:
    found: list[tuple[tuple, str]] = []

    def note(path: tuple, text: str) -> str:
        found.append((path, text))
        return text

    replace_texts(spec, note)
    return found

"""What a key may call, how long it lives, and where it is found in a request."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.access.durations import parse_duration
from tallystick.access.keys import VirtualKey
from tallystick.access.presented import presented_key, token_of
from tallystick.access.principal import Principal, principal_of
from tallystick.errors import BadRequest

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        ((), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("*",), "anything", True),
        (("all-proxy-models",), "anything", True),
        (("openai/*",), "openai/gpt-4o", True),
        (("openai/*",), "openai", False),
        (("openai/*",), "azure/gpt-4o", False),
        (("a", "openai/*", "b"), "b", True),
    ],
)
def test_may_call(models, model, allowed):
    principal = Principal(key_hash="h", models=models)
    assert principal.may_call(model) is allowed


def test_tags_of_the_metadata_count():
    key = VirtualKey(
        key_hash="h",
        key_name="sk-...1234",
        created_at=NOW,
        updated_at=NOW,
        tags=("a",),
        metadata={"tags": ["b", "a", 3]},
    )
    assert principal_of(key).tags == ("a", "b")
    assert not principal_of(key).is_admin


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("30s", "2026-01-31T12:00:30"),
        ("15m", "2026-01-31T12:15:00"),
        ("24h", "2026-02-01T12:00:00"),
        ("30d", "2026-03-02T12:00:00"),
        ("2w", "2026-02-14T12:00:00"),
        ("1mo", "2026-02-28T12:00:00"),
        ("13mo", "2027-02-28T12:00:00"),
        ("25mo", "2028-02-29T12:00:00"),
        (" 1d ", "2026-02-01T12:00:00"),
    ],
)
def test_durations(text, end):
    assert parse_duration(text).after(NOW).isoformat() == f"{end}+00:00"


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1.5h", "1y", "0d", "1d2h", "999999999d", "1201mo", "٣d", "9" * 99]
)
def test_bad_durations_name_their_field(text):
    with pytest.raises(BadRequest) as caught:
        parse_duration(text, param="budget_duration")
    assert caught.value.param == "budget_duration"
    assert "budget_duration" in str(caught.value)


@given(
    st.datetimes(
        timezones=st.just(UTC),
        max_value=datetime(2900, 1, 1),  # noqa: DTZ001 - hypothesis wants it naive.
    ),
    st.integers(1, 1200),
)
def test_months_never_skip_a_month(moment, months):
    end = parse_duration(f"{months}mo").after(moment)
    assert (end.year * 12 + end.month) - (moment.year * 12 + moment.month) == months
    assert end.day <= moment.day


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        ([(b"authorization", b"Bearer sk-1")], "sk-1"),
        ([(b"authorization", b"bearer   sk-1 ")], "sk-1"),
        ([(b"authorization", b"sk-1")], "sk-1"),
        ([(b"authorization", b"")], None),
        ([(b"authorization", b"Bearer")], "Bearer"),
        ([(b"x-api-key", b"sk-2"), (b"authorization", b"Bearer sk-1")], "sk-1"),
        ([(b"api-key", b"sk-3"), (b"x-api-key", b"sk-2")], "sk-2"),
        ([(b"authorization", b"Basic abc"), (b"x-litellm-api-key", b"Bearer sk-4")], "sk-4"),
        ([(b"authorization", b"Bearer \xff")], "\xff"),
    ],
)
def test_where_the_key_is_found(headers, key):
    assert presented_key(dict(headers)) == key


def test_a_header_of_the_settings_goes_first():
    headers = {b"authorization": b"Bearer sk-1", b"x-company-key": b"Bearer sk-5"}
    assert presented_key(headers) == "sk-1"
    assert presented_key(headers, first=b"x-company-key") == "sk-5"
    assert presented_key({b"authorization": b"Bearer sk-1"}, first=b"x-company-key") == "sk-1"


def test_token_of_an_empty_bearer():
    assert token_of("Bearer  ") in ("", "Bearer")

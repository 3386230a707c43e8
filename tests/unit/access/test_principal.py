"""What a key may call, how long it lives, and where it is found in a request."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated_store import held, team_member
from tallystick.access.durations import parse_duration
from tallystick.access.presented import presented_key, token_of
from tallystick.access.principal import ModelLists, principal_of
from tallystick.access.users import Role
from tallystick.control.objects import Kind
from tallystick.errors import BadRequest

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


KEY = held(Kind.KEY, "h", team_id="t", user_id="u", spec={"tags": ["a"], "metadata": {"tags": ["b", "a", 3]}})


def test_tags_of_the_metadata_and_of_the_team_count():
    team = held(Kind.TEAM, "t", spec={"tags": ["c", "a"], "metadata": {"tags": ["d"]}})
    principal = principal_of((KEY, team))
    assert principal.tags == ("a", "b", "c", "d")
    assert not principal.is_admin


def test_the_role_is_the_user_s():
    admin = held(Kind.USER, "u", spec={"role": "proxy_admin"})
    assert principal_of((KEY, held(Kind.TEAM, "t"), admin)).is_admin
    assert principal_of((KEY, held(Kind.TEAM, "t"))).role == Role.INTERNAL_USER


def test_the_organization_is_the_team_s_or_else_the_key_s():
    team = held(Kind.TEAM, "t", organization_id="of-the-team")
    assert principal_of((KEY, team)).organization_id == "of-the-team"
    own = msgspec.structs.replace(KEY, organization_id="own")
    assert principal_of((own, team)).organization_id == "of-the-team"
    assert principal_of((own, held(Kind.TEAM, "t"))).organization_id == "own"


def test_a_member_s_models_bound_beside_the_team_s_and_the_team_has_a_default_for_them():
    team = held(Kind.TEAM, "t", spec={"models": ["x", "y"], "default_member_models": ["y"]})
    assert principal_of((KEY, team, team_member("t", "u", models=["x"]))).models == ModelLists(
        member=("x",), team=("x", "y")
    )
    assert principal_of((KEY, team, team_member("t", "u"))).models.member == ("y",)
    service_account = msgspec.structs.replace(KEY, user_id="")
    assert principal_of((service_account, team)).models.member == ()


def test_access_groups_are_entries_of_the_lists():
    key = held(Kind.KEY, "h", team_id="t", spec={"models": ["x"], "access_group_ids": ["g"]})
    team = held(Kind.TEAM, "t", organization_id="o", spec={"access_group_ids": ["h"]})
    organization = held(Kind.ORGANIZATION, "o", spec={"access_group_ids": ["i"]})
    assert principal_of((key, team, organization)).models == ModelLists(
        key=("x", "g"), team=("h",), organization=("i",)
    )


def test_the_user_s_models_hold_for_keys_without_a_team():
    user = held(Kind.USER, "u", spec={"models": ["x"]})
    assert principal_of((KEY, held(Kind.TEAM, "t"), user)).models.user == ()
    alone = msgspec.structs.replace(KEY, team_id="")
    assert principal_of((alone, user)).models.user == ("x",)


def test_aliases_of_the_key_go_before_the_team_s():
    team = held(Kind.TEAM, "t", spec={"model_aliases": {"a": "team-a", "b": "team-b"}})
    key = held(Kind.KEY, "h", team_id="t", spec={"aliases": {"a": "key-a"}})
    principal = principal_of((key, team))
    assert principal.model_aliases == {"a": "key-a", "b": "team-b"}
    assert principal.team_aliases == {"a": "team-a", "b": "team-b"}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ((KEY, held(Kind.TEAM, "t")), ""),
        ((msgspec.structs.replace(KEY, blocked=True), held(Kind.TEAM, "t")), "Key is blocked"),
        ((KEY,), "team 't' does not exist"),
        ((KEY, held(Kind.TEAM, "t", blocked=True)), "Team 't' is blocked"),
        ((KEY, held(Kind.TEAM, "t"), held(Kind.USER, "u", blocked=True)), "User 'u' is blocked"),
    ],
)
def test_why_a_key_is_refused(found, reason):
    refusal = principal_of(found).refusal
    assert reason in refusal
    assert bool(refusal) == bool(reason)


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

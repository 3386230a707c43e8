"""What a failure is, and what follows from it: retries, pauses, cooldowns."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from tallystick.config.routing_settings import RoutingSettings
from tallystick.errors import UpstreamGarbled, UpstreamTimeout, UpstreamUnreachable
from tallystick.routing.failure import FailureKind, kind_of, retry_after_seconds
from tallystick.routing.policies import (
    Minute,
    allowed_fails,
    cooldown_seconds,
    may_retry_elsewhere,
    may_retry_here,
    pause_seconds,
    policy_retries,
    should_cool_down,
)
from tallystick.testing import FakeClock
from unit.routing.kit import deployment, refused

NOW = FakeClock().now()
K = FailureKind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamTimeout(), K.TIMEOUT),
        (UpstreamUnreachable(), K.CONNECTION),
        (UpstreamGarbled(), K.INTERNAL),
        (refused(401), K.AUTHENTICATION),
        (refused(403), K.PERMISSION),
        (refused(404), K.NOT_FOUND),
        (refused(408), K.TIMEOUT),
        (refused(409), K.INTERNAL),
        (refused(422), K.BAD_REQUEST),
        (refused(429, body=b'{"error": {"message": "too many tokens per minute"}}'), K.RATE_LIMIT),
        (refused(500), K.INTERNAL),
        (refused(502), K.BAD_GATEWAY),
        (refused(503), K.UNAVAILABLE),
        (refused(504), K.TIMEOUT),
        (refused(529), K.UNAVAILABLE),
        (refused(400), K.BAD_REQUEST),
        (refused(400, body=b'{"error": {"code": "context_length_exceeded"}}'), K.CONTEXT_WINDOW),
        (refused(400, body=b'{"message": "prompt is too long: 300000 tokens > 200000 maximum"}'), K.CONTEXT_WINDOW),
        (refused(413, body=b"Input is too long for requested model."), K.CONTEXT_WINDOW),
        (refused(400, body=b'{"error": {"code": "content_filter"}}'), K.CONTENT_POLICY),
        (refused(400, body=b'{"error": {"code": "content_policy_violation"}}'), K.CONTENT_POLICY),
        (refused(403, body=b"rejected as a result of our safety system"), K.CONTENT_POLICY),
    ],
)
def test_kinds(error, kind):
    assert kind_of(error) is kind


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after_seconds(refused(429, retry_after=text), now=NOW) == seconds


def test_pauses_double_with_jitter_up_to_eight_seconds():
    longest = [pause_seconds(rounds=n, retry_after=None, least_seconds=0, draw=0.0) for n in range(6)]
    shortest = [pause_seconds(rounds=n, retry_after=None, least_seconds=0, draw=1.0) for n in range(6)]
    assert longest == [0.5, 1, 2, 4, 8, 8]
    assert shortest == [0.375, 0.75, 1.5, 3, 6, 6]
    assert pause_seconds(rounds=0, retry_after=None, least_seconds=3, draw=0.5) == 3


def test_what_the_upstream_asks_for_holds():
    assert pause_seconds(rounds=3, retry_after=7, least_seconds=0, draw=0.5) == 7
    assert pause_seconds(rounds=3, retry_after=1, least_seconds=2, draw=0.5) == 2
    assert pause_seconds(rounds=0, retry_after=60.5, least_seconds=0, draw=0.5) is None


def test_retries_by_policy():
    settings = RoutingSettings(
        retry_policy={"RateLimitErrorRetries": 5, "InternalServerErrorRetries": 4, "BadRequestErrorRetries": 1},
        model_group_retry_policy={"g": {"RateLimitErrorRetries": 0}},
    )
    assert policy_retries(K.RATE_LIMIT, settings, "other") == 5
    assert policy_retries(K.RATE_LIMIT, settings, "g") == 0
    assert policy_retries(K.CONNECTION, settings, "other") == 4
    assert policy_retries(K.CONTEXT_WINDOW, settings, "other") == 1
    assert policy_retries(K.UNAVAILABLE, settings, "other") is None
    assert policy_retries(K.INTERNAL, settings, "g") is None


def test_what_may_be_tried_again_and_where():
    here = {kind for kind in K if may_retry_here(kind, None)}
    elsewhere = {kind for kind in K if may_retry_elsewhere(kind, None)} - here
    assert here == {K.TIMEOUT, K.RATE_LIMIT, K.INTERNAL, K.BAD_GATEWAY, K.UNAVAILABLE, K.CONNECTION}
    assert elsewhere == {K.AUTHENTICATION, K.PERMISSION, K.NOT_FOUND}
    assert may_retry_here(K.BAD_REQUEST, 1)
    assert not may_retry_elsewhere(K.BAD_REQUEST, 0)


def cools(kind, *, successes=0, failures=1, fails=1, has_others=True, is_of_wildcard=False, **settings):
    return should_cool_down(
        kind,
        RoutingSettings(**settings),
        minute=Minute(successes, failures),
        fails=fails,
        has_others=has_others,
        is_of_wildcard=is_of_wildcard,
    )


def test_the_rules_where_no_policy_says_otherwise():
    assert {kind for kind in K if cools(kind)} == {K.RATE_LIMIT, K.AUTHENTICATION, K.NOT_FOUND}
    assert not cools(K.INTERNAL, failures=4)
    assert cools(K.INTERNAL, failures=5)
    assert not cools(K.INTERNAL, successes=5, failures=5)
    assert cools(K.INTERNAL, successes=5, failures=6)
    assert not cools(K.BAD_REQUEST, failures=100)


def test_what_is_never_left_alone():
    for kind in K:
        assert not cools(kind, failures=1_000, has_others=False)
        assert not cools(kind, failures=1_000, disable_cooldowns=True)
    assert not cools(K.NOT_FOUND, is_of_wildcard=True)
    assert cools(K.RATE_LIMIT, is_of_wildcard=True)


def test_allowed_fails_take_the_place_of_the_rules():
    assert not cools(K.RATE_LIMIT, fails=3, allowed_fails=3)
    assert cools(K.RATE_LIMIT, fails=4, allowed_fails=3)
    assert not cools(K.INTERNAL, failures=100, fails=3, allowed_fails=3)
    assert not cools(K.BAD_REQUEST, fails=100, allowed_fails=3)
    policy = {"TimeoutErrorAllowedFails": 1, "BadRequestErrorAllowedFails": 2}
    assert cools(K.TIMEOUT, fails=2, allowed_fails=9, allowed_fails_policy=policy)
    assert not cools(K.INTERNAL, fails=9, allowed_fails=9, allowed_fails_policy=policy)
    assert cools(K.BAD_REQUEST, fails=3, allowed_fails_policy=policy)
    assert allowed_fails(K.INTERNAL, RoutingSettings(allowed_fails_policy=policy)) is None


def test_how_long():
    settings = RoutingSettings(cooldown_seconds=5)
    assert cooldown_seconds(deployment("d"), settings, retry_after=None) == 5
    assert cooldown_seconds(deployment("d"), settings, retry_after=30) == 30
    assert cooldown_seconds(deployment("d"), settings, retry_after=10**6) == 3600
    assert cooldown_seconds(deployment("d", cooldown_seconds=2), settings, retry_after=30) == 2

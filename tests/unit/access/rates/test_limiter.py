"""The limiter of one instance: what is counted for whom, what goes back, and what callers are told."""

from __future__ import annotations

import pytest

from tallystick.access.rates.limiter import NO_RATES
from tallystick.access.scoped_limits import RateLimits
from tallystick.access.scopes import Scope
from tallystick.control.deployment import Deployment, DeploymentRates
from tallystick.errors import RateLimited
from tallystick.providers.base import Target
from unit.access.rates.kit import TEAM, Gate, limits


def refusal(gate, *scoped, **options):
    with pytest.raises(RateLimited) as caught:
        gate.admit(*scoped, **options)
    return caught.value


def test_without_limits_nothing_is_counted():
    gate = Gate()

    assert gate.admit() is NO_RATES
    assert gate.admit(limits(), limits(TEAM, models={"other": RateLimits(requests_per_minute=1)})) is NO_RATES
    assert gate.memory.counters == 0
    assert gate.limiter.headers(NO_RATES) == []
    gate.limiter.settle(NO_RATES, tokens=5)


def test_requests_of_a_minute():
    gate, key = Gate(), limits(requests_per_minute=2)
    gate.admit(key)
    gate.clock.advance(20)
    gate.admit(key)

    error = refusal(gate, key)

    assert error.http_status == 429
    assert error.message == ("Rate limit of key 'mine': 2 of 2 requests per minute are used. Try again in 40 s.")
    assert error.retry_after_seconds == pytest.approx(40, abs=0.01)
    gate.clock.advance(error.retry_after_seconds)
    gate.admit(key)


def test_a_refusal_takes_nothing_of_any_quota():
    gate = Gate()
    key, team = limits(requests_per_minute=100, tokens_per_day=1_000), limits(TEAM, requests_per_minute=3)
    for _ in range(3):
        gate.admit(key, team)
    for _ in range(50):
        assert "team 't1'" in refusal(gate, key, team).message

    hold = gate.admit(key)
    assert dict(gate.limiter.headers(hold))[b"x-ratelimit-remaining-requests"] == b"96"


def test_tokens_are_taken_by_estimate_and_corrected():
    gate, key = Gate(), limits(tokens_per_minute=100)
    first = gate.admit(key, tokens=80)
    assert "80 of 100 tokens per minute are used. This request may need 30." in refusal(gate, key, tokens=30).message

    gate.limiter.settle(first, tokens=20)
    second = gate.admit(key, tokens=80)
    gate.limiter.settle(second, tokens=150)
    gate.limiter.settle(second, tokens=0)  # Ended already.

    assert "170 of 100 tokens per minute" in refusal(gate, key, tokens=1).message


def test_tokens_of_a_day():
    gate, key = Gate(), limits(tokens_per_day=100)
    gate.limiter.settle(gate.admit(key, tokens=100), tokens=100)
    error = refusal(gate, key, tokens=1)

    assert "100 of 100 tokens per day" in error.message
    gate.clock.advance(86_399)
    refusal(gate, key, tokens=1)
    gate.clock.advance(2)
    gate.admit(key, tokens=1)


def test_an_estimate_above_the_limit_may_be_made_alone():
    gate, key = Gate(), limits(tokens_per_minute=100)
    gate.limiter.settle(gate.admit(key, tokens=5_000), tokens=40)
    assert "40 of 100" in refusal(gate, key, tokens=5_000).message
    gate.admit(key, tokens=60)


def test_a_limit_of_nothing_admits_nothing():
    for rates in (
        {"requests_per_minute": 0},
        {"tokens_per_minute": 0},
        {"parallel_requests": 0},
        {"tokens_per_day": -1},
    ):
        gate = Gate()
        refusal(gate, limits(**rates), tokens=0)


def test_parallel_calls_count_while_they_run():
    gate, key = Gate(), limits(parallel_requests=2)
    first, _second = gate.admit(key), gate.admit(key)
    error = refusal(gate, key)

    assert error.message == "Rate limit of key 'mine': 2 of 2 parallel requests are running. Try again in 1 s."
    gate.clock.advance(3_600)
    refusal(gate, key)
    gate.limiter.settle(first, tokens=0)
    gate.limiter.settle(first, tokens=0)
    gate.admit(key)
    refusal(gate, key)


def test_a_cancelled_call_gives_all_of_it_back():
    gate, key = Gate(), limits(requests_per_minute=1, tokens_per_minute=50, parallel_requests=1)
    for _ in range(5):
        gate.limiter.cancel(gate.admit(key, tokens=50))
    gate.limiter.settle(gate.admit(key, tokens=50), tokens=0)

    assert "1 of 1 requests" in refusal(gate, key).message


def test_a_model_has_limits_of_its_own_on_top():
    gate = Gate()
    key = limits(requests_per_minute=3, models={"big": RateLimits(requests_per_minute=1)})
    gate.admit(key, model="big")

    assert "key 'mine' for the model 'big': 1 of 1" in refusal(gate, key, model="big").message
    gate.admit(key, model="small")
    gate.admit(key, model="small")
    assert "key 'mine': 3 of 3" in refusal(gate, key, model="small").message


def test_the_same_scope_twice_counts_once_and_the_least_limit_holds():
    gate = Gate()
    user = Scope("user", "u")
    both = (limits(user, requests_per_minute=4), limits(user, requests_per_minute=2))
    gate.admit(*both)
    gate.admit(*both)

    assert "user 'u': 2 of 2" in refusal(gate, *both).message


def test_a_changed_limit_finds_what_was_counted():
    gate = Gate()
    for _ in range(3):
        gate.admit(limits(requests_per_minute=3))

    assert "3 of 2" in refusal(gate, limits(requests_per_minute=2)).message
    gate.admit(limits(requests_per_minute=4))


def test_all_callers_together():
    gate = Gate(global_rates=RateLimits(parallel_requests=1))
    hold = gate.admit()

    assert "the gateway: 1 of 1 parallel" in refusal(gate, limits(requests_per_minute=5)).message
    gate.limiter.settle(hold, tokens=0)
    gate.admit(limits(requests_per_minute=5))


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (Scope("key", "abc"), "key 'mine'"),
        (Scope("user", "u"), "user 'u'"),
        (Scope("team_member", "t", "u"), "user 'u' in team 't'"),
        (Scope("organization", "o"), "organization 'o'"),
        (Scope("organization_member", "o", "u"), "user 'u' in organization 'o'"),
        (Scope("end_user", "e"), "end user 'e'"),
        (Scope("tag", "x"), "tag 'x'"),
    ],
)
def test_the_refusal_names_the_scope(scope, name):
    gate = Gate()
    gate.admit(limits(scope, requests_per_minute=1))

    assert refusal(gate, limits(scope, requests_per_minute=1)).message.startswith(f"Rate limit of {name}: ")
    counted = {"kind": "requests", "scope": scope.type}
    assert gate.metrics.registry.get_sample_value("tallystick_rate_limited_total", counted) == 1


def test_the_wait_is_for_the_quota_that_has_room_last():
    gate = Gate()
    key = limits(requests_per_minute=1, tokens_per_day=10)
    gate.admit(key, tokens=10)

    error = refusal(gate, key, tokens=1)
    assert "tokens per day" in error.message
    assert error.retry_after_seconds > 80_000


def test_headers_tell_of_the_quota_with_the_least_left():
    gate = Gate()
    key, team = limits(requests_per_minute=10, tokens_per_minute=500), limits(TEAM, requests_per_minute=3)
    gate.admit(key, team)
    gate.clock.advance(12.5)
    hold = gate.admit(key, team, tokens=120)

    assert gate.limiter.headers(hold) == [
        (b"x-ratelimit-limit-requests", b"3"),
        (b"x-ratelimit-remaining-requests", b"1"),
        (b"x-ratelimit-reset-requests", b"48s"),
        (b"x-ratelimit-limit-tokens", b"500"),
        (b"x-ratelimit-remaining-tokens", b"370"),
        (b"x-ratelimit-reset-tokens", b"48s"),
    ]


def test_headers_of_a_day():
    gate = Gate()
    hold = gate.admit(limits(tokens_per_day=50), tokens=20)

    assert dict(gate.limiter.headers(hold))[b"x-ratelimit-reset-tokens"] == b"24h0m0s"
    assert b"x-ratelimit-limit-requests" not in dict(gate.limiter.headers(hold))


def deployment(**rates):
    target = Target(provider="openai", model="m", api_base="http://127.0.0.1:1")
    return Deployment(
        deployment_id="d1",
        model_group="m",
        target=target,
        price=None,
        rates=DeploymentRates(**rates) if rates else None,
    )


async def test_a_deployment_that_is_full_is_refused_and_another_is_not():
    gate = Gate()
    full = deployment(requests_per_minute=1, parallel_requests=5)
    await gate.limiter.admit_deployment(full, tokens_estimate=1, call_id="a")

    with pytest.raises(RateLimited, match="deployment 'd1': 1 of 1 requests"):
        await gate.limiter.admit_deployment(full, tokens_estimate=1, call_id="b")
    assert await gate.limiter.admit_deployment(deployment(), tokens_estimate=1, call_id="b") is NO_RATES


def test_memory_stays_bounded_and_forgets_first_what_was_used_longest_ago():
    gate = Gate(counters_max=100)
    busy = limits(requests_per_minute=4)
    for number in range(1_000):
        gate.admit(limits(Scope("end_user", f"e{number}"), requests_per_minute=5))
        if number % 90 == 0 and number < 360:
            gate.admit(busy)
    assert gate.memory.counters == 100
    forgotten = gate.metrics.rate_counters_forgotten._value.get()
    assert forgotten == 901

    gate.clock.advance(61)
    for number in range(100):
        gate.admit(limits(Scope("end_user", f"x{number}"), requests_per_minute=5))
    assert gate.metrics.rate_counters_forgotten._value.get() == forgotten


def test_a_counter_in_use_is_kept():
    gate = Gate(counters_max=100)
    busy = limits(requests_per_minute=10)
    for number in range(900):
        gate.admit(limits(Scope("end_user", f"e{number}"), requests_per_minute=5))
        if number % 90 == 0:
            gate.admit(busy)

    assert "10 of 10" in refusal(gate, busy).message


def test_refusals_do_not_fill_the_memory():
    gate = Gate(counters_max=100)
    for number in range(1_000):
        refusal(gate, limits(Scope("end_user", f"e{number}"), requests_per_minute=0))
    assert gate.memory.counters <= 100
    assert gate.metrics.rate_counters_forgotten._value.get() == 0


def test_counters_of_running_calls_go_with_them():
    gate = Gate()
    holds = [gate.admit(limits(Scope("end_user", f"e{n}"), parallel_requests=5)) for n in range(50)]
    assert gate.memory.counters == 50
    for hold in holds:
        gate.limiter.settle(hold, tokens=0)
    assert gate.memory.counters == 0

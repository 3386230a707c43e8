"""What this instance has seen of its deployments: running calls, this minute's use and failures, latencies, cooldowns.

Where instances share what they see, `take_changes` and `take_in` are how: nothing here waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from tallystick.config.routing_settings import RoutingSettings, StrategyArguments
from tallystick.control.deployment import Deployment
from tallystick.routing.failure import FailureKind
from tallystick.routing.policies import Minute, cooldown_seconds, should_cool_down
from tallystick.routing.strategies import Standing
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

_BY_LATENCY: Final = "latency-based-routing"
_STATES_MAX: Final = 20_000
_TIMEOUT_PENALTY_SECONDS: Final = 1000.0
"""Counts as the latency of an attempt that was not answered in time, as in LiteLLM."""


class Use(NamedTuple):
    """What calls used of a deployment within a minute."""

    requests: int = 0
    tokens: int = 0


class Changes(NamedTuple):
    """What is new since the last time, for other instances."""

    uses: Mapping[str, Use]
    cooldowns: Mapping[str, float]
    """Seconds that are left, by deployment id."""


class _State:
    """What is known of one deployment."""

    __slots__ = (
        "cooled_until",
        "failed_since",
        "fails",
        "failures",
        "first_bytes",
        "latencies",
        "minute",
        "requests",
        "running",
        "shared_use",
        "successes",
        "tokens",
        "unshared_requests",
        "unshared_tokens",
    )

    def __init__(self) -> None:
        self.running = 0
        self.minute = 0
        """Which one the next four are of."""
        self.requests = self.tokens = self.successes = self.failures = 0
        self.fails = 0
        """Failures since `failed_since`; they are forgotten with the cooldown time."""
        self.failed_since = 0.0
        self.cooled_until = 0.0
        self.latencies: deque[tuple[float, float]] | None = None
        """When, and seconds of a token."""
        self.first_bytes: deque[tuple[float, float]] | None = None
        """When, and seconds until the first byte of a stream."""
        self.unshared_requests = self.unshared_tokens = 0
        self.shared_use: Use | None = None
        """Of this minute and all instances, as of the last exchange; None where nothing is shared."""

    def enter(self, minute: int) -> None:
        if minute != self.minute:
            self.minute = minute
            self.requests = self.tokens = self.successes = self.failures = 0


class AttemptNote:
    """One attempt that runs. Ended once: by `failed`, or by `over` when its call is."""

    __slots__ = (
        "_answered_after",
        "_began_at",
        "_tracker",
        "deployment",
        "has_others",
        "settings",
        "state",
        "stream",
    )

    def __init__(
        self,
        tracker: Tracker,
        deployment: Deployment,
        state: _State,
        began_at: float,
        *,
        stream: bool,
        settings: RoutingSettings,
        has_others: bool,
    ) -> None:
        self.deployment = deployment
        self.state: _State | None = state
        """None when it is ended."""
        self.stream = stream
        self.settings = settings
        self.has_others = has_others
        self._tracker = tracker
        self._began_at = began_at
        self._answered_after: float | None = None

    def answered(self) -> float:
        """There is an answer, or the first event of a stream. Return how many seconds it took."""
        self._answered_after = self._tracker.monotonic() - self._began_at
        return self._answered_after

    def failed(self, kind: FailureKind, *, retry_after: float | None) -> float:
        """There is no usable answer. Return how many seconds that took."""
        self._tracker.note_failure(self, kind, retry_after=retry_after)
        return self._tracker.monotonic() - self._began_at

    def over(self, *, tokens: int, output_tokens: int, broke_off: bool) -> None:
        """The call is over. Harmless when the attempt is ended already."""
        if self.state is None:
            return
        if self._answered_after is None:  # Nobody waited for the answer: that says nothing of the deployment.
            self.state.running -= 1
            self.state = None
        elif broke_off:
            self._tracker.note_failure(self, FailureKind.INTERNAL, retry_after=None)
        else:
            self._tracker.note_success(
                self,
                tokens=tokens,
                latency=self._answered_after if self.stream else self._answered_after / max(1, output_tokens),
                answered_at=self._began_at + self._answered_after,
            )


class Tracker:
    """One per process; for one event loop."""

    def __init__(self, *, clock: Clock, metrics: Metrics) -> None:
        self.monotonic = clock.monotonic
        self.arguments = StrategyArguments()
        """Of the strategy by latency; set anew with the settings."""
        self._metrics = metrics
        self._states: dict[str, _State] = {}
        self._new_cooldowns: set[str] = set()
        self._changed: set[str] = set()
        self.is_shared = False
        """Whether `take_changes` is called."""

    def begin(
        self, deployment: Deployment, *, stream: bool, settings: RoutingSettings, has_others: bool
    ) -> AttemptNote:
        """An attempt is about to be made."""
        now = self.monotonic()
        state = self._states.get(deployment.deployment_id) or self._new_state(deployment.deployment_id)
        state.enter(int(now // 60))
        state.running += 1
        state.requests += 1
        if self.is_shared:
            state.unshared_requests += 1
            self._changed.add(deployment.deployment_id)
        return AttemptNote(self, deployment, state, now, stream=stream, settings=settings, has_others=has_others)

    def available(self, deployments: Sequence[Deployment]) -> Sequence[Deployment]:
        """Return those that are not cooling down."""
        states, now = self._states, 0.0
        for deployment in deployments:
            state = states.get(deployment.deployment_id)
            if state is not None and state.cooled_until:
                now = now or self.monotonic()
                if state.cooled_until > now:
                    return [each for each in deployments if not self._is_cooling(each, now)]
        return deployments

    def soonest_back(self, deployments: Sequence[Deployment]) -> Sequence[Deployment]:
        """Return deployments that are all cooling down, the one that comes back first before the others."""
        return sorted(deployments, key=lambda each: self._states[each.deployment_id].cooled_until)

    def cooling(self) -> Mapping[str, float]:
        """Return for how many seconds more each deployment is left alone, by id."""
        now = self.monotonic()
        return {name: state.cooled_until - now for name, state in self._states.items() if state.cooled_until > now}

    def standings(self, deployments: Sequence[Deployment], *, stream: bool) -> Sequence[Standing]:
        """Return what strategies go by."""
        now = self.monotonic()
        return [self._standing(each, now, stream=stream) for each in deployments]

    # What attempts end with

    def note_success(self, note: AttemptNote, *, tokens: int, latency: float, answered_at: float) -> None:
        """A call has ended on a deployment that answered it."""
        state, note.state = note.state, None
        assert state is not None
        state.enter(int(self.monotonic() // 60))
        state.running -= 1
        state.successes += 1
        state.tokens += tokens
        if self.is_shared:
            state.unshared_tokens += tokens
            self._changed.add(note.deployment.deployment_id)
        if note.settings.strategy == _BY_LATENCY:
            self._note_latency(state, answered_at, latency, stream=note.stream)

    def note_failure(self, note: AttemptNote, kind: FailureKind, *, retry_after: float | None) -> None:
        """An attempt has failed; perhaps the deployment is left alone from now on."""
        state, note.state = note.state, None
        assert state is not None
        deployment, settings = note.deployment, note.settings
        now = self.monotonic()
        state.enter(int(now // 60))
        state.running -= 1
        state.failures += 1
        seconds = cooldown_seconds(deployment, settings, retry_after=retry_after)
        if now > state.failed_since + seconds:
            state.failed_since, state.fails = now, 0
        state.fails += 1
        if kind is FailureKind.TIMEOUT and settings.strategy == _BY_LATENCY:
            self._note_latency(state, now, _TIMEOUT_PENALTY_SECONDS, stream=note.stream)
        if should_cool_down(
            kind,
            settings,
            minute=Minute(state.successes, state.failures),
            fails=state.fails,
            has_others=note.has_others,
            is_of_wildcard=deployment.is_of_wildcard,
        ):
            self._cool_down(deployment, state, now + seconds, kind)

    # What instances share

    def take_changes(self) -> Changes:
        """Return what is new, and count it as told."""
        now = self.monotonic()
        uses = {}
        for name in self._changed:
            state = self._states.get(name)
            if state is not None:
                uses[name] = Use(state.unshared_requests, state.unshared_tokens)
                state.unshared_requests = state.unshared_tokens = 0
        self._changed.clear()
        cooldowns = {name: self._states[name].cooled_until - now for name in self._new_cooldowns}
        self._new_cooldowns.clear()
        return Changes(uses, {name: seconds for name, seconds in cooldowns.items() if seconds > 0})

    def tell_again(self, names: Iterable[str]) -> None:
        """Count the cooldowns of these deployments as not told: to tell them twice does no harm."""
        self._new_cooldowns.update(name for name in names if name in self._states)

    def take_in(self, uses: Mapping[str, Use], cooldowns: Mapping[str, float]) -> None:
        """Know what all instances have seen: the use of this minute, and the seconds that cooldowns last."""
        now = self.monotonic()
        for name, state in self._states.items():
            state.shared_use = uses.get(name, Use())
        for name, use in uses.items():
            self._named(name).shared_use = use
        for name, seconds in cooldowns.items():
            state = self._named(name)
            state.cooled_until = max(state.cooled_until, now + seconds)

    def forget_shared(self) -> None:
        """Go by what this instance sees alone."""
        for state in self._states.values():
            state.shared_use = None

    # Inside

    def _cool_down(self, deployment: Deployment, state: _State, until: float, kind: FailureKind) -> None:
        state.cooled_until = max(state.cooled_until, until)
        self._metrics.deployment_cooldowns.labels(deployment.target.provider, kind).inc()
        log.warning("deployment_cools_down", deployment_id=deployment.deployment_id, reason=str(kind))
        if self.is_shared:
            self._new_cooldowns.add(deployment.deployment_id)

    def _is_cooling(self, deployment: Deployment, now: float) -> bool:
        state = self._states.get(deployment.deployment_id)
        return state is not None and state.cooled_until > now

    def _named(self, name: str) -> _State:
        return self._states.get(name) or self._new_state(name)

    def _new_state(self, name: str) -> _State:
        if len(self._states) >= _STATES_MAX:
            self._forget()
        state = self._states[name] = _State()
        return state

    def _forget(self) -> None:
        """Make room: what does not run and does not cool down is known again after its next call."""
        now = self.monotonic()
        for name in [n for n, state in self._states.items() if not state.running and state.cooled_until <= now]:
            del self._states[name]
        self._new_cooldowns &= self._states.keys()

    def _note_latency(self, state: _State, now: float, seconds: float, *, stream: bool) -> None:
        known = state.first_bytes if stream else state.latencies
        size = self.arguments.max_latency_list_size
        if known is None or known.maxlen != size:
            known = deque(known or (), maxlen=size)
            if stream:
                state.first_bytes = known
            else:
                state.latencies = known
        known.append((now, seconds))

    def _standing(self, deployment: Deployment, now: float, *, stream: bool) -> Standing:
        state = self._states.get(deployment.deployment_id)
        if state is None:
            return Standing(deployment)
        state.enter(int(now // 60))
        requests, tokens = state.requests, state.tokens
        if state.shared_use is not None:
            requests = state.shared_use.requests + state.unshared_requests
            tokens = state.shared_use.tokens + state.unshared_tokens
        known = state.first_bytes if stream and state.first_bytes else state.latencies
        return Standing(deployment, state.running, requests, tokens, _average(known or (), now - self.arguments.ttl))


def _average(noted: Iterable[tuple[float, float]], since: float) -> float:
    fresh = [seconds for moment, seconds in noted if moment >= since]
    return sum(fresh) / len(fresh) if fresh else 0.0

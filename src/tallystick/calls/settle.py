"""Settling: a call's intent and its event go into the journal, and the numbers that people watch follow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tallystick.calls.admission import Admitted
from tallystick.control.deployment import Deployment
from tallystick.errors import LedgerUnavailable
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.journal import Journal
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics


class Settler:
    """Writes calls down. `end` returns when the event is as safe as `journal_sync` promises."""

    def __init__(self, *, journal: Journal, clock: Clock, metrics: Metrics) -> None:
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self.last_outcomes: dict[str, str] = {}
        """How the last attempt on each deployment ended, by deployment id: `success` or `failure`."""
        self._answered: set[str] = set()
        self._running: dict[str, Admitted] = {}
        """What each running call holds, by event id."""

    def now(self) -> datetime:
        return self._clock.now()

    def begin(self, make_intent: Callable[[], SpendEvent], admitted: Admitted) -> None:
        """Make the intent and write it; the call's holds end with its event from now on.

        Raises LedgerUnavailable when the journal can't take the call; then, as after any error, they have ended.
        """
        self.readmit(make_intent, admitted)
        self._metrics.open_calls.inc()

    def readmit(self, make_intent: Callable[[], SpendEvent], admitted: Admitted) -> None:
        """The call goes on in another model group, with other holds: write its intent anew. See `begin`."""
        try:
            intent = make_intent()
            self._journal.append_intent(intent)
        except BaseException:
            admitted.cancel()
            raise
        self._running[intent.event_id] = admitted

    def count_fallback(self, reason: str) -> None:
        self._metrics.fallbacks.labels(reason).inc()

    def is_running(self, event_id: str) -> bool:
        """Whether a call has begun and has no event yet."""
        return event_id in self._running

    async def end(self, event: SpendEvent) -> None:
        """Write the event and wait until it is safe. Raises LedgerUnavailable when it is not."""
        seq = self._append(event)
        if seq is not None:
            await self._journal.settled(seq)

    def end_unheard(self, event: SpendEvent) -> None:
        """Write the event of a call that nobody waits for any more, because it was cancelled or has crashed."""
        try:
            self._append(event)
        except LedgerUnavailable:
            # The journal keeps the event in memory and tries again with the next one; cancellation must go on.
            return

    def _append(self, event: SpendEvent) -> int | None:
        try:
            seq = self._journal.append_event(event)
        except LedgerUnavailable:  # The journal keeps the event; after any other error the call has none yet.
            self._note_end(event, self._journal.last_waiting_seq)
            raise
        self._note_end(event, seq)
        return seq

    def _note_end(self, event: SpendEvent, seq: int | None) -> None:
        self._running.pop(event.event_id).settle(event, seq)
        self._observe(event)

    def count_attempt(self, deployment: Deployment, outcome: str) -> None:
        self.last_outcomes[deployment.deployment_id] = outcome
        if outcome == "success":
            self._answered.add(deployment.deployment_id)
        self._metrics.upstream_attempts.labels(deployment.target.provider, outcome).inc()

    def take_answered(self) -> set[str]:
        """Return the ids of the deployments that have answered a caller since this was asked last."""
        answered, self._answered = self._answered, set()
        return answered

    def count_disconnect(self) -> None:
        self._metrics.client_disconnects.inc()

    def count_unscanned(self, events: int) -> None:
        if events:
            self._metrics.stream_unscanned_events.inc(events)

    def _observe(self, event: SpendEvent) -> None:
        metrics = self._metrics
        metrics.open_calls.dec()
        metrics.calls.labels(event.endpoint, event.status).inc()
        metrics.call_seconds.observe((event.ended_at - event.started_at).total_seconds())
        if event.first_token_at is not None:
            metrics.time_to_first_token_seconds.observe((event.first_token_at - event.started_at).total_seconds())
        if event.cost_status == "unpriced":
            metrics.unpriced_events.inc()
        if event.status == "interrupted":
            metrics.interrupted_events.inc()

"""What is counted and shown of one sink in this process."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.runtime.telemetry import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """How a sink is. `error` is why it did not take what is next; '' while it takes it."""

    name: str
    kind: str
    state: str
    lag_events: int
    lag_seconds: float
    sent: int
    refused: int
    skipped: int
    error: str


class SinkMeter:
    """The counts since the process began, and the lag over all journals that it reads."""

    def __init__(self, name: str, kind: str, metrics: Metrics) -> None:
        self._name = name
        self._kind = kind
        self._metrics = metrics
        self._lags: dict[str, tuple[int, float]] = {}
        self._errors: dict[str, str] = {}
        self._sent = self._refused = self._skipped = 0

    def deliver(self, events: int) -> None:
        self._sent += events
        self._metrics.sink_sends.labels(self._name, "delivered").inc()
        self._metrics.sink_sent_events.labels(self._name).inc(events)

    def postpone(self, slot: str, reason: str) -> None:
        self._errors[slot] = reason
        self._metrics.sink_sends.labels(self._name, "postponed").inc()

    def refuse(self, events: int) -> None:
        self._refused += events
        self._metrics.sink_sends.labels(self._name, "refused").inc()
        self._metrics.sink_refused_events.labels(self._name).inc(events)

    def skip(self, events: int) -> None:
        self._skipped += events
        self._metrics.sink_skipped_events.labels(self._name).inc(events)

    def set_lag(self, slot: str, events: int, seconds: float) -> None:
        """Take note of what waits in a slot; the seconds are the age of the oldest event of it."""
        self._lags[slot] = (events, seconds)
        if not events:
            self._errors.pop(slot, None)
        self._show_lag()

    def recover(self, slot: str) -> None:
        """Note that the sink takes what is in a slot."""
        self._errors.pop(slot, None)

    def forget(self, slot: str) -> None:
        """A slot is not read here any more."""
        self._lags.pop(slot, None)
        self._errors.pop(slot, None)
        self._show_lag()

    def status(self) -> SinkStatus:
        events, seconds = self._lag()
        error = next(iter(self._errors.values()), "")
        return SinkStatus(
            name=self._name,
            kind=self._kind,
            state="failing" if error else "behind" if events else "caught_up",
            lag_events=events,
            lag_seconds=round(seconds, 3),
            sent=self._sent,
            refused=self._refused,
            skipped=self._skipped,
            error=error,
        )

    def _lag(self) -> tuple[int, float]:
        lags = self._lags.values()
        return sum(events for events, _ in lags), max((seconds for _, seconds in lags), default=0.0)

    def _show_lag(self) -> None:
        events, seconds = self._lag()
        self._metrics.sink_lag_events.labels(self._name).set(events)
        self._metrics.sink_lag_seconds.labels(self._name).set(seconds)

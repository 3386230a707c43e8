"""What a process says about itself: log lines on stderr, and metrics for Prometheus."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from tallystick.runtime.masking import mask_secrets

GaugeMode = Literal["livesum", "livemax", "livemin"]

_CHILDREN_MAX: Final = 2_000
_CALL_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_STORE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class CounterFamily:
    """A counter with labels. Its children are kept here, because the library's own look-up costs microseconds.

    Beyond 2,000 children further label values are counted together as `other`, so that memory stays bounded.
    """

    def __init__(self, parent: Counter, label_names: tuple[str, ...]) -> None:
        self._parent = parent
        self._label_names = label_names
        self._children: dict[tuple[str, ...], Counter] = {}

    def labels(self, *values: str, **named: str) -> Counter:
        """Return the child for these label values, given in the declared order or by name."""
        key = values if not named else tuple(named[name] for name in self._label_names)
        child = self._children.get(key)
        return child if child is not None else self._new_child(key)

    def _new_child(self, key: tuple[str, ...]) -> Counter:
        if len(self._children) >= _CHILDREN_MAX:
            return self._parent.labels(*("other" for _ in self._label_names))
        child = self._parent.labels(*key)
        self._children[key] = child
        return child


class Metrics:
    """Every metric of a process, in a registry of its own. `docs/reference/metrics.md` says what to do about each.

    An attribute is named as its metric, without the prefix `tallystick_` and the suffix `_total`.

    Several worker processes are counted together when PROMETHEUS_MULTIPROC_DIR named an empty directory before
    prometheus_client was imported, and the same directory is given here.
    """

    def __init__(self, *, multiprocess_directory: str | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there. They would double the page.
        self.registry = CollectorRegistry()
        self._multiprocess_directory = multiprocess_directory
        self._declare_calls()
        self._declare_journal()
        self._declare_commits()
        self._declare_access()
        self._declare_budgets()
        self._declare_alerts()
        self._declare_rates()
        self._declare_buffer()
        self._declare_answers()
        self._declare_callbacks()
        self._declare_process()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format; those of every worker where there are several."""
        if self._multiprocess_directory is None:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged, path=self._multiprocess_directory)  # type: ignore[no-untyped-call]  # untyped there.
        return generate_latest(merged)

    def forget_process(self, pid: int) -> None:
        """Drop the gauges of a worker that ended; its counters stay in the sums. For the parent of the workers."""
        if self._multiprocess_directory is not None:
            mark_process_dead(pid, path=self._multiprocess_directory)  # type: ignore[no-untyped-call]  # as above.

    def _declare_calls(self) -> None:
        self.calls = self._family("calls_total", "Calls that ended, by status of their event.", ("endpoint", "status"))
        self.call_seconds = self._histogram("call_seconds", "Time from request to last byte.", _CALL_BUCKETS)
        self.open_calls = self._gauge("open_calls", "Calls being served now.", "livesum")
        self.upstream_attempts = self._family(
            "upstream_attempts_total", "Tries on deployments.", ("provider", "outcome")
        )
        self.deployment_cooldowns = self._family(
            "deployment_cooldowns_total",
            "Deployments left alone for a time because they failed.",
            ("provider", "reason"),
        )
        self.fallbacks = self._family("fallbacks_total", "Calls that went on to another model group.", ("reason",))
        self.routing_shared = self._gauge("routing_shared", "1 where cooldowns and use are shared.", "livemin")
        self.time_to_first_token_seconds = self._histogram(
            "time_to_first_token_seconds", "Time from request to first streamed chunk.", _CALL_BUCKETS
        )
        self.client_disconnects = self._counter("client_disconnects_total", "Clients that left before the end.")
        self.stream_unscanned_events = self._counter(
            "stream_unscanned_events_total", "Stream events forwarded that were too large to be read for usage."
        )
        self.sanitized_values = self._counter("sanitized_values_total", "Caller values cut or cleaned for the ledger.")
        self.unpriced_events = self._counter("unpriced_events_total", "Events whose price is unknown.")

    def _declare_journal(self) -> None:
        self.journal_bytes = self._gauge("journal_bytes", "Size of the journal.", "livesum")
        self.journal_events_pending = self._gauge("journal_events_pending", "Events not committed yet.", "livesum")
        self.journal_appends = self._counter("journal_appends_total", "Frames appended.")
        self.journal_rejected = self._counter("journal_rejected_total", "Calls refused because the journal was full.")
        self.journal_shed = self._counter("journal_shed_total", "Events lost because the journal was full.")
        self.journal_shed_nano_usd = self._counter("journal_shed_nano_usd_total", "Cost of the events lost.")
        self.journal_torn_tails = self._counter("journal_torn_tails_total", "Segments cut at a torn last frame.")
        self.journal_damaged_segments = self._counter("journal_damaged_segments_total", "Segments set aside.")
        self.journal_sync_seconds = self._histogram("journal_sync_seconds", "Time of a group sync.", _STORE_BUCKETS)
        self.interrupted_events = self._counter("interrupted_events_total", "Calls that ended before their answer did.")

    def _declare_commits(self) -> None:
        self.commits = self._family("commits_total", "Batches delivered.", ("outcome",))
        self.commit_seconds = self._histogram("commit_seconds", "Time of a commit.", _STORE_BUCKETS)
        self.committed_events = self._counter("committed_events_total", "Events committed.")
        self.commit_lag_seconds = self._gauge("commit_lag_seconds", "Age of the oldest uncommitted event.", "livemax")
        self.commit_retries = self._counter("commit_retries_total", "Commits tried again after an error.")
        self.replica_reads = self._family("replica_reads_total", "Reads for the read replica.", ("outcome",))
        self.dead_letters = self._counter("dead_letters_total", "Events that the store refused for themselves.")

    def _declare_access(self) -> None:
        self.key_cache_hits = self._counter("key_cache_hits_total", "Keys found in the cache.")
        self.key_cache_misses = self._counter("key_cache_misses_total", "Keys looked up in the store.")
        self.key_cache_entries = self._gauge("key_cache_entries", "Keys in the cache.", "livesum")
        self.auth_lookups_rejected = self._counter(
            "auth_lookups_rejected_total", "Look-ups refused because too many were under way."
        )
        self.limit_lookups = self._family(
            "limit_lookups_total", "Limits of customers, tags, users and memberships looked up in the store.", ("kind",)
        )
        self.limit_lookups_failed = self._family(
            "limit_lookups_failed_total", "Look-ups of limits that gave no answer.", ("kind",)
        )
        self.limit_cache_entries = self._gauge(
            "limit_cache_entries", "Customers, tags, users and memberships in the cache.", "livesum"
        )
        self.auth_failures = self._family("auth_failures_total", "Requests without a valid key.", ("reason",))
        self.change_feed_revision = self._gauge("change_feed_revision", "Newest change in force.", "livemin")
        self.change_feed_errors = self._counter("change_feed_errors_total", "Reads of the change feed that failed.")
        self.control_objects_left_out = self._gauge(
            "control_objects_left_out", "Control objects that can't be used.", "livemax"
        )

    def _declare_budgets(self) -> None:
        self.budget_leased_nano_usd = self._gauge("budget_leased_nano_usd", "Leased and not committed.", "livesum")
        self.budget_held_nano_usd = self._gauge("budget_held_nano_usd", "Held by running calls.", "livesum")
        self.budget_accounts = self._gauge("budget_accounts", "Budget windows in use.", "livesum")
        self.budget_leases = self._family("budget_leases_total", "Statements that lease.", ("outcome",))
        self.budget_leases_lapsed = self._counter("budget_leases_lapsed_total", "Leases that others were given.")
        self.budget_denials = self._family("budget_denials_total", "Calls refused by a budget.", ("scope",))
        self.budget_unchecked_calls = self._counter(
            "budget_unchecked_calls_total", "Calls admitted although their budgets could not be told."
        )
        self.budget_lease_wait_seconds = self._histogram(
            "budget_lease_wait_seconds", "Time that calls waited for room in a budget.", _STORE_BUCKETS
        )

    def _declare_alerts(self) -> None:
        self.budget_alerts = self._family(
            "budget_alerts_total", "Alerts of budgets that fill up, by what became of them.", ("outcome",)
        )

    def _declare_rates(self) -> None:
        self.rate_limited = self._family("rate_limited_total", "Calls refused by a rate limit.", ("scope", "kind"))
        self.rate_limits_shared = self._gauge("rate_limits_shared", "1 where Redis counts for all.", "livemin")
        self.rate_counters_forgotten = self._counter("rate_counters_forgotten_total", "Counters dropped for room.")
        self.rate_changes_dropped = self._counter(
            "rate_changes_dropped_total", "Corrections and releases that did not reach Redis."
        )
        self.redis_errors = self._family("redis_errors_total", "Requests that Redis did not do.", ("outcome",))

    def _declare_buffer(self) -> None:
        self.is_leader = self._gauge("is_leader", "1 where this instance leads.", "livemax")
        self.buffer_batches = self._family(
            "buffer_batches_total", "Batches given to the Redis buffer, by what became of them.", ("outcome",)
        )
        self.buffer_entries = self._gauge("buffer_entries", "Batches in the Redis buffer.", "livemax")
        self.buffer_bytes = self._gauge("buffer_bytes", "Size of the Redis buffer.", "livemax")
        self.buffer_lag_seconds = self._gauge("buffer_lag_seconds", "Age of the buffer's oldest batch.", "livemax")
        self.buffer_drains = self._family("buffer_drains_total", "Transactions of the leader.", ("outcome",))
        self.buffer_drained_batches = self._counter(
            "buffer_drained_batches_total", "Batches that the leader took from the buffer."
        )

    def _declare_answers(self) -> None:
        self.cache_lookups = self._family("cache_lookups_total", "Calls looked up in the response cache.", ("outcome",))
        self.cache_writes = self._family("cache_writes_total", "Answers for the response cache.", ("outcome",))
        self.health_checks = self._family("health_checks_total", "Deployments asked whether they answer.", ("outcome",))
        self.deployments_unhealthy = self._gauge(
            "deployments_unhealthy", "Deployments whose last check failed.", "livemax"
        )
        self.open_batches = self._gauge("open_batches", "Batches that upstreams work off, not yet charged.", "livemax")
        self.charged_batches = self._counter("charged_batches_total", "Batches whose event the ledger has.")
        self.batch_looks_failed = self._counter("batch_looks_failed_total", "Looks at batches that told nothing.")
        self.cache_errors = self._counter("cache_errors_total", "Look-ups while the response cache was away.")

    def _declare_callbacks(self) -> None:
        self.callbacks = self._family("callbacks_total", "Callbacks called.", ("callback", "outcome"))
        self.callbacks_waiting = self._gauge("callbacks_waiting", "Events that wait for callbacks.", "livesum")

    def _declare_process(self) -> None:
        self.service_restarts = self._family(
            "service_restarts_total", "Background loops started again after a crash.", ("service",)
        )
        self.unrecorded_calls = self._counter(
            "unrecorded_calls_total", "Calls of instrumented clients that could not be recorded."
        )
        self.internal_errors = self._counter("internal_errors_total", "Answers with status 500 for an unknown error.")

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(f"tallystick_{name}", meaning, registry=self.registry)

    def _family(self, name: str, meaning: str, labels: tuple[str, ...]) -> CounterFamily:
        return CounterFamily(Counter(f"tallystick_{name}", meaning, labels, registry=self.registry), labels)

    def _gauge(self, name: str, meaning: str, mode: GaugeMode) -> Gauge:
        return Gauge(f"tallystick_{name}", meaning, registry=self.registry, multiprocess_mode=mode)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tallystick_{name}", meaning, registry=self.registry, buckets=buckets)


def configure_logging(format: Literal["json", "console"], level: str) -> None:  # noqa: A002 - the setting's name.
    """Send the log lines of this process, and of the libraries in it, to stderr, with credentials masked.

    `level` is a name as in `logging`: debug, info, warning, error.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask_event,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask_event, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)


def log_to_logging() -> None:
    """Send our log lines through the standard library's `logging`, unless the program has set structlog up itself.

    For a process that is not ours: how its logs look, and where they go, is not for us to say.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            mask_event,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=lambda *_names: logging.getLogger("tallystick"),
    )


def mask_event(
    _logger: Any,  # Any: structlog passes whichever logger it wraps.
    _method: str,
    event: structlog.typing.EventDict,
) -> structlog.typing.EventDict:
    """Mask every value of a log event. A structlog processor; whatever renders comes after it."""
    masked: structlog.typing.EventDict = mask_secrets(event)
    return masked

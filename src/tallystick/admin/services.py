"""What the admin API needs of the rest; `bootstrap` puts it together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tallystick.access.authenticator import Authenticator
from tallystick.access.budget_store import BudgetStore
from tallystick.access.scopes import Budget
from tallystick.access.windows import MIDNIGHT_UTC, WindowRule
from tallystick.admin.present import Present
from tallystick.calls.caching.store import AnswerStore
from tallystick.calls.callbacks.lists import NO_CALLBACKS, CallbackLists
from tallystick.calls.health.check import Checker
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.control.store import ControlStore
from tallystick.control.writer import ObjectWriter
from tallystick.ledger.store import LedgerReader
from tallystick.runtime.clock import Clock
from tallystick.runtime.telemetry import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices:
    """The services behind the admin API."""

    authenticator: Authenticator
    control: ControlStore
    writer: ObjectWriter
    snapshots: SnapshotKeeper
    ledger_reader: LedgerReader
    budgets: BudgetStore
    clock: Clock
    metrics: Metrics
    new_id: Callable[[], str]
    """Names an unexpected error, in the answer and in the log."""
    cache: AnswerStore | None = None
    """Where answers are kept; None where nothing is cached."""
    cache_type: str = ""
    """`local` or `redis`."""
    checker: Checker | None = None
    """Makes calls to see whether a deployment answers; None where nothing calls."""
    key_header: bytes | None = None
    """A further request header that may carry the key, in lower case."""
    body_bytes_max: int = 1_048_576
    windows: WindowRule = MIDNIGHT_UTC
    """When the windows of budgets begin."""
    user_budget_holds_in_teams: bool = False
    """Whether a user's budget counts the calls of its keys in teams, too."""
    customer_budget_id: str = ""
    """The budget of each customer who has none of its own."""
    callbacks: CallbackLists = NO_CALLBACKS
    """Those that are in force."""
    request_timeout_seconds: float = 600.0
    """Longest wait for a whole plain answer."""
    provider_budgets: Mapping[str, Budget] = field(default_factory=dict)
    """By provider."""

    def present(self) -> Present:
        """Return this moment, with the budget windows that it lies in."""
        return Present(now=self.clock.now(), windows=self.windows)

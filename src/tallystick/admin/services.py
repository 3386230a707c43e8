"""What the admin API needs of the rest; `bootstrap` puts it together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tallystick.access.authenticator import Authenticator
from tallystick.access.windows import MIDNIGHT_UTC, WindowRule
from tallystick.admin.present import Present
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
    clock: Clock
    metrics: Metrics
    new_id: Callable[[], str]
    """Names an unexpected error, in the answer and in the log."""
    key_header: bytes | None = None
    """A further request header that may carry the key, in lower case."""
    body_bytes_max: int = 1_048_576
    windows: WindowRule = MIDNIGHT_UTC
    """When the windows of budgets begin."""

    def present(self) -> Present:
        """Return what answers show as now."""
        return Present(self.clock.now(), self.windows)

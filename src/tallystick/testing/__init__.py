"""The public test kit: stores in memory that can be told to fail, and a clock that stands still until it is moved."""

from __future__ import annotations

from tallystick.testing.budget_store import MemoryBudgetStore
from tallystick.testing.clock import FakeClock
from tallystick.testing.control_store import MemoryControlStore
from tallystick.testing.store import MemoryStore

__all__ = ["FakeClock", "MemoryBudgetStore", "MemoryControlStore", "MemoryStore"]

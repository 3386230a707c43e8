"""The ledger: events, the journal that keeps them, the committer that delivers them, and the proof of it."""

from __future__ import annotations

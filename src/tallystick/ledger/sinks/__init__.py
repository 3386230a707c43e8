"""Sinks: destinations that receive events besides the ledger, each by its own cursor over the journal."""

from __future__ import annotations

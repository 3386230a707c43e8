"""The life of one call: admitted, written down, dispatched, metered, settled."""

from __future__ import annotations

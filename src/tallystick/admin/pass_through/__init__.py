"""Pass-through endpoints over HTTP."""

from __future__ import annotations

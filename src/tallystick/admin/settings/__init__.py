"""Settings over HTTP: those that may change while the gateway runs."""

from __future__ import annotations

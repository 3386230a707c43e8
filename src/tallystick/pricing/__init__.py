"""Prices: integers in, integers out; no I/O and no clock."""

from __future__ import annotations

"""Leasing: what this instance may spend of each budget, and the holds of its running calls."""

from __future__ import annotations

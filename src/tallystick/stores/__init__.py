"""Implementations of the ports. All SQL, all drivers and all migrations live here and nowhere else."""

from __future__ import annotations

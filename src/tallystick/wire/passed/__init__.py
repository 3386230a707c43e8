"""What is passed through: what a path asks for, and what can be read of the answer."""

from __future__ import annotations

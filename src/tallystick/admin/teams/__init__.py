"""Teams over HTTP: the team itself, its members, what they may do, and lists."""

from __future__ import annotations

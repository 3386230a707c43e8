"""Access groups over HTTP: named sets of models."""

from __future__ import annotations

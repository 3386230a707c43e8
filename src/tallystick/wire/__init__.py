"""Shapes of the dialects: requests, answers, usage, streams, errors. Bytes in, typed objects out; no I/O."""

from __future__ import annotations

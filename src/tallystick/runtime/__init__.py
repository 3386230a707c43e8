"""Clock, ids, services, telemetry: what every process needs and what knows nothing about LLMs."""

from __future__ import annotations

"""Tallystick: an LLM gateway and SDK whose ledger is exact.

Public names are loaded when they are first asked for, so that importing the package costs next to nothing. Their
types are in `__init__.pyi`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

__version__ = "0.1.0"

_PLACES: Final[Mapping[str, str]] = {
    "AsyncClient": "tallystick.client.clients",
    "Client": "tallystick.client.clients",
    "Answer": "tallystick.client.record",
    "Record": "tallystick.client.record",
    "Recorded": "tallystick.client.record",
    "AsyncStream": "tallystick.client.streams",
    "Stream": "tallystick.client.streams",
    "LiteLLMLogger": "tallystick.client.litellm_logger",
    "acompletion": "tallystick.client.default",
    "aembedding": "tallystick.client.default",
    "amessages": "tallystick.client.default",
    "aresponses": "tallystick.client.default",
    "atext_completion": "tallystick.client.default",
    "close": "tallystick.client.default",
    "completion": "tallystick.client.default",
    "default_client": "tallystick.client.default",
    "embedding": "tallystick.client.default",
    "flush": "tallystick.client.default",
    "instrument": "tallystick.client.instrument",
    "messages": "tallystick.client.default",
    "responses": "tallystick.client.default",
    "text_completion": "tallystick.client.default",
    "BudgetExceeded": "tallystick.errors",
    "RateLimited": "tallystick.errors",
    "RequestError": "tallystick.errors",
    "TallystickError": "tallystick.errors",
    "UpstreamError": "tallystick.errors",
}

__all__ = ["__version__", *_PLACES]  # noqa: PLE0604 - names, all of them.


def __getattr__(name: str) -> Any:  # Any: whatever has that name.
    """Load a public name."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'tallystick' has no attribute '{name}'")
    found = globals()[name] = getattr(importlib.import_module(place), name)
    return found


def __dir__() -> list[str]:
    """Name what is public, loaded or not."""
    return sorted(__all__)

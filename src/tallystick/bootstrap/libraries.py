"""Libraries that call providers for us, the extras `any-llm` and `litellm`: loaded when the first call needs them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from tallystick.errors import UpstreamUnreachable
from tallystick.providers.library import Library

_LITELLM_ENVIRONMENT: Final = {
    # LiteLLM reads these when it is imported, and has no other way to be told.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # Else it fetches a list of prices from the internet, which we don't use.
    "LITELLM_OFFLINE_MODE": "true",  # Nor other lists, and no file for its tokenizer.
    "LITELLM_MODE": "PRODUCTION",  # Else it reads a file .env.
}


class LibrariesWhenNeeded:
    """The libraries of a process: each is imported once, in a thread, by its first call."""

    def __init__(self) -> None:
        self._loading = asyncio.Lock()
        self._loaded: dict[str, Library] = {}

    async def any_llm(self) -> Library:
        """Return any-llm. Raises UpstreamUnreachable where it can't be imported."""
        return await self._get("any-llm", _load_any_llm)

    async def litellm(self) -> Library:
        """Return LiteLLM's SDK. Raises UpstreamUnreachable where it can't be imported."""
        return await self._get("litellm", _load_litellm)

    async def aclose(self) -> None:
        """Close what they keep open."""
        while self._loaded:
            _, library = self._loaded.popitem()
            await library.aclose()

    async def _get(self, name: str, load: Callable[[], Library]) -> Library:
        library = self._loaded.get(name)
        if library is not None:
            return library
        async with self._loading:
            if name not in self._loaded:
                try:
                    self._loaded[name] = await asyncio.to_thread(load)
                except ImportError as error:
                    reason = f"{error.name or error} can't be imported"
                    raise UpstreamUnreachable(f"{reason}: pip install 'tallystick[{name}]'.") from error
            return self._loaded[name]


def _load_any_llm() -> Library:
    from tallystick.providers.any_llm import AnyLLMLibrary

    return AnyLLMLibrary()


def _load_litellm() -> Library:
    for name, value in _LITELLM_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from tallystick.providers.litellm import LiteLLMLibrary

    return LiteLLMLibrary()

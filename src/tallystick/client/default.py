"""The functions of the module `tallystick`: calls by a client that is made when it is first needed.

Where it records is said by the environment: TALLYSTICK_DATABASE_URL and TALLYSTICK_HOME.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, Final

from tallystick.client.clients import FLUSH_SECONDS, Client


class _Default:
    """The client, once it is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None
        os.register_at_fork(after_in_child=self._after_fork)

    def get(self) -> Client:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or Client()
        return client

    def let_go(self) -> Client | None:
        with self._lock:
            client, self._client = self._client, None
        return client

    def _after_fork(self) -> None:
        self._lock = threading.Lock()


_DEFAULT: Final = _Default()


def default_client() -> Client:
    """Return the client behind the functions of this module."""
    return _DEFAULT.get()


def completion(model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: see Client.completion.
    """See `Client.completion`."""
    return _DEFAULT.get().completion(model, messages, **arguments)


def text_completion(model: str, prompt: Any, **arguments: Any) -> Any:  # Any: see Client.
    """See `Client.text_completion`."""
    return _DEFAULT.get().text_completion(model, prompt, **arguments)


def embedding(model: str, input: Any, **arguments: Any) -> Any:  # noqa: A002 - LiteLLM's name. Any: see Client.
    """See `Client.embedding`."""
    return _DEFAULT.get().embedding(model, input, **arguments)


def responses(model: str, input: Any = None, **arguments: Any) -> Any:  # noqa: A002 - as above. Any: see Client.
    """See `Client.responses`."""
    return _DEFAULT.get().responses(model, input, **arguments)


def messages(model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: see Client.
    """See `Client.messages`."""
    return _DEFAULT.get().messages(model, messages, **arguments)


async def acompletion(model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: see Client.
    """See `Client.acompletion`."""
    return await _DEFAULT.get().acompletion(model, messages, **arguments)


async def atext_completion(model: str, prompt: Any, **arguments: Any) -> Any:  # Any: see Client.
    """See `Client.atext_completion`."""
    return await _DEFAULT.get().atext_completion(model, prompt, **arguments)


async def aembedding(model: str, input: Any, **arguments: Any) -> Any:  # noqa: A002 - as above. Any: see Client.
    """See `Client.aembedding`."""
    return await _DEFAULT.get().aembedding(model, input, **arguments)


async def aresponses(model: str, input: Any = None, **arguments: Any) -> Any:  # noqa: A002 - as above. Any: see Client.
    """See `Client.aresponses`."""
    return await _DEFAULT.get().aresponses(model, input, **arguments)


async def amessages(model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: see Client.
    """See `Client.amessages`."""
    return await _DEFAULT.get().amessages(model, messages, **arguments)


def flush(*, timeout_seconds: float = FLUSH_SECONDS) -> None:
    """See `Client.flush`."""
    _DEFAULT.get().flush(timeout_seconds=timeout_seconds)


def close(*, timeout_seconds: float = FLUSH_SECONDS) -> None:
    """Close the default client, if there is one; the next call makes another."""
    client = _DEFAULT.let_go()
    if client is not None:
        client.close(timeout_seconds=timeout_seconds)

"""`instrument`: the official clients of OpenAI and Anthropic, with every call recorded.

Requests are watched where they leave the client for its HTTP library, so that whatever leads there is seen: `create`,
`stream`, `parse`, raw answers, retries, and the copies that `with_options` makes.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from tallystick.client.clients import AsyncClient, Client
from tallystick.client.default import default_client
from tallystick.client.engine import outcome
from tallystick.client.observing import WAIT_SECONDS, Belonging, Observer, Recording, Seen
from tallystick.client.taps import AsyncTap, Flow, SyncTap, tapped
from tallystick.errors import ConfigError
from tallystick.providers.catalog import FAMILIES

ClientT = TypeVar("ClientT")
_ORIGINAL: Final = "_tallystick_original_send"
_ELSEWHERE: Final = ("Bedrock", "Vertex", "Foundry", "AWS")
"""In the names of Anthropic's clients for other clouds, whose requests have other shapes."""


def instrument(
    official: ClientT,
    *,
    into: Client | AsyncClient | None = None,
    provider: str | None = None,
    asks_usage: bool = True,
    team: str = "",
    user: str | None = None,
    session: str = "",
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,  # Any: JSON.
) -> ClientT:
    """Record every call that an official client makes from now on, and return that client.

    `into` is where they are recorded (default: the module's own client); `provider` by whose prices (default: by the
    client's address); `asks_usage` whether chat streams are asked for their usage, which their reader then does not
    see. The rest says whom calls belong to. Instrumenting it again replaces what was said before. Raises ConfigError
    for a client of another kind.
    """
    http, base_url = _parts_of(official)
    found = provider or _provider_at(base_url, type(official).__name__)
    if found not in FAMILIES:
        raise ConfigError(f"'{found}' is no provider; there are {', '.join(sorted(FAMILIES))}", key_path="provider")
    observer = Observer(
        (into or default_client()).runtime,
        provider=found,
        api_base=base_url,
        asks_usage=asks_usage and FAMILIES[found].asks_usage,
        belonging=Belonging(team=team, user=user, session=session, tags=tuple(tags), metadata=metadata),
    )
    found_before = http.__dict__.get(_ORIGINAL)
    original = found_before or _Original(http.send)
    setattr(http, _ORIGINAL, original)
    http.send = partial(_send_async if original.is_async else _send, observer, original)
    return official


class _Original:
    """The HTTP client's own `send`. It does not keep that client: one that is dropped is to be closed at once."""

    def __init__(self, send: Any) -> None:  # Any: of whichever library.
        self.is_async = asyncio.iscoroutinefunction(send)
        self._find = weakref.WeakMethod(send) if hasattr(send, "__self__") else lambda: send

    def __call__(self, request: Any, **options: Any) -> Any:  # Any: as above.
        send = self._find()
        assert send is not None, "it is called by the client that has it"
        return send(request, **options)


def _send(observer: Observer, send: Callable[..., Any], request: Any, **options: Any) -> Any:  # Any: the library's.
    seen = observer.see(_read(request))
    recording = None if seen is None else _begin(observer, seen)
    if seen is None or recording is None:
        return send(request, **options)
    settle = partial(_settle, observer, recording)
    try:
        response = send(seen.sent, **options)
        if options.get("stream") and response.status_code >= 400:
            response.read()
    except BaseException as error:
        settle(recording.failed(error))
        raise
    if options.get("stream") and response.status_code < 400:
        stream = tapped(SyncTap, response.stream)
        flow = _flow(observer, recording, response)
        stream.attach(response.stream, flow, settle)
        response.stream = stream
    else:
        settle(recording.answered(response.status_code, response.headers.get("content-type", ""), response.content))
    return response


async def _send_async(
    observer: Observer, send: Callable[..., Awaitable[Any]], request: Any, **options: Any
) -> Any:  # Any: the library's.
    seen = observer.see(await _aread(request))
    recording = None if seen is None else await _begin_async(observer, seen)
    if seen is None or recording is None:
        return await send(request, **options)
    settle = partial(_settle_async, observer, recording)
    try:
        response = await send(seen.sent, **options)
        if options.get("stream") and response.status_code >= 400:
            await response.aread()
    except Exception as error:
        await settle(recording.failed(error))
        raise
    except BaseException as error:  # Cancelled: nobody waits.
        recording.engine.leave(partial(recording.failed, error))
        raise
    if options.get("stream") and response.status_code < 400:
        stream = tapped(AsyncTap, response.stream)
        flow = _flow(observer, recording, response)
        stream.attach(response.stream, flow, settle)
        response.stream = stream
    else:
        content_type = response.headers.get("content-type", "")
        await settle(recording.answered(response.status_code, content_type, response.content))
    return response


def _begin(observer: Observer, seen: Seen) -> Recording | None:
    try:
        engine = observer.runtime.engine()
        return outcome(engine.submit(observer.begin(engine, seen)), timeout_seconds=WAIT_SECONDS)
    except Exception as error:  # noqa: BLE001 - the call goes on.
        observer.complain(error)
        return None


async def _begin_async(observer: Observer, seen: Seen) -> Recording | None:
    try:
        if observer.runtime.running is None:
            await asyncio.to_thread(observer.runtime.engine)
        engine = observer.runtime.engine()
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncio.wrap_future(engine.submit(observer.begin(engine, seen)))
    except Exception as error:  # noqa: BLE001 - the call goes on.
        observer.complain(error)
        return None


def _settle(observer: Observer, recording: Recording, work: Any) -> None:  # Any: a coroutine.
    try:
        outcome(recording.engine.submit(work), timeout_seconds=WAIT_SECONDS)
    except Exception as error:  # noqa: BLE001 - the call goes on.
        observer.complain(error)


async def _settle_async(observer: Observer, recording: Recording, work: Any) -> None:  # Any: a coroutine.
    try:
        # Shielded: who is cancelled now is not waited for, and what it was answered is recorded all the same.
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.shield(asyncio.wrap_future(recording.engine.submit(work)))
    except Exception as error:  # noqa: BLE001 - the call goes on.
        observer.complain(error)


def _flow(observer: Observer, recording: Recording, response: Any) -> Flow:  # Any: the library's.
    return Flow(recording, status=response.status_code, headers=response.headers, complain=observer.complain)


def _read(request: Any) -> Any:  # Any: the library's.
    if request.method == "POST":
        request.read()
    return request


async def _aread(request: Any) -> Any:  # Any: the library's.
    if request.method == "POST":
        await request.aread()
    return request


def _parts_of(official: Any) -> tuple[Any, str]:  # Any: a client of either library, of any version.
    """Return the client's HTTP client and its base URL. Raises ConfigError."""
    kind = type(official)
    http = getattr(official, "_client", None)
    libraries = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if not libraries & {"openai", "anthropic"} or not callable(getattr(http, "send", None)):
        raise ConfigError(
            f"{kind.__name__} is no client of the packages openai or anthropic, which is what can be instrumented",
            key_path="instrument",
        )
    if "anthropic" in libraries and any(cloud in kind.__name__ for cloud in _ELSEWHERE):
        raise ConfigError(
            f"{kind.__name__} sends requests of another shape; call such models with tallystick.Client",
            key_path="instrument",
        )
    return http, str(official.base_url).rstrip("/")


def _provider_at(base_url: str, kind: str) -> str:
    """Return whose prices hold at an address."""
    if "Anthropic" in kind:
        return "anthropic"
    if "Azure" in kind:
        return "azure"
    host = urlsplit(base_url).hostname
    hosts = {urlsplit(family.api_base).hostname: name for name, family in FAMILIES.items() if family.api_base}
    return hosts.get(host, "openai")

"""The little HTTP that the data plane needs: reading a bounded body, sending an answer, noticing that a client left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from tallystick.errors import BodyTooLarge

Scope = MutableMapping[str, Any]  # Any: ASGI's own message types.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]

JSON = b"application/json"


class ClientGone(Exception):
    """The client left before its request was complete."""


async def read_body(receive: Receive, *, headers: Mapping[bytes, bytes], bytes_max: int) -> bytes:
    """Return the whole request body. Raises BodyTooLarge beyond `bytes_max`, ClientGone when the client leaves."""
    announced = headers.get(b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > bytes_max:
        raise _too_large(int(announced), bytes_max)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_max:
            raise _too_large(size, bytes_max)
    return b"".join(parts)


async def send_answer(send: Send, status: int, body: bytes, headers: HeaderList, content_type: bytes = JSON) -> None:
    """Send a whole answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


def header_value(text: str) -> bytes:
    """Return an upstream's text as the value of a header: what a header can't hold becomes a question mark."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text.encode("latin-1", "replace")


async def send_json(send: Send, value: object, headers: HeaderList, status: int = 200) -> None:
    await send_answer(send, status, msgspec.json.encode(value), headers)


class DisconnectWatch:
    """Notices that the client leaves while an answer is streamed.

    When it does, `left` becomes true and, if asked to, the task that serves the client is cancelled, so that it does
    not go on waiting for an upstream that nobody listens to.
    """

    def __init__(self, receive: Receive, *, cancel: bool) -> None:
        self.left = False
        self._receive = receive
        self._cancel = cancel
        self._owner = asyncio.current_task()
        self._task = asyncio.create_task(self._watch(), name="disconnect-watch")

    async def stop(self) -> None:
        """End the watch."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
        self.left = True
        if self._cancel and self._owner is not None:
            self._owner.cancel()


def _too_large(size: int, bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request body has {size} bytes or more; the limit is {bytes_max} (general_settings.max_request_size_mb)."
    )

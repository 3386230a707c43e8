"""The admin API of a running gateway. Redirects are not followed: they would carry the key elsewhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tallystick import __version__
from tallystick.cli.admin.api import CHANGED_BY, content_of, target
from tallystick.errors import BadRequest, TallystickError

_TIMEOUT_SECONDS: Final = 60.0
_ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024


class HTTPAdminAPI:
    """`AdminAPI` over HTTP, with the standard library's client."""

    def __init__(self, url: str, *, key: str) -> None:
        """Raises BadRequest for a URL that is none, and a key that no header can carry."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise BadRequest("'--url' must be like http://127.0.0.1:4000 or https://gateway.example.org.")
        if not key.isascii() or not key.isprintable():
            raise BadRequest("The key has characters that no key has.")
        try:
            self._port = parts.port
        except ValueError as error:
            raise BadRequest("'--url' has a port that is none.") from error
        self._is_secure = parts.scheme == "https"
        self._host = parts.hostname
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._prefix = parts.path.rstrip("/")
        self._key = key

    async def send(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: object = None
    ) -> Any:  # Any: JSON.
        status, answer = await asyncio.to_thread(self._exchange, method, self._prefix + target(path, query), body)
        return content_of(status, answer)

    def _exchange(self, method: str, request_target: str, body: object) -> tuple[int, bytes]:
        headers = {
            "authorization": f"Bearer {self._key}",
            "accept": "application/json",
            "user-agent": f"tallystick/{__version__}",
            **CHANGED_BY,
        }
        sent = None
        if body is not None:
            sent = msgspec.json.encode(body)
            headers["content-type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, request_target, body=sent, headers=headers)
            answer = connection.getresponse()
            content = answer.read(_ANSWER_BYTES_MAX + 1)
        except (OSError, HTTPException) as error:
            raise TallystickError(f"{self._shown} can't be reached: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if len(content) > _ANSWER_BYTES_MAX:
            raise TallystickError(f"{self._shown} answered with more than {_ANSWER_BYTES_MAX:,} bytes.")
        return answer.status, content

    def _connection(self) -> HTTPConnection:
        if self._is_secure:
            context = ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS, context=context)
        return HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)

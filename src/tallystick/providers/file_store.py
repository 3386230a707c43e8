"""Files and batches at upstreams that speak OpenAI's dialect: made, read, ended. None of it is billed by itself."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from tallystick.providers.asking import ask
from tallystick.providers.base import Target
from tallystick.providers.catalog import FAMILIES, MOCK_RESPONSE
from tallystick.providers.destination import Destination
from tallystick.providers.transport import RawAnswer, Transport
from tallystick.wire.responses.upstream import ResponsesUpstream

JSON: Final = "application/json"


class FileRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. `path` is below the API's root, such as `files` or `batches`."""

    method: str
    path: str
    object_id: str = ""
    """By the upstream's own id."""
    below: str = ""
    query: str = ""
    body: bytes = b""
    content_type: str = JSON
    stream: bool = False


class FileStore:
    """Asks upstreams for the files and batches that they keep."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def ask(self, target: Target, asked: FileRequest) -> RawAnswer:
        """Ask an upstream. Raises UpstreamRefused, UpstreamTimeout and its siblings."""
        headers = {**target.headers, "content-type": asked.content_type}
        return await ask(
            self._transport,
            Destination(_url(target, asked), headers),
            asked.body,
            target,
            stream=asked.stream,
            dialect=_DIALECT,
            method=asked.method,
        )


def keeps_files(target: Target) -> bool:
    """Whether an upstream is of a family that has files and batches."""
    family = FAMILIES.get(target.provider)
    return (
        family is not None
        and family.adapter == "openai"
        and not family.is_local
        and bool(target.api_base)
        and MOCK_RESPONSE not in target.options
    )


def _url(target: Target, asked: FileRequest) -> str:
    base = f"{target.api_base}/openai" if target.path_style == "azure" else target.api_base
    name = f"/{quote(asked.object_id, safe='')}" if asked.object_id else ""
    query = "&".join(part for part in (target.query, asked.query) if part)
    return f"{base}/{asked.path}{name}{asked.below}{'?' if query else ''}{query}"


class _Dialect(ResponsesUpstream):
    """Errors are OpenAI's envelope, as everywhere in its API."""

    name = "openai"


_DIALECT: Final = _Dialect()

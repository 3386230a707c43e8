"""Object storage: JSON lines by hour, in objects that are named after what is in them.

The same parcel makes the same objects, so that sending it again changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote
from xml.sax.saxutils import unescape

import msgspec

from tallystick.errors import SinkUnavailable
from tallystick.ledger.sinks.shapes import SHAPES, EventFormat, encode_json, in_turns
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel
from tallystick.stores.sinks.asking import Asker, unavailable

_SUFFIX: Final = ".jsonl"
_DIGEST_LENGTH: Final = 32
_CONTENT_TYPE: Final = "application/x-ndjson"
_KEY: Final = re.compile(r"<Key>(.*?)</Key>")
_TOKEN: Final = re.compile(r"<NextContinuationToken>(.*?)</NextContinuationToken>")


class ObjectPlace(Protocol):
    """Where objects are. Names are relative, with '/' between their parts. All raise SinkUnavailable."""

    async def put(self, name: str, content: bytes) -> None:
        """Keep an object; one of this name is replaced."""

    async def names(self, below: str) -> Sequence[str]:
        """Return the names that begin with `below`."""

    async def get(self, name: str) -> bytes:
        """Return an object."""


class Objects:
    """A `Sink`."""

    wants_starts = False

    def __init__(self, place: ObjectPlace, *, kind: str, event_format: EventFormat) -> None:
        self._place = place
        self.kind = kind
        self._shape = SHAPES[event_format]
        self._hour = ""
        self._ids: set[str] = set()
        """What the objects of the hour have that `missing` was asked for last."""

    async def send(self, parcel: Parcel) -> None:
        """`Sink`."""
        for hour, events in _by_hour(parcel.events):
            lines = b"".join(await in_turns(self._line_of, events))
            digest = hashlib.sha256(lines).hexdigest()[:_DIGEST_LENGTH]
            await self._place.put(f"{hour}/{events[0].event.event_id}-{digest}{_SUFFIX}", lines)
            if hour == self._hour:
                self._ids.update(numbered.event.event_id for numbered in events)

    async def missing(self, events: Sequence[NumberedEvent]) -> Sequence[NumberedEvent]:
        """`Sink`: read which events the objects of their hours have."""
        found: list[NumberedEvent] = []
        for hour, some in _by_hour(events):
            if hour != self._hour:
                ids = await self._ids_in(hour)
                self._hour, self._ids = hour, ids
            found.extend(numbered for numbered in some if numbered.event.event_id not in self._ids)
        return found

    async def aclose(self) -> None:
        """Nothing of its own."""

    def _line_of(self, numbered: NumberedEvent) -> bytes:
        return encode_json(self._shape(numbered)) + b"\n"

    async def _ids_in(self, hour: str) -> set[str]:
        ids: set[str] = set()
        for name in await self._place.names(f"{hour}/"):
            if name.endswith(_SUFFIX):
                for line in (await self._place.get(name)).splitlines():
                    ids.add(_id_in(line, name))
        return ids


def _by_hour(events: Sequence[NumberedEvent]) -> list[tuple[str, list[NumberedEvent]]]:
    """Return events by the hour in which they began, in the order of the hours; within one they keep their order."""
    in_order = sorted(events, key=lambda numbered: _hour_of(numbered.event.started_at))
    return [
        (hour, list(group))
        for hour, group in itertools.groupby(in_order, key=lambda numbered: _hour_of(numbered.event.started_at))
    ]


def _hour_of(moment: datetime) -> str:
    return moment.strftime("%Y/%m/%d/%H")


def _id_in(line: bytes, name: str) -> str:
    try:
        told: Any = msgspec.json.decode(line)  # Any: whatever is in the object.
        return str(told.get("event_id") or told["litellm_call_id"])
    except (msgspec.MsgspecError, AttributeError, KeyError) as error:
        raise SinkUnavailable(f"{name} is no object of events, and stands among them") from error


class FilePlace:
    """Objects as files below a directory. A file is there whole or not at all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, name: str, content: bytes) -> None:
        """`ObjectPlace`."""
        await self._in_thread(self._write, name, content)

    async def names(self, below: str) -> Sequence[str]:
        """`ObjectPlace`."""
        return [name for name in await self._in_thread(self._list, below) if name.startswith(below)]

    async def get(self, name: str) -> bytes:
        """`ObjectPlace`."""
        return bytes(await self._in_thread((self._directory / name).read_bytes))

    def _write(self, name: str, content: bytes) -> None:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _list(self, below: str) -> Sequence[str]:
        files = (self._directory / below).glob(f"*{_SUFFIX}")
        return [str(path.relative_to(self._directory)) for path in files if not path.name.startswith(".")]

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:  # Any: one of the functions above.
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise SinkUnavailable(f"{self._directory}: {error.strerror or type(error).__name__}") from error


class S3Place:
    """Objects in a bucket of S3, or of what speaks its protocol."""

    def __init__(self, asker: Asker, *, url: str, path: str) -> None:
        """`url` is the bucket's."""
        self._asker = asker
        self._url = url
        self._path = f"{path}/" if path else ""

    async def put(self, name: str, content: bytes) -> None:
        """`ObjectPlace`."""
        headers = {"content-type": _CONTENT_TYPE, "x-amz-content-sha256": hashlib.sha256(content).hexdigest()}
        answer = await self._asker.ask("PUT", f"{self._url}/{self._path}{name}", headers, content)
        if answer.status != 200:
            raise unavailable(answer, _code_in(answer.body))
        if "etag" not in answer.headers:
            raise unavailable(answer, "not by S3, as it seems")

    async def names(self, below: str) -> Sequence[str]:
        """`ObjectPlace`."""
        names: list[str] = []
        token = ""
        while True:
            query = f"list-type=2&prefix={quote(self._path + below, safe='')}"
            if token:
                query = f"continuation-token={quote(token, safe='')}&{query}"
            text = (await self._get(f"{self._url}/?{query}")).decode("utf-8", "replace")
            if "<ListBucketResult" not in text:
                raise SinkUnavailable("its list of objects is none")
            names += [unquote(unescape(key)).removeprefix(self._path) for key in _KEY.findall(text)]
            following = _TOKEN.search(text)
            if following is None:
                return names
            token = unescape(following[1])

    async def get(self, name: str) -> bytes:
        """`ObjectPlace`."""
        return await self._get(f"{self._url}/{self._path}{name}")

    async def _get(self, url: str) -> bytes:
        headers = {"x-amz-content-sha256": hashlib.sha256(b"").hexdigest()}
        answer = await self._asker.ask("GET", url, headers)
        if answer.status != 200:
            raise unavailable(answer, _code_in(answer.body))
        return answer.body


def _code_in(body: bytes) -> str:
    found = re.search(rb"<Code>([A-Za-z0-9.]{1,80})</Code>", body)
    return found[1].decode() if found else ""

"""Responses that an upstream keeps: read, cancelled and deleted by those whom they belong to. It costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal, NamedTuple

from tallystick.access.principal import Principal
from tallystick.calls.background import BackgroundWatch
from tallystick.calls.response_ids import KeptResponse, ResponseIds
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import NotFound
from tallystick.providers.base import ClosableStream
from tallystick.providers.response_store import ResponseStore
from tallystick.wire.responses.reading import IdReplacer, ResponsesReading

Method = Literal["GET", "POST", "DELETE"]


class KeptRequest(NamedTuple):
    """What is asked of a kept response."""

    method: Method
    response_id: str
    """As the caller has it."""
    below: Literal["", "/cancel", "/input_items"]
    query: str

    @property
    def wants_stream(self) -> bool:
        """Whether the events of the response are to come again."""
        return self.method == "GET" and not self.below and "stream=true" in self.query.lower().split("&")


class KeptAnswer(NamedTuple):
    """The upstream's answer, with the ids that the caller has."""

    status: int
    content_type: str
    body: bytes
    chunks: KeptStream | None


class KeptStream:
    """The events of a response that are told again; must be exhausted or closed."""

    def __init__(self, chunks: ClosableStream, reading: ResponsesReading) -> None:
        self._chunks = chunks
        self._meter = reading.meter()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            if out := self._meter.feed(chunk):
                yield out
        if end := self._meter.finish():
            yield end

    async def aclose(self) -> None:
        """Give the upstream's connection up."""
        await self._chunks.aclose()


class KeptResponses:
    """Asks for them where they were made. One per process."""

    def __init__(
        self, *, ids: ResponseIds, store: ResponseStore, watch: BackgroundWatch, snapshot: Callable[[], Snapshot]
    ) -> None:
        self._ids = ids
        self._store = store
        self._watch = watch
        self._snapshot = snapshot

    async def ask(self, principal: Principal, asked: KeptRequest) -> KeptAnswer:
        """Pass a request on to the deployment that made the response.

        Raises NotFound for a response that is not known, PermissionDenied for somebody else's, and UpstreamError.
        """
        kept = self._ids.find(asked.response_id, principal)
        deployment = self._deployment(kept)
        if asked.method == "DELETE":  # What it has cost could not be asked for any more.
            await self._watch.look_at(kept.deployment_id, kept.upstream_id)
        answer = await self._store.ask(
            deployment.target,
            asked.method,
            kept.upstream_id,
            below=asked.below,
            query=asked.query,
            stream=asked.wants_stream,
        )
        tell = self._ids.teller_like(kept)
        return KeptAnswer(
            status=answer.status,
            content_type=answer.content_type,
            body=IdReplacer(tell, known=kept.upstream_id).write(answer.body),
            chunks=KeptStream(answer.chunks, ResponsesReading(tell)) if answer.chunks is not None else None,
        )

    def _deployment(self, kept: KeptResponse) -> Deployment:
        found = self._snapshot().find(kept.model_group, team_id=kept.team_id)
        for each in found:
            if each.deployment_id == kept.deployment_id:
                return each
        raise NotFound(f"The deployment of '{kept.model_group[:256]}' that made this response is not there any more.")

"""`/cache/…`: the response cache, as administrators see it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import RequestBody, Text
from tallystick.admin.services import AdminServices
from tallystick.calls.caching.store import AnswerStore
from tallystick.errors import BadRequest

_KEYS_MAX = 1_000


class CacheKeys(RequestBody):
    """The answers to forget."""

    keys: Annotated[list[Text], Field(min_length=1, max_length=_KEYS_MAX)] = Field(
        description="As answers name them in the header `x-litellm-cache-key`."
    )


class CacheRoutes:
    """The endpoints. Where nothing is cached they answer 400."""

    def __init__(self, services: AdminServices) -> None:
        self._cache = services.cache
        self._type = services.cache_type

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Cache"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/cache/ping")(self.ping)
        router.post("/cache/delete")(self.delete)
        router.post("/cache/flushall")(self.flush)
        return router

    async def ping(self, request: Request, _caller: AnyCaller) -> Response:
        """Ask the cache whether it is there; 503 when it is not."""
        await self._store().ping()
        return json_answer(
            {"status": "healthy", "cache_type": self._type, "ping_response": True},
            headers=unknown_parameters(request, ()),
        )

    async def delete(self, _caller: AnyCaller, body: CacheKeys) -> Response:
        """Forget answers. A `local` cache is that of the worker that is asked."""
        deleted = await self._store().delete(body.keys)
        return json_answer({"status": "success", "deleted": deleted}, headers=ignored_fields(body.unknown_fields()))

    async def flush(self, request: Request, _caller: AnyCaller) -> Response:
        """Forget every answer, and nothing else that is in Redis. As above for a `local` cache."""
        deleted = await self._store().flush()
        return json_answer({"status": "success", "deleted": deleted}, headers=unknown_parameters(request, ()))

    def _store(self) -> AnswerStore:
        if self._cache is None:
            raise BadRequest("Nothing is cached here: set litellm_settings.cache to true.")
        return self._cache

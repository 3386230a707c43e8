"""The response cache, as the pipeline uses it: look up before a call is admitted, keep an answer when it is whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tallystick.access.principal import Principal
from tallystick.calls.caching.answer import CachedAnswer, decode_answer, encode_answer
from tallystick.calls.caching.controls import CacheControls, read_cache_controls
from tallystick.calls.caching.key import CacheScope, cache_key, scope_of
from tallystick.calls.caching.store import AnswerStore
from tallystick.calls.route import Route
from tallystick.control.deployment import Deployment
from tallystick.runtime.telemetry import Metrics
from tallystick.wire.call_request import CallRequest

_GOOD_STATUS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """What is cached, for whom and for how long."""

    endpoints: frozenset[str]
    scope: CacheScope
    namespace: str
    ttl_seconds: float
    is_on_by_default: bool
    answer_bytes_max: int


class AnswerCache:
    """The cache of one process."""

    def __init__(self, store: AnswerStore, rules: CacheRules, *, now: Callable[[], datetime], metrics: Metrics) -> None:
        self.store = store
        self._rules = rules
        self._now = now
        self._metrics = metrics

    async def look_up(
        self,
        request: CallRequest,
        headers: Mapping[bytes, bytes],
        principal: Principal,
        route: Route,
        tags: Sequence[str],
    ) -> CacheUse | None:
        """Return what the cache has for a call, and how its answer is to be kept. None: it has no part in the call.

        Raises BadRequest for a `cache` in the body that is not right.
        """
        rules = self._rules
        if request.endpoint not in rules.endpoints:
            return None
        controls = read_cache_controls(request.raw, headers)
        if not (rules.is_on_by_default or controls.use_cache) or route.options.mock_failure is not None:
            return None
        first = route.deployments[0]
        key = cache_key(
            request,
            scope=scope_of(principal, rules.scope),
            namespace=rules.namespace if controls.namespace is None else f"{rules.namespace}\n{controls.namespace}",
            model_group=first.model_group,
            model_team_id=first.team_id,
            tags=tags if route.settings.enable_tag_filtering else (),
        )
        if key is None:
            return None
        hit = None if route.fallbacks or controls.no_cache else await self._find(key, controls)
        return CacheUse(self, key, controls, hit)

    async def _find(self, key: str, controls: CacheControls) -> CachedAnswer | None:
        value = await self.store.get(key)
        found = None if value is None else decode_answer(value)
        age_max = controls.age_max_seconds
        if found is not None and age_max is not None and self._now().timestamp() - found.made_at > age_max:
            found = None
        self._metrics.cache_lookups.labels("miss" if found is None else "hit").inc()
        return found

    async def keep(self, use: CacheUse, answer: CachedAnswer) -> None:
        """Keep an answer for those who ask the same."""
        ttl_seconds = self._rules.ttl_seconds if use.controls.ttl is None else use.controls.ttl
        kept = await self.store.put(use.key, encode_answer(answer), ttl_seconds=ttl_seconds)
        self._metrics.cache_writes.labels("kept" if kept else "dropped").inc()

    def is_too_large(self, size_bytes: int) -> bool:
        """Whether an answer is too large to be kept."""
        return size_bytes > self._rules.answer_bytes_max

    def note_too_large(self) -> None:
        """Count an answer that is not kept."""
        self._metrics.cache_writes.labels("too_large").inc()

    def made_at(self) -> float:
        """Return the time of an answer that is made now."""
        return self._now().timestamp()


class CacheUse:
    """The cache's part in one call."""

    __slots__ = ("_cache", "_pieces", "_size", "controls", "hit", "key")

    def __init__(self, cache: AnswerCache, key: str, controls: CacheControls, hit: CachedAnswer | None) -> None:
        self.key = key
        self.controls = controls
        self.hit = hit
        self._cache = cache
        self._pieces: list[bytes] | None = None if controls.no_store else []
        """Of the answer; None when it is not to be kept."""
        self._size = 0

    def headers(self, *, hit: bool) -> list[tuple[bytes, bytes]]:
        """Return what the caller is told."""
        return [(b"x-litellm-cache-key", self.key.encode()), (b"x-litellm-cache-hit", b"True" if hit else b"False")]

    def forgo(self) -> None:
        """Do not keep the answer."""
        self._pieces = None

    def add(self, piece: bytes) -> None:
        """Take a piece of what the caller gets."""
        if self._pieces is None:
            return
        self._size += len(piece)
        if self._cache.is_too_large(self._size):
            self._cache.note_too_large()
            self._pieces = None
            return
        self._pieces.append(piece)

    async def keep(self, deployment: Deployment, *, status: int, content_type: str, response_id: str) -> None:
        """The pieces are the whole answer, it is good, and its event is in the journal: keep it."""
        if self._pieces is None or status != _GOOD_STATUS:
            return
        target = deployment.target
        answer = CachedAnswer(
            status=status,
            content_type=content_type,
            body=b"".join(self._pieces),
            made_at=self._cache.made_at(),
            response_id=response_id,
            deployment_id=deployment.deployment_id,
            provider=target.provider,
            model=target.model,
            api_base=target.api_base,
        )
        await self._cache.keep(self, answer)

"""Quotas: what is counted, over how long, and how much of it is allowed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from tallystick.access.scoped_limits import RateLimits, ScopedLimits
from tallystick.access.scopes import Scope

Kind = Literal["requests", "tokens", "parallel"]

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000


class Quota(NamedTuple):
    """One limit on one counter."""

    key: str
    """Names the counter, not the limit: a limit that is changed finds what was counted. No part of an id is in it."""
    scope: Scope
    kind: Kind
    window_ms: int
    """0 for parallel calls, which are counted while they run."""
    limit: int


def quota(scope: Scope, kind: Kind, window_ms: int, limit: int) -> Quota:
    """Return the quota of a scope. A negative limit is one of 0."""
    name = msgspec.msgpack.encode((*scope, window_ms))
    digest = hashlib.blake2b(name, digest_size=16).hexdigest()
    return Quota(f"{scope.type}:{kind}:{digest}", scope, kind, window_ms, max(0, limit))


def quotas_of(scoped: Sequence[ScopedLimits], model_group: str) -> tuple[Quota, ...]:
    """Return what bounds a call of this model: each counter once, with the least of its limits."""
    found: dict[str, Quota] = {}
    for each in scoped:
        for one in _quotas(each, model_group):
            known = found.get(one.key)
            if known is None or one.limit < known.limit:
                found[one.key] = one
    return tuple(found.values())


def quotas_of_rates(scope: Scope, rates: RateLimits) -> Iterator[Quota]:
    """Yield the quotas that the rates of one scope are."""
    if rates.requests_per_minute is not None:
        yield quota(scope, "requests", MINUTE_MS, rates.requests_per_minute)
    if rates.tokens_per_minute is not None:
        yield quota(scope, "tokens", MINUTE_MS, rates.tokens_per_minute)
    if rates.tokens_per_day is not None:
        yield quota(scope, "tokens", DAY_MS, rates.tokens_per_day)
    if rates.parallel_requests is not None:
        yield quota(scope, "parallel", 0, rates.parallel_requests)


def amounts_of(quotas: Sequence[Quota], tokens: int) -> tuple[int, ...]:
    """Return what a call takes of each quota.

    An estimate above a limit takes all of the limit: the call is admitted when nothing else was, and corrected
    afterwards. Else a call that only might use so much could never be made.
    """
    return tuple(max(1, min(tokens, each.limit)) if each.kind == "tokens" else 1 for each in quotas)


def _quotas(limits: ScopedLimits, model_group: str) -> Iterator[Quota]:
    if limits.rates is not None:
        yield from quotas_of_rates(limits.scope, limits.rates)
    of_model: Mapping[str, RateLimits] = limits.model_rates
    if of_model and model_group in of_model:
        yield from quotas_of_rates(limits.scope._replace(model=model_group), of_model[model_group])

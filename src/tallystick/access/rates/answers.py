"""What callers are told of rate limits: the refusal, and the headers of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tallystick.access.rates.quota import DAY_MS, Quota
from tallystick.access.rates.store import TakeReply
from tallystick.access.scopes import Scope
from tallystick.errors import RateLimited

_PARALLEL_RETRY_MS: Final = 1_000  # Nobody knows when a running call ends.
_NAMES: Final[Mapping[str, Callable[[Scope, str], str]]] = {
    "global": lambda *_: "the gateway",
    "key": lambda scope, caller: f"key '{caller or scope.id}'",
    "team_member": lambda scope, _: f"user '{scope.member_id}' in team '{scope.id}'",
    "organization_member": lambda scope, _: f"user '{scope.member_id}' in organization '{scope.id}'",
    "end_user": lambda scope, _: f"end user '{scope.id}'",
}


def rate_limited(
    quotas: Sequence[Quota], amounts: Sequence[int], reply: TakeReply, *, caller: str
) -> tuple[Quota, RateLimited]:
    """Return the quota without room that gets it last, and the error that says so."""
    wait_ms, place = max(
        (reply.wait_ms[place] or quota.window_ms or _PARALLEL_RETRY_MS, place)
        for place, quota in enumerate(quotas)
        if reply.used[place] + amounts[place] > quota.limit
    )
    quota = quotas[place]
    of_model = f" for the model '{quota.scope.model}'" if quota.scope.model else ""
    seconds = wait_ms / 1000
    message = (
        f"Rate limit of {_name(quota.scope, caller)}{of_model}: {_use(quota, reply.used[place], amounts[place])} "
        f"Try again in {_whole_seconds(wait_ms - 1)} s."
    )
    return quota, RateLimited(message, retry_after_seconds=seconds)


def rate_headers(quotas: Sequence[Quota], reply: TakeReply) -> list[tuple[bytes, bytes]]:
    """Return the headers that OpenAI's clients know: limit, what is left, and when some of it comes back."""
    headers: list[tuple[bytes, bytes]] = []
    for kind in ("requests", "tokens"):
        least: int | None = None
        tightest = 0
        for place, quota in enumerate(quotas):
            if quota.kind == kind:
                left = quota.limit - reply.used[place]
                if least is None or left < least:
                    least, tightest = left, place
        if least is not None:
            headers += (
                (b"x-ratelimit-limit-%b" % kind.encode(), b"%d" % quotas[tightest].limit),
                (b"x-ratelimit-remaining-%b" % kind.encode(), b"%d" % max(0, least)),
                (b"x-ratelimit-reset-%b" % kind.encode(), _duration(reply.wait_ms[tightest])),
            )
    return headers


def _name(scope: Scope, caller: str) -> str:
    name = _NAMES.get(scope.type)
    return name(scope, caller) if name is not None else f"{scope.type} '{scope.id}'"


def _use(quota: Quota, used: int, amount: int) -> str:
    if quota.kind == "parallel":
        return f"{used} of {quota.limit} parallel requests are running."
    per = "day" if quota.window_ms == DAY_MS else "minute"
    told = f"{used} of {quota.limit} {quota.kind} per {per} are used."
    return f"{told} This request may need {amount}." if quota.kind == "tokens" else told


def _whole_seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))


def _duration(milliseconds: int) -> bytes:
    """Write a time as OpenAI does: `850ms`, `12s`, `6m0s`, `2h3m0s`."""
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, seconds = divmod(_whole_seconds(milliseconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, seconds)
    return b"%dm%ds" % (minutes, seconds) if minutes else b"%ds" % seconds

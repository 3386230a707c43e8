"""What Bedrock counts, by Converse and in its streams."""

from __future__ import annotations

import msgspec

from tallystick.wire.usage import Usage

_COUNT_MAX = 1_000_000_000  # Above any model's limit: such a number is garbled.


class CacheDetail(msgspec.Struct, gc=False, rename="camel"):
    """How much was written into the cache for so long."""

    ttl: str | None = None
    input_tokens: int | None = None


class TokenUsage(msgspec.Struct, gc=False, rename="camel"):
    """`usage` of an answer."""

    input_tokens: int | None = None
    """Without those that were read from the cache or written into it."""
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[CacheDetail] | None = None


def normalize_usage(reported: TokenUsage) -> Usage | None:
    """Return it with the whole prompt as input; None when nothing was counted, or what was is garbled."""
    if reported.input_tokens is None and reported.output_tokens is None:
        return None
    read, written = reported.cache_read_input_tokens, reported.cache_write_input_tokens
    for_an_hour = [detail.input_tokens or 0 for detail in reported.cache_details or () if detail.ttl == "1h"]
    usage = Usage(
        input_tokens=(reported.input_tokens or 0) + (read or 0) + (written or 0),
        output_tokens=reported.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=sum(for_an_hour) if for_an_hour else None,
    )
    if all(count is None or 0 <= count <= _COUNT_MAX for count in msgspec.structs.astuple(usage)):
        return usage
    return None

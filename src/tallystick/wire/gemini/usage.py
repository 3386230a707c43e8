"""Usage as Gemini tells it: `usageMetadata`, with tokens by modality; to and fro."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from tallystick.wire.usage import Usage

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_COUNT_MAX: Final = 1_000_000_000  # Above any model's limit: such a number is garbled, and sums must stay in 64 bits.
_GENERATION = re.compile(r"gemini-(\d+)")
_BILLED_BY_QUERY_SINCE: Final = 3
"""Before this generation a prompt that was grounded by searching is billed once, however often it searched."""


class _Modality(msgspec.Struct, rename="camel", gc=False):
    modality: str = ""
    token_count: int | None = None


class UsageMetadata(msgspec.Struct, rename="camel", gc=False):
    """The `usageMetadata` object, of answers and of embeddings."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None
    tool_use_prompt_tokens_details: list[_Modality] | None = None
    prompt_token_details: list[_Modality] | None = None
    """What embeddings call `promptTokensDetails`."""


def normalize_usage(reported: UsageMetadata | None, *, searches: int | None = None) -> Usage | None:
    """Return the quantities in our terms; None when nothing was counted.

    What the provider's own tools put into the prompt is input, thoughts are output. Sound that was read from the cache
    is counted among what was read from it, and not once more among the sound.
    """
    if reported is None:
        return None if searches is None else Usage(searches=searches)
    heard = _tokens(
        (
            *(reported.prompt_tokens_details or ()),
            *(reported.prompt_token_details or ()),
            *(reported.tool_use_prompt_tokens_details or ()),
        )
    )
    cached = _tokens(reported.cache_tokens_details or ())
    made = _tokens(reported.candidates_tokens_details or ())
    usage = Usage(
        input_tokens=_sum(reported.prompt_token_count, reported.tool_use_prompt_token_count),
        output_tokens=_output(reported),
        cache_read_tokens=_count(reported.cached_content_token_count),
        reasoning_tokens=_count(reported.thoughts_token_count),
        audio_input_tokens=_without(heard.get("AUDIO"), cached.get("AUDIO")),
        audio_cache_read_tokens=cached.get("AUDIO"),
        audio_output_tokens=made.get("AUDIO"),
        image_input_tokens=_without(_images(heard), _images(cached)),
        image_output_tokens=made.get("IMAGE"),
        searches=searches,
    )
    return None if usage == _NOTHING else usage


def count_searches(model: str, queries: int) -> int | None:
    """Return what is billed for so many searches of the web; None for none."""
    if not queries:
        return None
    generation = _GENERATION.search(model)
    return 1 if generation is not None and int(generation[1]) < _BILLED_BY_QUERY_SINCE else queries


def write_usage(usage: Usage) -> JSON:
    """Return the `usageMetadata` object."""
    prompt, output, thoughts = usage.input_tokens or 0, usage.output_tokens or 0, usage.reasoning_tokens or 0
    candidates = max(0, output - thoughts)
    written: JSON = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + output,
    }
    if thoughts:
        written["thoughtsTokenCount"] = thoughts
    if usage.cache_read_tokens is not None:
        written["cachedContentTokenCount"] = usage.cache_read_tokens
    sound = _sum(usage.audio_input_tokens, usage.audio_cache_read_tokens)
    if sound or usage.image_input_tokens:
        written["promptTokensDetails"] = _details(prompt, sound, usage.image_input_tokens)
    if usage.audio_output_tokens or usage.image_output_tokens:
        written["candidatesTokensDetails"] = _details(candidates, usage.audio_output_tokens, usage.image_output_tokens)
    return written


_NOTHING = Usage()


def _tokens(details: Iterable[_Modality]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for each in details:
        count = _count(each.token_count)
        if count:
            tokens[each.modality] = tokens.get(each.modality, 0) + count
    return tokens


def _images(tokens: dict[str, int]) -> int | None:
    """Pages of documents are read, and billed, as pictures."""
    return _sum(tokens.get("IMAGE"), tokens.get("DOCUMENT"))


def _output(reported: UsageMetadata) -> int | None:
    """Return what was generated; an answer that was cut off while the model thought has no count of candidates."""
    return _sum(reported.candidates_token_count, reported.thoughts_token_count)


def _details(whole: int, sound: int | None, pictures: int | None) -> list[JSON]:
    counts = {"TEXT": whole - (sound or 0) - (pictures or 0), "AUDIO": sound, "IMAGE": pictures}
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count and count > 0]


def _sum(*counts: int | None) -> int | None:
    told = [count for count in map(_count, counts) if count is not None]
    return sum(told) if told else None


def _without(whole: int | None, part: int | None) -> int | None:
    return whole if whole is None or part is None else max(0, whole - part)


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _COUNT_MAX else None

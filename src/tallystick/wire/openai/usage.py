"""Usage, reported cost and reported errors as the OpenAI-compatible providers write them, brought into one shape."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import msgspec

from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage

_NANO = Decimal(1_000_000_000)
_COST_USD_MAX = Decimal(1_000_000)  # One call can't cost more: such a number is garbled, not money.
_COUNT_MAX = 1_000_000_000  # Above any model's limit: such a number is garbled, and sums must stay inside 64 bits.
_TICKS_PER_NANO_USD = 10  # xAI counts in ticks of 10⁻¹⁰ USD.


class PromptDetails(msgspec.Struct, gc=False):
    """Of which kinds the tokens of the prompt are."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Of which kinds the generated tokens are."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class CostDetails(msgspec.Struct, gc=False):
    """What a router paid to the model's provider."""

    upstream_inference_cost: Decimal | None = None


class _ToolDetails(msgspec.Struct, gc=False):
    web_search_requests: int | None = None


class ReportedUsage(msgspec.Struct, gc=False):
    """The `usage` object with the fields of every dialect."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # deepseek
    cached_tokens: int | None = None  # together, moonshot
    reasoning_tokens: int | None = None
    cost: msgspec.Raw = msgspec.Raw()  # openrouter: a number; perplexity: an object
    cost_details: CostDetails | None = None
    cost_in_usd_ticks: int | None = None  # xai
    is_byok: bool | None = None
    server_tool_use_details: _ToolDetails | None = None
    num_search_queries: int | None = None  # perplexity


class XGroq(msgspec.Struct, gc=False):
    """Groq's own envelope, which holds the usage of a stream that was not asked for one."""

    usage: ReportedUsage | None = None


def normalize_usage(reported: ReportedUsage) -> Usage | None:
    """Return the quantities in our terms; None when the provider counted nothing that we know.

    Counts below 0 or beyond any model are garbled. Such a part is not reported; with such a whole, nothing is.
    """
    prompt = reported.prompt_tokens_details
    completion = reported.completion_tokens_details
    reasoning = reported.reasoning_tokens
    if completion is not None and completion.reasoning_tokens is not None:
        reasoning = completion.reasoning_tokens
    cached = prompt.cached_tokens if prompt is not None else None
    if cached is None:
        cached = (
            reported.cached_tokens if reported.prompt_cache_hit_tokens is None else reported.prompt_cache_hit_tokens
        )
    output, reasoning = _with_unlisted_output(reported, reasoning)
    tools = reported.server_tool_use_details
    usage = Usage(
        input_tokens=reported.prompt_tokens,
        output_tokens=output,
        cache_read_tokens=cached,
        cache_write_tokens=_cache_writes(prompt) if prompt is not None else None,
        reasoning_tokens=reasoning,
        audio_input_tokens=prompt.audio_tokens if prompt is not None else None,
        audio_output_tokens=completion.audio_tokens if completion is not None else None,
        image_input_tokens=prompt.image_tokens if prompt is not None else None,
        image_output_tokens=completion.image_tokens if completion is not None else None,
        searches=tools.web_search_requests if tools is not None else reported.num_search_queries,
    )
    if not all(map(_is_count, msgspec.structs.astuple(usage))):
        usage = _without_garbled(usage)
    return None if usage == _NOTHING else usage


def reported_cost_nano_usd(reported: ReportedUsage) -> int | None:
    """Return the cost that the provider itself reports, exactly; None when it reports none.

    With an own key behind OpenRouter (`is_byok`) its `cost` is the router's fee, and what the model's provider
    charges comes on top.
    """
    ticks = reported.cost_in_usd_ticks
    if ticks is not None:
        return _nano_usd(Decimal(ticks) / (_NANO * _TICKS_PER_NANO_USD))
    cost = _decimal_of(bytes(reported.cost))
    if cost is not None and reported.is_byok and reported.cost_details is not None:
        cost += reported.cost_details.upstream_inference_cost or 0
    return None if cost is None else _nano_usd(cost)


def nano_usd_of_text(text: str) -> int | None:
    """Return a cost in USD, as other gateways write it into a header, in nano-USD; None when it is no such thing."""
    try:
        return _nano_usd(Decimal(text))
    except InvalidOperation:
        return None


def read_error(raw: bytes) -> ReportedError | None:
    """Read an `error` value: an object, or text. None for null and for nothing."""
    if not raw or raw == b"null":
        return None
    try:
        fields = _ERROR.decode(raw)
    except msgspec.MsgspecError:
        return ReportedError(message=raw[:1000].decode(errors="replace").strip('"'))
    return ReportedError(message=fields.message or "", type=fields.type or "", code=str(fields.code or ""))


class _ErrorFields(msgspec.Struct, gc=False):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _CostFields(msgspec.Struct, gc=False):
    total_cost: Decimal | None = None


_NOTHING = Usage()
_ERROR = msgspec.json.Decoder(_ErrorFields)
_COST = msgspec.json.Decoder(_CostFields)
_DECIMAL = msgspec.json.Decoder(Decimal)


def _with_unlisted_output(reported: ReportedUsage, reasoning: int | None) -> tuple[int | None, int | None]:
    """Return output and reasoning tokens, where some providers leave the thinking out of `completion_tokens`.

    xAI lists it beside them, and Gemini only shows it in the total. Elsewhere total = prompt + completion.
    """
    prompt, output, total = reported.prompt_tokens, reported.completion_tokens, reported.total_tokens
    if prompt is None or output is None or total is None or total <= prompt + output:
        return output, reasoning
    unlisted = total - prompt - output
    if reasoning is not None and reasoning != unlisted:
        return output, reasoning
    return output + unlisted, unlisted


def _is_count(value: int | None) -> bool:
    return value is None or 0 <= value <= _COUNT_MAX


def _without_garbled(usage: Usage) -> Usage:
    if not (_is_count(usage.input_tokens) and _is_count(usage.output_tokens)):
        return _NOTHING
    counts = msgspec.structs.asdict(usage)
    return Usage(**{name: value for name, value in counts.items() if _is_count(value)})


def _cache_writes(prompt: PromptDetails) -> int | None:
    return prompt.cache_creation_tokens if prompt.cache_write_tokens is None else prompt.cache_write_tokens


def _decimal_of(raw: bytes) -> Decimal | None:
    if not raw or raw == b"null":
        return None
    try:
        return _COST.decode(raw).total_cost if raw[:1] == b"{" else _DECIMAL.decode(raw)
    except msgspec.MsgspecError:
        return None


def _nano_usd(usd: Decimal) -> int | None:
    if not usd.is_finite() or not 0 <= usd <= _COST_USD_MAX:
        return None
    return int((usd * _NANO).to_integral_value(ROUND_HALF_EVEN))

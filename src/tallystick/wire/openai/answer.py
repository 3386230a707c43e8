"""Plain answers in OpenAI's dialect: the few facts that the ledger needs, read without building the whole body."""

from __future__ import annotations

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.openai.usage import (
    ReportedUsage,
    XGroq,
    normalize_usage,
    read_error,
    reported_cost_nano_usd,
)
from tallystick.wire.reported import AnswerFacts


def read_answer(body: bytes) -> AnswerFacts:
    """Read the facts of a plain answer. Raises UpstreamGarbled when the body is not a JSON object."""
    try:
        answer = _ANSWER.decode(body)
    except msgspec.ValidationError:
        return _read_odd_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _garbled(body, str(error)) from error
    reported = answer.usage
    if reported is None and answer.x_groq is not None:
        reported = answer.x_groq.usage
    failure = read_error(bytes(answer.error)) if answer.error else None
    if reported is None:
        return AnswerFacts(None, answer.id or "", answer.model or "", None, failure)
    cost = reported_cost_nano_usd(reported)
    return AnswerFacts(normalize_usage(reported), answer.id or "", answer.model or "", cost, failure)


class _Answer(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: ReportedUsage | None = None
    x_groq: XGroq | None = None
    error: msgspec.Raw = msgspec.Raw()


class _OddAnswer(msgspec.Struct, gc=False):
    """The same fields with any type, for an answer that has an unexpected one."""

    id: object = None
    model: object = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


# Counts may come as 12.0 or "12"; a count that can't be read must not cost us the others.
_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_ODD_ANSWER = msgspec.json.Decoder(_OddAnswer)
_USAGE = msgspec.json.Decoder(ReportedUsage, strict=False)


def _read_odd_answer(body: bytes) -> AnswerFacts:
    try:
        answer = _ODD_ANSWER.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _garbled(body, str(error)) from error
    response_id = answer.id if isinstance(answer.id, str) else ""
    model = answer.model if isinstance(answer.model, str) else ""
    failure = read_error(bytes(answer.error))
    try:
        reported = _USAGE.decode(answer.usage)
    except msgspec.MsgspecError:
        return AnswerFacts(None, response_id, model, None, failure)
    return AnswerFacts(normalize_usage(reported), response_id, model, reported_cost_nano_usd(reported), failure)


def _garbled(body: bytes, reason: str) -> UpstreamGarbled:
    kind = "an empty body" if not body.strip() else "a body that is not a JSON object"
    return UpstreamGarbled(f"The upstream answered with {kind}: {reason}")

"""Answers of Gemini: one shape for a whole answer and for each event of a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from tallystick.errors import UpstreamGarbled
from tallystick.wire.conversation import Text, Thinking, ToolCall
from tallystick.wire.error_envelope import read_error_text
from tallystick.wire.gemini.stop import stop_reason
from tallystick.wire.gemini.usage import UsageMetadata, count_searches, normalize_usage
from tallystick.wire.reply import Reply, ReplyPart, StopReason
from tallystick.wire.reported import AnswerFacts, ReportedError
from tallystick.wire.usage import Usage

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")
_ID_CHARACTERS_MAX: Final = 30


class FunctionCall(msgspec.Struct, gc=False):
    """The model asks for a tool; older models give no id."""

    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()


class AnswerPart(msgspec.Struct, rename="camel", gc=False):
    """A part of an answer; of those that only Gemini has, only the signature is looked at."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[AnswerPart] | None = None


class _Grounding(msgspec.Struct, rename="camel", gc=False):
    web_search_queries: list[str] | None = None


class Candidate(msgspec.Struct, rename="camel", gc=False):
    """One of the answers; nobody who needs a translation can ask for more than one."""

    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None
    grounding_metadata: _Grounding | None = None

    @property
    def parts(self) -> list[AnswerPart]:
        """What it says."""
        return (self.content.parts or []) if self.content is not None else []


class _PromptFeedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None


class GeminiAnswer(msgspec.Struct, rename="camel", gc=False):
    """The body of an answer, or the data of an event."""

    response_id: str | None = None
    model_version: str | None = None
    candidates: list[Candidate] | None = None
    prompt_feedback: _PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    error: msgspec.Raw = msgspec.Raw()

    @property
    def is_blocked(self) -> bool:
        """Whether the prompt was refused, so that there is no candidate."""
        return self.prompt_feedback is not None and bool(self.prompt_feedback.block_reason)

    @property
    def search_queries(self) -> int:
        """How often the web was searched."""
        return sum(
            sum(1 for query in candidate.grounding_metadata.web_search_queries or () if query)
            for candidate in self.candidates or ()
            if candidate.grounding_metadata is not None
        )

    def usage(self, *, queries: int | None = None) -> Usage | None:
        """Return what was used; `queries` as of a whole stream."""
        count = self.search_queries if queries is None else queries
        return normalize_usage(self.usage_metadata, searches=count_searches(self.model_version or "", count))


class _Billed(msgspec.Struct, rename="camel", gc=False):
    """The fields that money depends on, for an answer that is odd elsewhere."""

    usage_metadata: UsageMetadata | None = None


_ANSWER = msgspec.json.Decoder(GeminiAnswer, strict=False)
_BILLED = msgspec.json.Decoder(_Billed, strict=False)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_answer(data: bytes) -> GeminiAnswer:
    """Read an answer or an event. Raises UpstreamGarbled when it is none."""
    try:
        return _ANSWER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"The upstream answered with a body that is none of Gemini's: {error}") from error


def read_facts(body: bytes) -> AnswerFacts:
    """Read the facts of a plain answer that passes through. Raises UpstreamGarbled when it is no JSON object."""
    try:
        answer = _ANSWER.decode(body)
    except msgspec.ValidationError:
        return _read_odd(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_object(error) from error
    return AnswerFacts(
        answer.usage(), answer.response_id or "", answer.model_version or "", None, failure_in(answer.error)
    )


def failure_in(error: msgspec.Raw) -> ReportedError | None:
    """Read the `error` of an answer or an event."""
    raw = bytes(error)
    if not raw or raw == b"null":
        return None
    try:
        fields = _ERROR.decode(raw)
    except msgspec.MsgspecError:
        return read_error_text(raw)
    return ReportedError(fields.message or fields.status or "", type=fields.status or "", code=str(fields.code or ""))


def read_reply(body: bytes) -> Reply:
    """Read a whole answer. Raises UpstreamGarbled when it is none."""
    answer = read_answer(body)
    failure = failure_in(answer.error)
    if not answer.candidates and not answer.is_blocked and failure is None:
        raise UpstreamGarbled("The upstream answered with a body that has no candidate.")
    candidate = answer.candidates[0] if answer.candidates else Candidate()
    names = CallNames(answer.response_id or "")
    parts = tuple(part for given in candidate.parts if (part := reply_part(given, names)) is not None)
    return Reply(
        id=answer.response_id or "",
        model=answer.model_version or "",
        parts=_joined(parts),
        stop_reason=why_stopped(answer, candidate, called_tools=names.given > 0),
        usage=answer.usage(),
        error=failure,
    )


def why_stopped(answer: GeminiAnswer, candidate: Candidate, *, called_tools: bool) -> StopReason | None:
    """Return why it stopped; None while it goes on."""
    if answer.is_blocked:
        return "refusal"
    return stop_reason(candidate.finish_reason, called_tools=called_tools)


def reply_part(given: AnswerPart, names: CallNames) -> ReplyPart | None:
    """Return a part; None for those that no other dialect has.

    The signature of text has no place elsewhere, and Gemini does without it; that of a tool call it wants back.
    """
    signature = given.thought_signature or ""
    call = given.function_call
    if call is not None:
        arguments = bytes(call.args).decode() or "{}"
        return ToolCall(
            id=names.id_of(call),
            name=call.name,
            arguments="{}" if arguments == "null" else arguments,
            signature=signature,
        )
    if given.thought:
        return Thinking(text=given.text or "", signature=signature) if given.text or signature else None
    return Text(given.text) if given.text else None


class CallNames:
    """Ids for the tool calls of one answer: their own, or made up ones that no other answer has."""

    def __init__(self, response_id: str) -> None:
        self._prefix = f"call_{_NOT_IN_ID.sub('', response_id)[:_ID_CHARACTERS_MAX]}_"
        self.given = 0
        """How many calls there were."""

    def id_of(self, call: FunctionCall) -> str:
        """Return the id of the next call."""
        self.given += 1
        return call.id or f"{self._prefix}{self.given}"


class _Error(msgspec.Struct, gc=False):
    code: int | str | None = None
    message: str | None = None
    status: str | None = None


_ERROR = msgspec.json.Decoder(_Error)


def _read_odd(body: bytes) -> AnswerFacts:
    try:
        _OBJECT.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _no_object(error) from error
    try:
        return AnswerFacts(normalize_usage(_BILLED.decode(body).usage_metadata), "", "", None)
    except msgspec.MsgspecError:
        return AnswerFacts(None, "", "", None)


def _no_object(error: Exception) -> UpstreamGarbled:
    return UpstreamGarbled(f"The upstream answered with a body that is not a JSON object: {error}")


def _joined(parts: tuple[ReplyPart, ...]) -> tuple[ReplyPart, ...]:
    """Join texts that follow each other, and thoughts: where they were cut has no meaning."""
    return tuple(_join(parts))


def _join(parts: tuple[ReplyPart, ...]) -> Iterator[ReplyPart]:
    last: ReplyPart | None = None
    for part in parts:
        if isinstance(last, Text) and isinstance(part, Text):
            last = Text(last.text + part.text)
        elif isinstance(last, Thinking) and isinstance(part, Thinking) and not last.signature:
            last = Thinking(text=last.text + part.text, signature=part.signature)
        else:
            if last is not None:
                yield last
            last = part
    if last is not None:
        yield last

"""Streams of Gemini, read into deltas. Each event is an answer by itself; no event says that it is the last."""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.wire.conversation import Text, Thinking, ToolCall
from tallystick.wire.gemini.answer import (
    CallNames,
    Candidate,
    GeminiAnswer,
    failure_in,
    read_answer,
    reply_part,
    why_stopped,
)
from tallystick.wire.reply import (
    Begun,
    Delta,
    Failed,
    PartBegun,
    PartEnded,
    PartGrown,
    PartSigned,
    ReplyPart,
    Stopped,
    UsageTold,
)


class GeminiEvents:
    """Reads the events of one stream."""

    def __init__(self) -> None:
        self._names: CallNames | None = None
        self._parts = 0
        self._open: ReplyPart | None = None
        """The part that grows now: a text or thoughts. A tool call comes whole."""
        self._has_stopped = False
        self._queries = 0

    def read(self, _name: bytes, data: bytes) -> list[Delta]:
        """Return what an event says. Raises UpstreamGarbled."""
        answer = read_answer(data)
        failure = failure_in(answer.error)
        if failure is not None:
            return [Failed(failure)]
        deltas: list[Delta] = []
        if self._names is None:
            self._names = CallNames(answer.response_id or "")
            deltas.append(Begun(id=answer.response_id or "", model=answer.model_version or ""))
        candidate = next((each for each in answer.candidates or () if each.index == 0), None)
        deltas += self._read_candidate(answer, candidate or Candidate(), self._names)
        self._queries = max(self._queries, answer.search_queries)
        if answer.usage_metadata is not None:
            usage = answer.usage(queries=self._queries)
            if usage is not None:
                deltas.append(UsageTold(usage=usage, final=self._has_stopped))
        return deltas

    def _read_candidate(self, answer: GeminiAnswer, candidate: Candidate, names: CallNames) -> Iterator[Delta]:
        for given in candidate.parts:
            part = reply_part(given, names)
            if part is not None:
                yield from self._take(part)
        reason = why_stopped(answer, candidate, called_tools=names.given > 0)
        if reason is not None and not self._has_stopped:
            yield from self._end_part()
            self._has_stopped = True
            yield Stopped(reason)

    def _take(self, part: ReplyPart) -> Iterator[Delta]:
        if isinstance(part, ToolCall):
            yield from self._end_part()
            yield PartBegun(self._parts, part)
            yield PartEnded(self._parts)
            self._parts += 1
            return
        if type(self._open) is not type(part):
            yield from self._end_part()
            self._open = Thinking() if isinstance(part, Thinking) else Text("")
            yield PartBegun(self._parts, self._open)
            self._parts += 1
        if isinstance(part, Text | Thinking) and part.text:
            yield PartGrown(self._parts - 1, part.text)
        if isinstance(part, Thinking) and part.signature:
            yield PartSigned(self._parts - 1, part.signature)

    def _end_part(self) -> Iterator[Delta]:
        if self._open is not None:
            self._open = None
            yield PartEnded(self._parts - 1)

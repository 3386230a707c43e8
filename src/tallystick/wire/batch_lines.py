"""The lines of a batch's files: calls that go in, answers that come out. JSON, one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from tallystick.errors import BadRequest, UpstreamGarbled
from tallystick.wire.openai.answer import read_answer
from tallystick.wire.responses.answer import read_facts
from tallystick.wire.token_estimate import estimate_output_tokens
from tallystick.wire.usage import Usage

_T = TypeVar("_T")
ENDPOINTS: Final = frozenset(
    ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/moderations")
)
"""What calls in a batch may ask for: what can be priced by its answers."""
LINES_MAX: Final = 1_000_000
LINE_BYTES_MAX: Final = 64 * 1024 * 1024


class InputLine(NamedTuple):
    """One call of a batch."""

    model: str
    fields: dict[str, msgspec.Raw]
    body: dict[str, msgspec.Raw]
    output_tokens: int
    """The most that it may generate; 0 where it sets no limit."""

    def written(self, model: str) -> bytes:
        """Return the line with another model; all other values stay as they came."""
        body = {**self.body, "model": msgspec.Raw(_ENCODER.encode(model))}
        return _ENCODER.encode({**self.fields, "body": msgspec.Raw(_ENCODER.encode(body))})


class OutputLine(NamedTuple):
    """What one answer of a batch says."""

    usage: Usage | None
    reported_cost_nano_usd: int | None
    is_failure: bool
    is_estimated: bool


def read_input_line(raw: bytes, number: int) -> InputLine:
    """Read a call. Raises BadRequest that names the line and the field."""
    try:
        fields = _FIELDS.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(number, "", f"it is no JSON object ({error})") from error
    line = _decoded(raw, number, "", _LINE)
    if not line.custom_id:
        raise _wrong(number, "custom_id", "it is missing: give a text by which to find the answer")
    if line.method != "POST":
        raise _wrong(number, "method", "it must be POST")
    if endpoint_of(line.url) is None:
        raise _wrong(number, "url", f"it must be one of {', '.join(sorted(ENDPOINTS))}")
    if not bytes(line.body).lstrip().startswith(b"{"):
        raise _wrong(number, "body", "it must be an object")
    body = _FIELDS.decode(line.body)
    said = _decoded(line.body, number, "body", _BODY)
    if not said.model:
        raise _wrong(number, "body.model", "it is missing: give the name of a model group")
    if said.previous_response_id is not None:
        raise _wrong(number, "body.previous_response_id", "calls in a batch can't go on from a response")
    limits = [limit for limit in (said.max_tokens, said.max_completion_tokens, said.max_output_tokens) if limit]
    choices = max(said.n or 1, said.best_of or 1, 1) * _prompts(bytes(said.prompt))
    return InputLine(said.model, fields, body, max(0, max(limits, default=0)) * choices)


def _prompts(raw: bytes) -> int:
    """Return how many prompts a `prompt` holds: each is answered on its own. A list of numbers is one."""
    if not raw.startswith(b"["):
        return 1
    items = _ITEMS.decode(raw)
    return max(1, sum(each[:1] in (b'"', b"[") for each in map(bytes, items)))


def read_output_line(raw: bytes, endpoint: str) -> OutputLine | None:
    """Read an answer by the same readers that read live ones; None for a line that is none."""
    try:
        line = _RESULT.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    response = line.response
    if response is None or response.status_code >= 400:
        return OutputLine(None, None, is_failure=True, is_estimated=False)
    body = bytes(response.body)
    try:
        facts = read_facts(body) if endpoint_of(endpoint) == "/v1/responses" else read_answer(body)
    except UpstreamGarbled:
        return None
    if facts.usage is not None:
        return OutputLine(facts.usage, facts.reported_cost_nano_usd, is_failure=False, is_estimated=False)
    if endpoint_of(endpoint) == "/v1/moderations":
        return OutputLine(None, None, is_failure=False, is_estimated=False)
    if facts.error is not None:
        return OutputLine(None, None, is_failure=True, is_estimated=False)
    usage = Usage(output_tokens=estimate_output_tokens(len(body)))
    return OutputLine(usage, None, is_failure=False, is_estimated=True)


def endpoint_of(url: str) -> str | None:
    """Return the endpoint that a url means; Azure leaves the version away. None for any other."""
    whole = url if url.startswith("/v1/") else f"/v1{url}"
    return whole if whole in ENDPOINTS else None


class LineSplitter:
    """Turns chunks into lines; holds one line at most, and gives up on one that is too long."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.oversized = 0
        """How many lines were left out."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete now, without empty ones."""
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._keep(piece)
            yield from self.finish()
        self._keep(rest)

    def finish(self) -> Iterator[bytes]:
        """Yield the last line."""
        line, size = b"".join(self._parts), self._size
        self._parts, self._size = [], 0
        if size > LINE_BYTES_MAX:
            self.oversized += 1
        elif line := line.strip():
            yield line

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > LINE_BYTES_MAX:
            self._parts = []
        elif piece:
            self._parts.append(piece)


class _Line(msgspec.Struct, gc=False):
    custom_id: str | None = None
    method: str = "POST"
    url: str = ""
    body: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct, gc=False):
    model: str = ""
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    prompt: msgspec.Raw = msgspec.Raw(b"null")
    previous_response_id: str | None = None


class _Response(msgspec.Struct, gc=False):
    status_code: int = 200
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Result(msgspec.Struct, gc=False):
    response: _Response | None = None


_ENCODER = msgspec.json.Encoder()
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_LINE = msgspec.json.Decoder(_Line)
_BODY = msgspec.json.Decoder(_Body)
_RESULT = msgspec.json.Decoder(_Result, strict=False)


def _decoded(raw: bytes | msgspec.Raw, number: int, within: str, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        field = ".".join(part for part in (within, place.rstrip("`").lstrip(".")) if part)
        raise _wrong(number, field, reason) from error


def _wrong(number: int, field: str, reason: str) -> BadRequest:
    where = f", '{field}'" if field else ""
    return BadRequest(f"The file's line {number}{where}: {reason}.", param=field or "file")

"""Files and batches as OpenAI's API describes them: read for what matters, written with other ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from tallystick.errors import BadRequest, UpstreamGarbled

_T = TypeVar("_T")
ENDED: Final = frozenset(("completed", "failed", "expired", "cancelled"))
JOB_MARK: Final = "tallystick_job_id"
"""The key in a batch's metadata by which we find a batch of which we don't know whether the upstream has it."""
METADATA_MAX: Final = 16
"""How many keys an upstream takes."""


class RequestCounts(msgspec.Struct, gc=False):
    """How many calls a batch has."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchError(msgspec.Struct, gc=False):
    """Why a batch was not begun."""

    code: str | None = None
    message: str | None = None


class BatchErrors(msgspec.Struct, gc=False):
    """All reasons."""

    data: list[BatchError] | None = None


class BatchObject(msgspec.Struct, gc=False):
    """What an upstream says of a batch."""

    id: str = ""
    status: str = ""
    endpoint: str = ""
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: RequestCounts | None = None
    errors: BatchErrors | None = None
    metadata: dict[str, Any] | None = None  # Any: the caller's own JSON.

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def job_id(self) -> str:
        """Our own id of it; '' when it is none of ours."""
        mark = (self.metadata or {}).get(JOB_MARK)
        return mark if isinstance(mark, str) else ""

    @property
    def first_error(self) -> BatchError:
        listed = self.errors.data if self.errors is not None else None
        return listed[0] if listed else BatchError()


class BatchRequest(msgspec.Struct):
    """What a caller asks for."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, Any] | None = None  # Any: checked by whoever forwards it.
    output_expires_after: dict[str, Any] | None = None  # Any: the upstream's own.


class BatchList(msgspec.Struct, gc=False):
    """A page of an upstream's batches."""

    data: list[BatchObject] = []
    has_more: bool = False


class _Named(msgspec.Struct, gc=False):
    id: str


def read_batch(body: bytes) -> BatchObject:
    """Read a batch. Raises UpstreamGarbled."""
    return _read(body, _BATCH, "batch")


def read_batch_list(body: bytes) -> BatchList:
    """Read a page of batches. Raises UpstreamGarbled."""
    return _read(body, _BATCH_LIST, "list of batches")


def id_of(body: bytes) -> str:
    """Return the id of a file or a batch. Raises UpstreamGarbled."""
    return _read(body, _NAMED, "file").id


def read_batch_request(body: bytes) -> BatchRequest:
    """Read what a caller asks for. Raises BadRequest."""
    try:
        return _REQUEST.decode(body)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise BadRequest(f"{reason}.", param=place.rstrip("`").lstrip(".") or None) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The request body is not a JSON object: {error}.") from error


def write_batch_request(asked: BatchRequest, *, input_file_id: str, job_id: str) -> bytes:
    """Return what goes to the upstream."""
    metadata = {**(asked.metadata or {}), JOB_MARK: job_id}
    body: dict[str, object] = {
        "input_file_id": input_file_id,
        "endpoint": asked.endpoint,
        "completion_window": asked.completion_window,
        "metadata": metadata,
    }
    if asked.output_expires_after is not None:
        body["output_expires_after"] = asked.output_expires_after
    return _ENCODER.encode(body)


def with_ids(body: bytes, ids: Mapping[str, str]) -> bytes:
    """Return an object with other ids in the fields that have one, and without our mark. Raises UpstreamGarbled."""
    fields = _read(body, _FIELDS, "object")
    for name, value in ids.items():
        if name in fields:
            fields[name] = msgspec.Raw(_ENCODER.encode(value))
    metadata = fields.get("metadata")
    if metadata is not None and JOB_MARK.encode() in bytes(metadata):
        kept = {name: value for name, value in _FIELDS.decode(metadata).items() if name != JOB_MARK}
        fields["metadata"] = msgspec.Raw(_ENCODER.encode(kept or None))
    return _ENCODER.encode(fields)


def write_page(objects: Sequence[bytes], *, ids: Sequence[str], has_more: bool) -> bytes:
    """Return a page of objects, in OpenAI's shape."""
    return _ENCODER.encode(
        {
            "object": "list",
            "data": [msgspec.Raw(each) for each in objects],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": has_more,
        }
    )


_ENCODER = msgspec.json.Encoder()
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BATCH = msgspec.json.Decoder(BatchObject)
_BATCH_LIST = msgspec.json.Decoder(BatchList)
_NAMED = msgspec.json.Decoder(_Named)
_REQUEST = msgspec.json.Decoder(BatchRequest)


def _read(body: bytes, decoder: msgspec.json.Decoder[_T], what: str) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"The upstream answered with a body that is no {what}: {error}") from error

"""The file that a batch reads: each call's model is checked, and becomes what the upstream calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from tallystick.access.principal import Principal
from tallystick.calls.model_choice import choose_model
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest, ModelNotAllowed
from tallystick.wire.batch_lines import LINES_MAX, read_input_line

_LINES_AT_ONCE: Final = 500
_BYTES_PER_TOKEN: Final = 3


class InputFile(NamedTuple):
    """What goes to the upstream, and what it asks for."""

    content: bytes
    calls: int
    input_tokens: int
    output_tokens: int


class _Models:
    """What the lines' models are at one deployment."""

    def __init__(self, principal: Principal, snapshot: Snapshot, deployment: Deployment) -> None:
        self._principal = principal
        self._snapshot = snapshot
        self._deployment = deployment
        self._known: dict[str, str] = {}

    def upstream_name(self, model: str, number: int) -> str:
        """Return what the deployment's upstream calls a model. Raises BadRequest, ModelNotAllowed."""
        known = self._known.get(model)
        if known is None:
            known = self._known[model] = self._find(model, number)
        return known

    def _find(self, model: str, number: int) -> str:
        field = f"The file's line {number}, 'body.model'"
        for each in members_of(self._principal, model, self._snapshot, field):
            if each.deployment_id == self._deployment.deployment_id:
                return each.target.model
        raise BadRequest(
            f"{field}: the file goes to the model '{self._deployment.model_group[:256]}', and '{model[:256]}' is "
            "another one. Put the calls of each model into a file of their own.",
            param="body.model",
        )


def first_model(content: bytes) -> str:
    """Return the model of a file's first call. Raises BadRequest."""
    start = 0
    number = 1
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if line := content[start:end].strip():
            return read_input_line(line, number).model
        start, number = end + 1, number + 1
    raise BadRequest("The file has no lines: give one call a line, as JSON.", param="file")


def members_of(principal: Principal, model: str, snapshot: Snapshot, field: str) -> Sequence[Deployment]:
    """Return the deployments of a model that a caller may call; refusals name the field."""
    try:
        return choose_model(principal, model, snapshot)
    except ModelNotAllowed as error:
        raise ModelNotAllowed(f"{field}: {error.message}", error_type=error.error_type, param="body.model") from error
    except BadRequest as error:
        raise BadRequest(f"{field}: {error.message}", param="body.model") from error


async def rewritten(content: bytes, *, principal: Principal, snapshot: Snapshot, deployment: Deployment) -> InputFile:
    """Return the file as the upstream is to have it. Raises BadRequest and ModelNotAllowed, which name line and field.

    Others get their turn after every few hundred lines.
    """
    models = _Models(principal, snapshot, deployment)
    written: list[bytes] = []
    output_tokens = start = number = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        raw, start, number = content[start:end].strip(), end + 1, number + 1
        if not raw:
            continue
        line = read_input_line(raw, number)
        written.append(line.written(models.upstream_name(line.model, number)))
        output_tokens += line.output_tokens
        if len(written) > LINES_MAX:
            raise BadRequest(f"The file has more than {LINES_MAX} calls.", param="file")
        if number % _LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
    if not written:
        raise BadRequest("The file has no lines: give one call a line, as JSON.", param="file")
    whole = b"\n".join(written) + b"\n"
    return InputFile(whole, len(written), max(1, len(whole) // _BYTES_PER_TOKEN), output_tokens)

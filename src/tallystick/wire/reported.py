"""What an upstream's answer says about itself, in the shape of no dialect."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from tallystick.wire.usage import Usage


class ReportedError(msgspec.Struct, frozen=True):
    """An error that an upstream reports: in an answer with an error status, or inside one that began with 200."""

    message: str
    type: str = ""
    code: str = ""


class AnswerFacts(NamedTuple):
    """What the ledger needs of an answer."""

    usage: Usage | None
    response_id: str
    model: str
    reported_cost_nano_usd: int | None
    error: ReportedError | None = None
    """Some routers answer 200 and say inside that the model failed."""
    service_tier: str = ""
    """See `wire.service_tier`."""

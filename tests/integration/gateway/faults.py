"""The fault matrix: what an upstream may do, which policy answers, what the caller sees, what the ledger holds.

`docs/explanation/routing.md` has one line for each; a test compares them.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One line of the matrix, for a deployment that is the only one of its group."""

    name: str
    """As in the table."""
    model: str
    """The script of the tests' upstream."""
    stream: bool
    attempts: int
    """How many there are when nothing else answers, with `num_retries: 2`."""
    status: int
    """What the caller sees then."""
    error_class: str
    """What the event says then."""
    usage_source: str
    """What is billed then: nothing, or an estimate."""
    fails_over: bool
    """Whether a fallback answers in its place."""
    pauses: tuple[float, ...] | None = None
    """Before the attempts after the first; None: half a second and one second, less jitter."""


FAULTS = (
    Fault("refuses the connection", "refuse", False, 3, 502, "UpstreamUnreachable", "none", True),
    Fault("resets it without an answer", "reset", False, 3, 502, "UpstreamUnreachable", "none", True),
    Fault("does not answer in time", "hang", False, 3, 504, "UpstreamTimeout", "none", True),
    Fault("429 with `retry-after: 7`", "status:429", False, 3, 429, "UpstreamRefused", "none", True, (7.0, 7.0)),
    Fault("429 without", "bare:429", False, 3, 429, "UpstreamRefused", "none", True),
    Fault("429 with `retry-after: 3600`", "later:3600", False, 1, 429, "UpstreamRefused", "none", True, ()),
    Fault("500", "bare:500", False, 3, 500, "UpstreamRefused", "none", True),
    Fault("503 as HTML", "html:503", False, 3, 503, "UpstreamRefused", "none", True),
    Fault("401", "bare:401", False, 1, 401, "UpstreamRefused", "none", True, ()),
    Fault("404", "bare:404", False, 1, 404, "UpstreamRefused", "none", True, ()),
    Fault("400", "bare:400", False, 1, 400, "UpstreamRefused", "none", True, ()),
    Fault("200 that is not JSON", "garbage", False, 3, 502, "UpstreamGarbled", "estimated", True),
    Fault("200 with an error inside", "inside", False, 3, 200, "server_error", "estimated", True),
    Fault("breaks off in a plain answer", "half", False, 3, 502, "UpstreamGarbled", "none", True),
    Fault("a stream's first byte comes late", "late", True, 3, 504, "UpstreamTimeout", "none", True),
    Fault("a stream's first event is an error", "first_error", True, 3, 503, "UpstreamRefused", "none", True),
    Fault("a stream ends before its first event", "empty", True, 3, 502, "UpstreamGarbled", "none", True),
    Fault("a stream breaks off in the middle", "reset", True, 1, 200, "UpstreamGarbled", "estimated", False, ()),
    Fault("a stream pauses too long in the middle", "hang", True, 1, 200, "UpstreamTimeout", "estimated", False, ()),
)

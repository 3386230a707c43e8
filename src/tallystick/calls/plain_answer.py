"""An answer that is there as a whole; its event is in the journal."""

from __future__ import annotations

from tallystick.calls.admission import Headers
from tallystick.ledger.event import SpendEvent


class PlainAnswer:
    """What leaves for the caller; a stream that was kept is one too."""

    __slots__ = ("body", "content_type", "event", "headers", "status")

    def __init__(
        self, *, status: int, content_type: str, body: bytes, headers: Headers, event: SpendEvent | None = None
    ) -> None:
        """`event` is the call's; None where it comes later, because the provider goes on in the background."""
        self.status = status
        self.content_type = content_type
        self.body = body
        self.headers = headers
        self.event = event

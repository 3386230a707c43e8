"""An answer that is there as a whole; its event is in the journal."""

from __future__ import annotations

from tallystick.calls.admission import Headers


class PlainAnswer:
    """What leaves for the caller; a stream that was kept is one too."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, *, status: int, content_type: str, body: bytes, headers: Headers) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.headers = headers

"""A limit on the head of a request: uvicorn's parser has none, and who sends a head needs no key."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tallystick.wire.error_envelope import envelope

HEAD_BYTES_MAX = 64 * 1024
"""Request line and headers. The bytes that came along with the end of another request are not counted."""

_BODY = envelope(
    message=f"The request's headers are longer than {HEAD_BYTES_MAX} bytes.",
    error_type="invalid_request_error",
    param=None,
    code="431",
)
_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)


class BoundedHeadProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not come to the end of its headers within the limit."""

    _is_in_head = True
    _head_bytes = 0
    _chunk_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._chunk_bytes = len(data)
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self._refuse()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = True
        self._head_bytes = -self._chunk_bytes
        super().on_message_complete()

    def _refuse(self) -> None:
        earlier: RequestResponseCycle | None = self.cycle  # None before the first request, though its type denies it.
        if earlier is None or earlier.response_complete:  # Else the answer to the request before is under way.
            self.transport.write(_ANSWER)
        self.transport.close()

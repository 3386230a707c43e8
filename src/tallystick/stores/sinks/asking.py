"""Requests to sinks, with their failures in the ledger's terms."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.errors import SinkUnavailable, UpstreamError
from tallystick.providers.aws_identity import AWSIdentity, AWSSigner
from tallystick.providers.destination import Destination
from tallystick.providers.transport import RawAnswer, Transport


class Asker:
    """Sends one request at a time to one destination, signed where an identity is given."""

    def __init__(
        self,
        transport: Transport,
        *,
        timeout_seconds: float,
        signer: AWSSigner | None = None,
        identity: AWSIdentity | None = None,
        service: str = "",
    ) -> None:
        self._transport = transport
        self._timeout_seconds = timeout_seconds
        self._signer = signer
        self._identity = identity
        self._service = service

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> RawAnswer:
        """Return the answer, of any status. Raises SinkUnavailable when there is none; nothing secret is in it."""
        try:
            if self._signer is not None and self._identity is not None:
                headers = await self._signer.sign(
                    self._identity, service=self._service, url=url, headers=headers, body=body, method=method
                )
            destination = Destination(url, headers)
            return await self._transport.send(method, destination, body, timeout_seconds=self._timeout_seconds)
        except UpstreamError as error:
            raise SinkUnavailable(error.message) from error


def unavailable(answer: RawAnswer, what: str = "") -> SinkUnavailable:
    """Return the error for an answer that is not what was asked for; it says when to come again."""
    told = f"it answered with status {answer.status}"
    return SinkUnavailable(f"{told}: {what}" if what else told, retry_after_seconds=_retry_after(answer))


def _retry_after(answer: RawAnswer) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None

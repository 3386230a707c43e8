"""TLS with certificates made here: whom the client believes, and what it says when it does not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
import uvloop

from tallystick.errors import UpstreamGarbled, UpstreamUnreachable
from tallystick.providers.destination import Destination
from tallystick.providers.transport import Transport
from unit.providers.wires import SECRET, answering, chunked, plain, then, upstream


def make_certificate(directory: Path, name: str, identity: str) -> ssl.SSLContext:
    """Return the context of a server for `identity`; whoever believes `name`.pem believes the server."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / f"{name}.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(identity).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext, ssl.SSLContext]:
    directory = tmp_path_factory.mktemp("tls")
    good = make_certificate(directory, "good", "127.0.0.1")
    return directory, good, make_certificate(directory, "other", "other.example")


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    await transport.aclose()


@pytest.fixture
def tls(certificates: tuple[Path, ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The context of a server that is believed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0] / "good.pem"))
    return certificates[1]


async def test_a_call(transport: Transport, tls: ssl.SSLContext) -> None:
    connections: list[str | None] = []
    answer = answering(plain(b'{"id": 1}'))

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answer(reader, writer)

    large = b"x" * 3_000_000
    async with upstream(script, tls=tls) as destination:
        for body in (b"{}", large, b"{}"):
            assert (await transport.send("POST", destination, body, timeout_seconds=30)).body == b'{"id": 1}'
    assert connections == ["http/1.1"]


async def test_a_stream(transport: Transport, tls: ssl.SSLContext) -> None:
    parts = [b"x" * 70_000 for _ in range(30)]
    async with upstream(answering(chunked(*parts)), tls=tls) as destination:
        for _ in range(3):
            answer = await transport.send("POST", destination, b"{}", timeout_seconds=30, stream=True)
            assert answer.chunks is not None
            assert b"".join([chunk async for chunk in answer.chunks]) == b"".join(parts)


async def test_an_unknown_issuer(
    transport: Transport, certificates: tuple[Path, ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with upstream(answering(plain(b"{}")), tls=certificates[1]) as destination:
        with pytest.raises(UpstreamUnreachable, match="local issuer certificate") as caught:
            await transport.send("POST", destination, b"{}", timeout_seconds=30)
    assert SECRET not in str(caught.value)


async def test_a_certificate_for_another_host(
    transport: Transport,
    certificates: tuple[Path, ssl.SSLContext, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0] / "other.pem"))
    async with upstream(answering(plain(b"{}")), tls=certificates[2]) as destination:
        with pytest.raises(UpstreamUnreachable, match=r"not valid for '127\.0\.0\.1'"):
            await transport.send("POST", destination, b"{}", timeout_seconds=30)


async def test_no_tls_at_the_other_end(transport: Transport, tls: ssl.SSLContext) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b"{}"))

    async with upstream(script) as destination:
        https = Destination(destination.url.replace("http:", "https:"), {})
        with pytest.raises(UpstreamUnreachable):
            await transport.send("POST", https, b"{}", timeout_seconds=5)


async def test_an_end_that_may_be_forged_is_no_end(transport: Transport, tls: ssl.SSLContext) -> None:
    """Without TLS's own goodbye anybody on the way may have cut the connection."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}"
    if isinstance(asyncio.get_running_loop(), uvloop.Loop):  # asyncio's own TLS does not tell the two apart.
        async with upstream(then(raw, reset=True), tls=tls) as destination:
            with pytest.raises(UpstreamGarbled, match="broke off"):
                await transport.send("POST", destination, b"{}", timeout_seconds=30)
    async with upstream(then(raw), tls=tls) as destination:
        assert (await transport.send("POST", destination, b"{}", timeout_seconds=30)).body == b"{}"

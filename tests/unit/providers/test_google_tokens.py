"""Tokens for Vertex AI: asked for once by all who wait, renewed ahead of their end while calls go on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tallystick.bootstrap.google_tokens import GoogleTokensWhenNeeded
from tallystick.errors import UpstreamUnreachable
from tallystick.testing import FakeClock


class TokenServer:
    """Google's endpoint for tokens, on loopback."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.status = 200
        self.open = threading.Event()
        self.open.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.asked.append(parse_qs(body))
                outer.open.wait(10)
                answer: dict[str, Any] = {"access_token": f"token-{len(outer.asked)}", "expires_in": 3600}
                if outer.status != 200:
                    answer = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
                self.send_response(outer.status)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[TokenServer]:
    running = TokenServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def account(server: TokenServer, private_key: str) -> str:
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": private_key,
            "client_email": "a@p.example",
            "token_uri": server.url,
        }
    )


def clock_now() -> FakeClock:
    return FakeClock(datetime.now(UTC))  # google-auth tells the end of a token by the machine's clock.


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_one_token_for_all_and_a_new_one_ahead_of_its_end(server: TokenServer, account: str) -> None:
    clock = clock_now()
    tokens = GoogleTokensWhenNeeded(clock=clock)
    assert await asyncio.gather(*(tokens.token(account) for _ in range(5))) == ["token-1"] * 5
    assert len(server.asked) == 1
    assert server.asked[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]

    clock.advance(timedelta(minutes=54).total_seconds())
    assert await tokens.token(account) == "token-1"
    assert len(server.asked) == 1

    server.open.clear()  # The new one takes long; nobody waits for it.
    clock.advance(timedelta(minutes=2).total_seconds())
    assert [await tokens.token(account) for _ in range(3)] == ["token-1"] * 3
    await until(lambda: len(server.asked) == 2)
    assert await tokens.token(account) == "token-1"
    server.open.set()
    async with asyncio.timeout(10):
        while await tokens.token(account) != "token-2":
            await asyncio.sleep(0.001)
    assert len(server.asked) == 2
    await tokens.aclose()


async def test_a_renewal_that_fails_is_tried_again_and_the_old_one_serves(server: TokenServer, account: str) -> None:
    clock = clock_now()
    tokens = GoogleTokensWhenNeeded(clock=clock)
    await tokens.token(account)
    server.status = 400
    clock.advance(timedelta(minutes=56).total_seconds())
    assert await tokens.token(account) == "token-1"
    await until(lambda: len(server.asked) >= 2)
    held = tokens._tokens._by_credentials[account]  # type: ignore[union-attr]
    await until(lambda: held._renewal is None)
    failed = len(server.asked)
    assert await tokens.token(account) == "token-1"
    assert len(server.asked) == failed  # Not again at once.
    server.status = 200
    clock.advance(31)
    await tokens.token(account)
    await until(lambda: len(server.asked) == failed + 1)
    await tokens.aclose()


async def test_no_token_is_an_error_that_tells_no_secret(server: TokenServer, account: str) -> None:
    tokens = GoogleTokensWhenNeeded(clock=clock_now())
    server.status = 400
    with pytest.raises(UpstreamUnreachable, match="Google gives no token for Vertex AI") as refused:
        await tokens.token(account)
    assert "PRIVATE" not in str(refused.value)
    assert "RefreshError" in str(refused.value)
    with pytest.raises(UpstreamUnreachable, match="vertex_credentials"):
        await tokens.token(json.dumps({"type": "service_account", "private_key": "secret-that-is-none"}))
    server.status = 200
    assert (await tokens.token(account)).startswith("token-")
    await tokens.aclose()

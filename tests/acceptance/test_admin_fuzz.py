"""The whole admin API under generated requests: whatever is sent, no 5xx and no traceback, on both databases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from acceptance.kit import server_of
from server_kit import AUTHORIZATION, UpstreamProcess, serving

_SECONDS_MAX = 1_500


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


async def test_no_request_makes_the_admin_api_fail(
    tmp_path: Path,
    upstream: UpstreamProcess,
    database_url: str | None,
    session: aiohttp.ClientSession,
    fuzz_examples: int,
) -> None:
    with serving(server_of(tmp_path, upstream, database_url)) as server:
        await server.ready(session)
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--header", f"Authorization: {AUTHORIZATION['authorization']}"),
            *("--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", str(fuzz_examples), "--seed", "1", "--continue-on-failure", "--no-color"),
            *("--exclude-path-regex", "^/(v1|engines|metrics|health)", "--request-timeout", "30"),
        ]
        done = subprocess.run(  # noqa: ASYNC221  # Nothing else is to be done meanwhile.
            command, capture_output=True, text=True, timeout=_SECONDS_MAX, check=False, cwd=tmp_path
        )
        print(done.stdout[-3_000:])
        assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
        assert "Traceback" not in server.log.read_text()
        assert await server.stop() == 0

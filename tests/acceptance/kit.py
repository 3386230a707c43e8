"""What the acceptance tests share: a server under test, calls with a key that it knows, and the end of every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from acceptance.load import MODELS, Load, assert_nothing_missing_or_double, committed_calls
from fault_proxy import FaultProxy
from server_kit import AUTHORIZATION, ServerProcess, UpstreamProcess, eventually


def server_of(
    tmp_path: Path,
    upstream: UpstreamProcess,
    database_url: str | None,
    *,
    workers: int = 1,
    models: tuple[str, ...] = MODELS,
    **general: Any,
) -> ServerProcess:
    """Return a server that notices soon when its database is away; not started yet."""
    quick = {"database_connect_timeout_seconds": 1, "database_statement_timeout_seconds": 3}
    return ServerProcess(
        tmp_path / "home",
        upstream_url=upstream.url,
        models=models,
        database_url=database_url,
        workers=workers,
        general={**quick, **general},
    )


async def make_key(server: ServerProcess, session: aiohttp.ClientSession) -> dict[str, str]:
    """Return the header with a new virtual key that the server has not seen yet."""
    async with session.post(f"{server.url}/key/generate", json={"user_id": "u"}, headers=AUTHORIZATION) as response:
        answer = await response.json()
    assert response.status == 200, answer
    return {"authorization": f"Bearer {answer['key']}"}


async def make_team_keys(server: ServerProcess, session: aiohttp.ClientSession, count: int) -> list[dict[str, str]]:
    """Return headers with keys of one team. They have budgets, as the team has, which nobody reaches."""

    async def make(path: str, **fields: object) -> dict[str, str]:
        async with session.post(server.url + path, json=fields, headers=AUTHORIZATION) as response:
            answer: dict[str, str] = await response.json()
        assert response.status == 200, answer
        return answer

    team = await make("/team/new", max_budget=1000)
    made = [await make("/key/generate", team_id=team["team_id"], max_budget=500) for _ in range(count)]
    return [{"authorization": f"Bearer {key['key']}"} for key in made]


async def known_key(server: ServerProcess, session: aiohttp.ClientSession, load: Load) -> dict[str, str]:
    """Return the header with a key that the server knows, because it was used, and that it goes on to know.

    The change feed has to bring the key's making first: with it, what is known of the key is forgotten once.
    """
    before = await metric(server, session, "change_feed_revision")
    load.headers = await make_key(server, session)

    async def is_heard_of() -> bool:
        return await metric(server, session, "change_feed_revision") > before

    await eventually(is_heard_of, seconds=30, what="the change feed has brought the key")
    first = await load.call(session, "plain")
    assert first.whole, first
    return load.headers


async def metric(server: ServerProcess, session: aiohttp.ClientSession, name: str) -> int:
    """Return the value of one counter."""
    async with session.get(f"{server.url}/metrics") as response:
        text = await response.text()
    (line,) = (line for line in text.splitlines() if line.split(" ")[0] == f"tallystick_{name}")
    return int(float(line.split(" ")[1]))


def assert_none_failed(load: Load) -> None:
    failed = [call for call in load.calls if not call.whole and not call.left]
    assert failed == [], f"{len(failed)} of {len(load.calls)} calls failed"


async def finish(
    server: ServerProcess, load: Load, upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> list[str]:
    """Stop the clients, wait for the ledger to catch up, stop the server, and compare; return what was dispatched."""
    await load.stop()
    seen = await upstream.seen(session)
    await committed_calls(server, session, {*seen, *(call.call_id for call in load.whole)})
    assert await server.stop() == 0, server.log_tail()
    assert server.segments() == [], "the journal is not empty after a clean stop"
    print(await assert_nothing_missing_or_double(server, load, seen))
    return seen


async def enough(load: Load, count: int) -> None:
    """Wait for so many more answers."""
    goal = len(load.whole) + count
    await eventually(lambda: len(load.whole) >= goal, seconds=60, what=f"{count} answers more")


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[FaultProxy, str]]:
    """Put a fault proxy in front of the database of a URL; lend it, and the URL that leads through it."""
    place = url.partition("@")[2].partition("/")[0]
    host, _, port = place.partition(":")
    async with FaultProxy(int(port), host) as proxy:
        yield proxy, url.replace(f"@{place}/", f"@127.0.0.1:{proxy.port}/")

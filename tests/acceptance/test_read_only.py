"""An instance that changes nothing, on a standby: it serves and reports, and a writer commits what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from acceptance.kit import enough, finish, make_key, server_of
from acceptance.load import Load, committed_calls
from server_kit import AUTHORIZATION, ServerProcess, UpstreamProcess, eventually, serving
from services import PostgresServer, RedisServer


@pytest.fixture
def standby(own_postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    with PostgresServer.standby_of(own_postgres_server) as standby:
        yield standby


async def asked(
    server: ServerProcess, session: aiohttp.ClientSession, path: str, body: Any = None
) -> tuple[int, dict[str, Any]]:
    method = "GET" if body is None else "POST"
    async with session.request(method, server.url + path, json=body, headers=AUTHORIZATION) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("promoted", [False, True], ids=["restarted with the writer's database", "promoted"])
async def test_a_standby_serves_and_a_writer_commits_what_it_has(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    own_postgres_server: PostgresServer,
    standby: PostgresServer,
    promoted: bool,
) -> None:
    writer = server_of(tmp_path / "writer", upstream, own_postgres_server.url())
    with serving(writer):
        await writer.ready(session)
        known = await make_key(writer, session)
        _, bounded = await asked(writer, session, "/key/generate", {"max_budget": 5})
    reader = server_of(tmp_path, upstream, standby.url(), read_only=True, drain_seconds=2)
    with serving(reader):
        await reader.ready(session)

        async def has_the_keys() -> bool:
            return (await asked(reader, session, f"/key/info?key={bounded['key']}"))[0] == 200

        await eventually(has_the_keys, seconds=30, what="the standby has replayed the keys")
        async with Load(reader.url, 8) as load:
            load.headers = known
            load.start(session, clients=4, pause=0.02)
            await enough(load, 50)

            status, answer = await asked(reader, session, "/key/generate", {"user_id": "x"})
            assert (status, answer["error"]["type"]) == (503, "read_only"), answer
            status, answer = await asked(reader, session, "/team/new", {"team_alias": "x"})
            assert (status, answer["error"]["type"]) == (503, "read_only"), answer
            assert (await asked(reader, session, "/global/spend"))[0] == 200
            assert (await asked(reader, session, "/audit"))[0] == 200
            status, health = await asked(reader, session, "/health")
            assert (health["db"], health["mode"]) == ("connected", "read_only")
            assert health["journal"]["events_pending"] > 0
            # Nothing can be leased of a budget here.
            headers = {"authorization": f"Bearer {bounded['key']}"}
            refused = await load.call(session, "plain", headers=headers)
            assert refused.status == 503
            assert b"budget_unknown" in refused.body
            await load.stop()
            load.calls.remove(refused)

            if promoted:
                connection = await asyncpg.connect(standby.url())
                assert await connection.fetchval("SELECT pg_promote()")
                await connection.close()
            else:
                # The same journal, with a database that takes commits.
                await reader.stop()
                text = reader.config.read_text().replace(standby.url(), own_postgres_server.url())
                reader.config.write_text(text.replace('"read_only": true', '"read_only": false'))
                reader.start()
                await reader.ready(session)
            outcome = await finish(reader, load, upstream, session)
    assert outcome
    assert all(call.whole or call.left for call in load.calls)


async def test_a_standby_gives_its_events_to_a_writer_by_way_of_redis(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    own_postgres_server: PostgresServer,
    own_redis_server: RedisServer,
    standby: PostgresServer,
) -> None:
    shared = {"redis_url": own_redis_server.url, "use_redis_transaction_buffer": True, "leader_lease_seconds": 2}
    writer = server_of(tmp_path / "writer", upstream, own_postgres_server.url(), **shared)
    reader = server_of(tmp_path, upstream, standby.url(), read_only=True, **shared)
    with serving(writer):
        await writer.ready(session)
        known = await make_key(writer, session)
        with serving(reader):
            await reader.ready(session)

            async def has_the_key() -> bool:
                key = known["authorization"].removeprefix("Bearer ")
                return (await asked(reader, session, f"/key/info?key={key}"))[0] == 200

            await eventually(has_the_key, seconds=30, what="the standby has replayed the key")
            async with Load(reader.url, 9) as load:
                load.headers = known
                load.start(session, clients=4, pause=0.02)
                await enough(load, 50)
                _, health = await asked(reader, session, "/health")
                assert health["leadership"]["is_leader"] is False
                await committed_calls(writer, session, {call.call_id for call in load.whole})
                # To its end: what the last calls cost goes the same way.
                stopping = asyncio.create_task(reader.stop())
                await load.stop()
                assert await stopping == 0, reader.log_tail()
                assert reader.segments() == [], "the journal is not empty after a clean stop"
        outcome = await finish(writer, load, upstream, session)
    assert outcome

"""The database's password ends again and again, as a token does: no call fails, and no commit.

pytest tests/acceptance/test_expiring_passwords.py --token-seconds 180 --token-period 20 -s    takes three minutes
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp

from acceptance.kit import assert_none_failed, enough, finish, make_key, metric, server_of
from acceptance.load import Load
from azure import TokenEndpoint
from rotating import RotatingRole
from server_kit import UpstreamProcess, serving
from services import PostgresServer

_CLIENTS = 6


async def test_a_password_that_changes_all_the_time(
    tmp_path: Path,
    upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    own_postgres_server: PostgresServer,
    token_seconds: float,
    token_period: float,
) -> None:
    role = RotatingRole(own_postgres_server)
    await role.change()
    async with TokenEndpoint(token=role.password, expires_in=str(token_period)) as endpoint:

        async def change() -> None:
            async with endpoint.changing:
                await role.change()
                endpoint.token = role.password

        server = server_of(
            tmp_path,
            upstream,
            role.url,
            azure_postgresql_auth=True,
            azure_identity_endpoint=f"{endpoint.url}/identity",
            azure_identity_header="h",
            database_idle_seconds_max=0.3,  # So that connections are made all the time.
            database_connect_timeout_seconds=15,  # A slow machine is not what is tried here.
        )
        with serving(server):
            await server.ready(session)
            async with Load(server.url, 6) as load:
                load.start(session, clients=_CLIENTS, pause=0.02)
                began, changes = time.monotonic(), 0
                while time.monotonic() - began < token_seconds:
                    await asyncio.sleep(token_period)
                    await change()
                    changes += 1
                    # Its making and its first use are asked of the database.
                    stranger = await load.call(session, "plain", headers=await make_key(server, session))
                    assert stranger.whole, stranger
                await enough(load, 50)
                retries = await metric(server, session, "commit_retries_total")
                feed_errors = await metric(server, session, "change_feed_errors_total")
                await finish(server, load, upstream, session)
                assert_none_failed(load)
        sessions = await role.sessions()
        log = server.log.read_text()
        print(f"{changes} passwords, {len(load.calls)} calls, {sessions} connections made")
        assert (retries, feed_errors) == (0, 0)
        assert sessions > changes
        assert "database_token_issued" in log
        assert role.password not in log

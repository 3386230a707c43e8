"""Every way to name a Redis leads to one: buffer, leadership and rates work there, and say what is wrong."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.stores.test_redis_buffer import (
    SECONDS_MAX,
    all_committed,
    assert_exactly,
    buffered_by_all,
    running,
    until,
)
from services import RedisSentinel, RedisServer
from tallystick.access.rates.quota import quota
from tallystick.access.rates.shared import SharedRates
from tallystick.access.scopes import Scope
from tallystick.bootstrap.rates import open_shared_rates
from tallystick.config.load import load_settings
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tls_kit import Authority, TLSProxy

PASSWORD = "hush-hush"
USER_PASSWORD = "hush-hush-too"
WAYS = ["sentinels", "cluster", "password", "acl_user", "tls", "tls_client", "tls_untested"]


@contextmanager
def watched_pair(password: str | None = None) -> Iterator[tuple[RedisServer, RedisServer, RedisSentinel]]:
    """A master, its replica, and a sentinel that knows both."""
    with (
        RedisServer(password=password) as master,
        RedisServer(password=password, replica_of=master) as replica,
        RedisSentinel(master, password=password, master_password=password) as sentinel,
    ):
        deadline = time.monotonic() + SECONDS_MAX
        while not sentinel.replicas or "master_link_status:up" not in replica.ask("INFO", "replication"):
            assert time.monotonic() < deadline, "the sentinel does not find the replica"
            time.sleep(0.02)
        yield master, replica, sentinel


def by_sentinel(sentinel: RedisSentinel) -> dict[str, Any]:
    return {
        "redis_sentinel_nodes": [["127.0.0.1", sentinel.port]],
        "redis_service_name": sentinel.service_name,
    }


@asynccontextmanager
async def redis_by(way: str, directory: Path) -> AsyncIterator[dict[str, Any]]:
    """Start what it needs; yield the settings that lead there."""
    async with AsyncExitStack() as stack:
        if way == "sentinels":
            _, _, sentinel = stack.enter_context(watched_pair(PASSWORD))
            secrets = {"redis_password": PASSWORD, "redis_sentinel_password": PASSWORD}
            yield {**by_sentinel(sentinel), **secrets}
            return
        if way == "cluster":
            server = stack.enter_context(RedisServer(cluster=True, password=PASSWORD))
            node = {"host": "127.0.0.1", "port": server.port}
            yield {"redis_cluster_nodes": [node], "redis_password": PASSWORD}
            return
        server = stack.enter_context(RedisServer(password=None if way.startswith("tls") else PASSWORD))
        place = {"redis_host": "127.0.0.1", "redis_port": server.port}
        if way == "password":
            yield {**place, "redis_password": PASSWORD}
            return
        if way == "acl_user":
            keys = "~{tally}:*"
            server.ask("ACL", "SETUSER", "teller", "on", f">{USER_PASSWORD}", keys, "+@all", "-@dangerous")
            login = {"redis_username": "teller", "redis_password": USER_PASSWORD, "redis_key_prefix": "tally"}
            yield {**place, **login}
            return
        authority = Authority(directory)
        asked = authority if way == "tls_client" else None
        proxy = TLSProxy(server.port, authority.issue("redis"), client_authority=asked)
        await stack.enter_async_context(proxy)
        if way == "tls_untested":
            yield {"redis_url": f"rediss://127.0.0.1:{proxy.port}?ssl_cert_reqs=none"}
            return
        settings = {"redis_url": f"rediss://127.0.0.1:{proxy.port}", "redis_ssl_ca_certs": str(authority.file)}
        if way == "tls_client":
            shown = authority.issue("client")
            settings |= {"redis_ssl_certfile": str(shown.file), "redis_ssl_keyfile": str(shown.key_file)}
        yield settings


@pytest.mark.parametrize("way", WAYS)
async def test_instances_commit_and_lead_through_it(way: str, tmp_path: Path, postgres_url: str) -> None:
    events = []
    async with (
        redis_by(way, tmp_path) as settings,
        running(2, tmp_path, database_url=postgres_url, **({"redis_url": None} | settings)) as instances,
    ):
        await buffered_by_all(instances)
        for instance in instances:
            events += instance.record(50)
        await until(all_committed(instances))
        assert [instance.is_leader for instance in instances].count(True) == 1
        (leader,) = (instance for instance in instances if instance.is_leader)
        assert leader.shared_work.health()["redis_buffer"] == {"state": "buffered", "reason": ""}
        assert "redis" in type(leader.shared_work.leadership._store).__name__.lower()  # type: ignore[union-attr]
    await assert_exactly(postgres_url, events, others=True)


@pytest.mark.parametrize("way", WAYS)
async def test_rates_are_shared_through_it(way: str, tmp_path: Path) -> None:
    async with redis_by(way, tmp_path) as settings, counting(**settings) as one, counting(**settings) as other:
        shared = quota(Scope(type="key", id=uuid.uuid4().hex), "requests", 60_000, 3)
        taken = [await each.take((shared,), (1,), uuid.uuid4().hex) for each in (one, other, one, other)]
    assert [reply.granted for reply in taken if reply is not None] == [True, True, True, False]


@asynccontextmanager
async def counting(**settings: Any) -> AsyncIterator[SharedRates]:
    """Rates as an instance counts them."""
    rates = shared_rates(**settings)
    await rates.start()
    try:
        yield rates
    finally:
        await rates.stop()


def shared_rates(**settings: Any) -> SharedRates:
    overrides = {"redis_socket_timeout": 2.0, **settings}
    redis = load_settings(config_file=None, overrides=overrides, environ={}).redis
    rates = open_shared_rates(redis, clock=SystemClock(), metrics=Metrics())
    assert rates is not None
    return rates


async def test_a_failover_loses_nothing_and_the_buffer_comes_back(tmp_path: Path, postgres_url: str) -> None:
    events = []
    with watched_pair() as (master, replica, sentinel):
        ways = by_sentinel(sentinel)
        async with (
            running(2, tmp_path, database_url=postgres_url, redis_url=None, **ways) as instances,
            counting(**ways) as rates,
        ):
            await buffered_by_all(instances)
            for instance in instances:
                events += instance.record(50)
            master.kill()
            for _ in range(20):
                for instance in instances:
                    events += instance.record(10)
                await asyncio.sleep(0.01)
            await until(all_committed(instances))  # Directly.
            assert {instance.shared_work.health()["redis_buffer"]["state"] for instance in instances} == {"direct"}

            await until(lambda: sentinel.master_port() == replica.port)
            await buffered_by_all(instances)
            await until(lambda: any(instance.is_leader for instance in instances))
            await until(lambda: rates.is_shared)
            for instance in instances:
                events += instance.record(50)
            await until(all_committed(instances))

            # The old master returns, and follows the new one: nobody stays with it.
            master.start()
            await until(lambda: "role:slave" in master.ask("INFO", "replication"))
            await buffered_by_all(instances)
            assert [instance.is_leader for instance in instances].count(True) == 1
    await assert_exactly(postgres_url, events, others=True)


async def test_a_master_that_hangs_is_left(tmp_path: Path, postgres_url: str) -> None:
    """It takes up to the old master again after its pause, which has become a replica by then, or soon does."""
    events = []
    with watched_pair() as (master, replica, sentinel):
        arguments = {"database_url": postgres_url, "redis_url": None, **by_sentinel(sentinel)}
        async with running(2, tmp_path, **arguments) as instances:
            await buffered_by_all(instances)
            master.pause()
            try:
                for instance in instances:
                    events += instance.record(50)
                async with asyncio.timeout(SECONDS_MAX):
                    await until(all_committed(instances))
                await until(lambda: sentinel.master_port() == replica.port)
                await buffered_by_all(instances)
            finally:
                master.resume()
            for instance in instances:
                events += instance.record(50)
            await until(all_committed(instances))
    await assert_exactly(postgres_url, events, others=True)


# What is wrong is said


async def test_a_certificate_that_is_not_trusted(tmp_path: Path, own_redis_server: RedisServer) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    async with TLSProxy(own_redis_server.port, authority.issue("redis")) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        reason = await reason_of(redis_url=url, redis_ssl_ca_certs=str(stranger.file))
        assert "shows a certificate that is not trusted" in reason
        assert "see redis_ssl_ca_certs" in reason
        assert "not trusted" in await reason_of(redis_url=url)


async def test_an_instance_with_a_wrong_authority_says_so_and_commits(
    tmp_path: Path, postgres_url: str, own_redis_server: RedisServer
) -> None:
    async with TLSProxy(own_redis_server.port, Authority(tmp_path).issue("redis")) as proxy:
        stranger = Authority(tmp_path, "stranger")
        arguments = {"redis_url": f"rediss://127.0.0.1:{proxy.port}", "redis_ssl_ca_certs": str(stranger.file)}
        async with running(1, tmp_path, database_url=postgres_url, **arguments) as (instance,):
            events = instance.record(10)
            async with asyncio.timeout(10):
                await until(all_committed([instance]))
            told = instance.shared_work.health()["redis_buffer"]
            assert isinstance(told, dict)
            assert told["state"] == "direct"
            assert "shows a certificate that is not trusted" in told["reason"]
            assert not instance.is_leader
    await assert_exactly(postgres_url, events)


async def test_a_certificate_of_another_host(tmp_path: Path, own_redis_server: RedisServer) -> None:
    authority = Authority(tmp_path)
    async with TLSProxy(own_redis_server.port, authority.issue("redis", address="127.0.0.9")) as proxy:
        settings = {"redis_url": f"rediss://127.0.0.1:{proxy.port}", "redis_ssl_ca_certs": str(authority.file)}
        reason = await reason_of(**settings)
        assert "not trusted" in reason
        assert "127.0.0.1" in reason
        assert await reason_of(**settings, redis_ssl_check_hostname=False) == ""


async def test_a_client_certificate_that_is_missing(tmp_path: Path, own_redis_server: RedisServer) -> None:
    authority = Authority(tmp_path)
    proxy = TLSProxy(own_redis_server.port, authority.issue("redis"), client_authority=authority)
    async with proxy:
        settings = {"redis_url": f"rediss://127.0.0.1:{proxy.port}", "redis_ssl_ca_certs": str(authority.file)}
        assert f"Redis at 127.0.0.1:{proxy.port}/0" in await reason_of(**settings)


async def test_tls_on_one_side_only(tmp_path: Path, own_redis_server: RedisServer) -> None:
    url = f"rediss://127.0.0.1:{own_redis_server.port}"
    assert f"127.0.0.1:{own_redis_server.port}/0" in await reason_of(redis_url=url, redis_socket_timeout=0.5)
    async with TLSProxy(own_redis_server.port, Authority(tmp_path).issue("redis")) as proxy:
        reason = await reason_of(redis_url=f"redis://127.0.0.1:{proxy.port}")
        assert f"Redis at 127.0.0.1:{proxy.port}/0 does not answer" in reason


async def test_a_wrong_password() -> None:
    with RedisServer(password=PASSWORD) as server:
        reason = await reason_of(redis_host="127.0.0.1", redis_port=server.port, redis_password="something-else")
        assert "does not let us in: see redis_username and redis_password" in reason
        assert "something-else" not in reason
        assert "does not let us in" in await reason_of(redis_host="127.0.0.1", redis_port=server.port)


async def test_sentinels_that_do_not_help() -> None:
    with watched_pair(PASSWORD) as (_, _, sentinel):
        known = {**by_sentinel(sentinel), "redis_password": PASSWORD}
        reason = await reason_of(**known)
        assert reason.startswith(f"No sentinel of tally (by sentinels 127.0.0.1:{sentinel.port}) tells where it is")
        assert "AuthenticationError" in reason
        assert "<redis" not in reason
        unknown = {**known, "redis_sentinel_password": PASSWORD, "redis_service_name": "other"}
        assert "No master found for 'other'" in await reason_of(**unknown)
    assert "No sentinel of tally" in await reason_of(**known)


async def reason_of(**settings: Any) -> str:
    """Return why an instance counts for itself, as `/health` shows it; that is soon."""
    async with asyncio.timeout(15), counting(**settings) as rates:
        return rates.status().reason

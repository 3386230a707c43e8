"""`tallystick doctor` looks at the Redis that the settings name."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from integration.cli.kit import CommandLine
from services import RedisServer, free_port
from tallystick.cli.checks.redis import judge_redis
from tallystick.runtime.redis_facts import RedisFacts

PASSWORD = "hush-hush"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as server:
        yield server


def looked(line: CommandLine, **environment: str) -> dict[str, dict[str, str]]:
    outcome = line("doctor", "--json", **environment)
    assert PASSWORD not in outcome.stdout
    return {check["name"]: check for check in outcome.json()["checks"] if check["name"].startswith("redis")}


def test_without_any(sqlite: CommandLine) -> None:
    assert looked(sqlite)["redis"]["found"] == "none is given: each worker counts its rate limits for itself"


def test_one_that_is_well(sqlite: CommandLine, server: RedisServer) -> None:
    found = looked(sqlite, REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{server.port}/1")
    assert {name: check["state"] for name, check in found.items()} == {"redis": "good", "redis: memory": "good"}
    assert found["redis"]["found"].startswith(f"127.0.0.1:{server.port}/1 answered in ")
    assert "(Redis " in found["redis"]["found"]
    assert found["redis: memory"]["found"] == "no limit of its own; drops no keys (noeviction)"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_one_that_drops_keys(sqlite: CommandLine, server: RedisServer, policy: str) -> None:
    server.ask("CONFIG", "SET", "maxmemory-policy", policy)
    server.ask("CONFIG", "SET", "maxmemory", "64mb")
    try:
        check = looked(sqlite, REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{server.port}")["redis: memory"]
    finally:
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.ask("CONFIG", "SET", "maxmemory", "0")
    assert check["state"] == "warn"
    assert f"drops keys when memory is full ({policy})" in check["found"]
    assert "maxmemory-policy noeviction" in check["mend"]


def test_a_user_that_may_not_ask(sqlite: CommandLine, server: RedisServer) -> None:
    server.ask("ACL", "SETUSER", "teller", "on", f">{PASSWORD}", "~{tallystick}:*", "+@all", "-@dangerous")
    found = looked(sqlite, REDIS_URL=f"redis://teller:{PASSWORD}@127.0.0.1:{server.port}")
    assert found["redis"]["state"] == found["redis: memory"]["state"] == "good"
    assert "may not ask" in found["redis: memory"]["found"]


def test_a_password_that_is_wrong(sqlite: CommandLine, server: RedisServer) -> None:
    check = looked(sqlite, REDIS_HOST="127.0.0.1", REDIS_PORT=str(server.port), REDIS_PASSWORD="other")["redis"]
    assert check["state"] == "bad"
    assert "does not let us in: see redis_username and redis_password" in check["found"]


def test_one_that_is_away(sqlite: CommandLine) -> None:
    started = time.monotonic()
    outcome = sqlite("doctor", "--json", REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{free_port()}")
    assert outcome.code == 1
    assert time.monotonic() - started < 10
    assert PASSWORD not in outcome.stdout
    (check,) = [check for check in outcome.json()["checks"] if check["name"] == "redis"]
    assert check["state"] == "bad"
    assert "does not answer" in check["found"]


def test_one_that_hangs(sqlite: CommandLine) -> None:
    with RedisServer() as hanging:
        hanging.pause()
        started = time.monotonic()
        check = looked(sqlite, REDIS_URL=hanging.url)["redis"]
        hanging.resume()
    assert time.monotonic() - started < 10
    assert check["state"] == "bad"


def test_a_replica(sqlite: CommandLine, server: RedisServer) -> None:
    with RedisServer(password=PASSWORD, replica_of=server) as replica:
        check = looked(sqlite, REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{replica.port}")["redis: role"]
    assert check["state"] == "bad"


def test_a_cluster(sqlite: CommandLine) -> None:
    with RedisServer(cluster=True, password=PASSWORD) as node:
        nodes = json.dumps([{"host": "127.0.0.1", "port": node.port}])
        found = looked(sqlite, REDIS_CLUSTER_NODES=nodes, REDIS_PASSWORD=PASSWORD)
    assert {name: check["state"] for name, check in found.items()} == {"redis": "good", "redis: memory": "good"}
    assert "(Redis " in found["redis"]["found"]


def test_one_that_is_too_old() -> None:
    facts = RedisFacts(where="h", version="4.0.14", memory_policy="allkeys-lru", memory_bytes_max=0)
    found = {check.name: check for check in judge_redis(facts, 1, uses_buffer=True)}
    assert found["redis: version"].state == "bad"
    assert "batches of events, which are then sent again" in found["redis: memory"].found

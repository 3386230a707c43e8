"""Options and fixtures of the acceptance tests: real processes, killed, cut off and filled up."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from acceptance.budget_fleet import Fleet, started
from server_kit import UpstreamProcess, upstream_process
from services import PostgresServer, RedisServer

_SECONDS_A_KILL = 40
_SECONDS_A_WRITE = 20
_SECONDS_A_ROUND = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("acceptance")
    group.addoption("--kills", type=int, default=6, help="kill -9 so many times for each engine (tests/acceptance)")
    group.addoption("--rounds", type=int, default=6, help="let so many faults happen (test_chaos.py)")
    group.addoption("--hot-calls", type=int, default=600, help="calls with five keys on eight workers")
    group.addoption("--outage-seconds", type=float, default=5.0, help="how long the database stays away")
    group.addoption("--fuzz-examples", type=int, default=4, help="generated requests for each route and engine")
    group.addoption("--litellm-proxy", default=None, help="LiteLLM's client; its tests run only when this is given")
    group.addoption("--any-llm", action="store_const", const=True, help="tallystick[any-llm] is installed; as above")
    group.addoption("--litellm-python", default=None, help="a Python that has tallystick[litellm]; as above")
    group.addoption("--writes", type=int, default=4, help="admin writes of each kind (test_control_plane.py)")
    group.addoption("--secrets", type=int, default=800, help="how many sealed values a rotation goes through")
    group.addoption("--budget-calls", type=int, default=400, help="calls against the money of a 20th of them")
    group.addoption("--token-seconds", type=float, default=12.0, help="how long a database password goes on changing")
    group.addoption("--token-period", type=float, default=1.5, help="seconds from one password to the next")
    group.addoption("--seed", type=int, default=None, help="repeat a run's random choices")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests whose length is an option the time that they need; leave out what needs a client from elsewhere."""
    missing = {name for name in ("any_llm", "litellm_proxy", "litellm_python") if config.getoption(name, None) is None}
    if missing:
        left_out = [item for item in items if missing & set(getattr(item, "fixturenames", ()))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    seconds = {
        "writes": 120 + _SECONDS_A_WRITE * config.getoption("--writes", 4),
        "kills": 120 + _SECONDS_A_KILL * config.getoption("--kills", 6),
        "rounds": 180 + _SECONDS_A_ROUND * config.getoption("--rounds", 6),
        "hot_calls": 180 + config.getoption("--hot-calls", 600) / 10,
        "fuzz_examples": 600 + 30 * config.getoption("--fuzz-examples", 4),
        "secrets_count": 120 + config.getoption("--secrets", 800) / 20,
        "budget_calls": 120 + config.getoption("--budget-calls", 400) / 5,
        "token_seconds": 120 + 2 * config.getoption("--token-seconds", 12.0),
        "outage_seconds": 120 + 2 * config.getoption("--outage-seconds", 5.0),
    }
    for item in items:
        for name in seconds.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(seconds[name]))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills", 6))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--seed", None)
    return int(given) if given is not None else random.SystemRandom().randrange(1 << 32)


@pytest.fixture
def outage_seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--outage-seconds", 5.0))


@pytest.fixture
def token_seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--token-seconds", 12.0))


@pytest.fixture
def token_period(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--token-period", 1.5))


@pytest.fixture
def fuzz_examples(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz-examples", 4))


@pytest.fixture
def litellm_proxy(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--litellm-proxy"))


@pytest.fixture
def litellm_python(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--litellm-python"))


@pytest.fixture
def writes(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--writes", 4))


@pytest.fixture
def budget_calls(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--budget-calls", 400))


@pytest.fixture
def upstream() -> Iterator[UpstreamProcess]:
    with upstream_process() as upstream:
        yield upstream


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose connections are not kept, so that each call reaches a process that lives."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session


@pytest.fixture(scope="session")
def budget_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three instances with a PostgreSQL and a Redis of their own, which a test may stop and has to start again."""
    path = tmp_path_factory.mktemp("fleet")
    # A Redis that is late is as good as none; on a machine that has other things to do it may be.
    patient = {"budget_lease_seconds": 3, "redis_socket_timeout": 5}
    with (
        ThreadPoolExecutor(max_workers=1) as thread,
        upstream_process() as upstream,
        PostgresServer() as postgres,
        RedisServer() as redis,
        started(path, upstream, postgres.url(), instances=3, redis_url=redis.url, **patient) as servers,
    ):
        yield Fleet(servers=servers, upstream=upstream, postgres=postgres, redis=redis, thread=thread)


@pytest.fixture
def any_llm(request: pytest.FixtureRequest) -> bool:
    """Requested by tests that need the library, which are left out without the option."""
    return bool(request.config.getoption("--any-llm", None))

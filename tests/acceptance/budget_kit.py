"""Budgets under load: instances on one database, clients that use a budget up, and what must hold afterwards.

Every call of the model groups here costs CALL_NANO_USD, to the nano-dollar, unless its client leaves it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from acceptance.kit import metric
from acceptance.load import Call, Load, committed_calls, read_ledger
from acceptance.upstream_process import FIXED_TOKENS
from server_kit import (
    AUTHORIZATION,
    INPUT_NANO_USD,
    OUTPUT_NANO_USD,
    ServerProcess,
    UpstreamProcess,
    eventually,
)
from tallystick.ledger.event import SpendEvent

Headers = Mapping[str, str]

CALL_NANO_USD = FIXED_TOKENS[0] * INPUT_NANO_USD + FIXED_TOKENS[1] * OUTPUT_NANO_USD
MAX_TOKENS = FIXED_TOKENS[1]
ESTIMATE_NANO_USD_MAX = 70 * INPUT_NANO_USD + MAX_TOKENS * OUTPUT_NANO_USD
"""What a call with MAX_TOKENS is taken to cost at most: its body is shorter than 210 bytes."""
_SETTLED_SECONDS = 20.0
_MONEY = re.compile(
    r"(Current cost: |Spend=)(?P<spend>\d+\.\d+), (Max budget: |Budget=)(?P<limit>\d+\.\d+)\..*\b(resets at|not reset)"
)


def usd(calls: int) -> float:
    """Return the price of so many calls."""
    return calls * CALL_NANO_USD / 1e9


def usable(budget_calls: int, *, estimate_nano_usd: int = ESTIMATE_NANO_USD_MAX) -> int:
    """Return how many calls a budget for so many has surely room for: the last one's estimate has to fit as well."""
    return (budget_calls * CALL_NANO_USD - estimate_nano_usd) // CALL_NANO_USD + 1


class Instances:
    """Instances on one database, an admin who writes to each in turn, and clients."""

    _seeds = itertools.count(1)

    def __init__(self, servers: Sequence[ServerProcess], session: aiohttp.ClientSession) -> None:
        self.servers = servers
        self.session = session
        self._turns = itertools.cycle(servers)
        self._loads = [Load(server.url, next(self._seeds)) for server in servers]

    async def ready(self) -> None:
        await asyncio.gather(*(server.ready(self.session) for server in self.servers))

    # Administration

    async def write(self, path: str, body: Any, *, method: str = "POST") -> Any:
        """Make one admin write to the instance whose turn it is."""
        url = next(self._turns).url + path
        async with self.session.request(method, url, json=body, headers=AUTHORIZATION) as response:
            answer = await response.json()
            assert response.status < 300, (path, response.status, answer)
            return answer

    async def key(self, **fields: Any) -> dict[str, str]:
        """Return the header with a new key."""
        return {"authorization": f"Bearer {(await self.write('/key/generate', fields))['key']}"}

    async def known_key(self, **fields: Any) -> dict[str, str]:
        """Return the header with a new key that every instance knows. It has used nothing of its budget.

        The change feed has to bring the key's making first: with it, what is known of the key is forgotten once.
        """
        before = {server.url: await metric(server, self.session, "change_feed_revision") for server in self.servers}
        headers = await self.key(**fields)
        for server in self.servers:

            async def is_heard_of(server: ServerProcess = server) -> bool:
                return await metric(server, self.session, "change_feed_revision") > before[server.url]

            await eventually(is_heard_of, seconds=30, what="the change feed has brought the key")
            async with self.session.get(f"{server.url}/v1/models", headers=headers) as response:
                assert response.status == 200, await response.text()
        return headers

    async def info(self, headers: Headers, *, instance: int = 0) -> dict[str, Any]:
        """Return what a key is told of itself."""
        async with self.session.get(f"{self.servers[instance].url}/key/info", headers=headers) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return dict(answer["info"])

    # Calls

    async def call(
        self, instance: int, headers: Headers, *, model: str = "fixed", leaves_after: int | None = None, **fields: Any
    ) -> Call:
        """Make one call of an instance, counted round."""
        load = self._loads[instance % len(self._loads)]
        return await load.call(self.session, model, leaves_after=leaves_after, headers=headers, **fields)

    def instance_of(self, call_id: str) -> int:
        """Return which instance a call was made of."""
        return next(number for number, load in enumerate(self._loads) if call_id.startswith(f"{load.seed}-"))

    async def calls(
        self, headers: Headers, *, count: int, clients: int, leave_every: int = 0, **fields: Any
    ) -> list[Call]:
        """Let clients make so many calls of all instances, each one after the other; every so many-th is left."""
        numbers, made = iter(range(count)), list[Call]()

        async def client() -> None:
            for number in numbers:
                leaves = {"leaves_after": 2} if leave_every and number % leave_every == 0 else {}
                made.append(await self.call(number, headers, **leaves, **fields))

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
        return made

    @asynccontextmanager
    async def spending(
        self, headers: Headers, *, clients: int, pause: float = 0.05, **fields: Any
    ) -> AsyncIterator[list[Call]]:
        """Let clients call all instances in turn while the block runs; one that was refused pauses. Lends the calls."""
        made, ending = list[Call](), asyncio.Event()

        async def client(position: int) -> None:
            for number in itertools.count(position):
                if ending.is_set():
                    return
                made.append(call := await self.call(number, headers, **fields))
                if call.status != 200:
                    await asyncio.sleep(pause)  # The processor is needed by who is being started.

        async with asyncio.TaskGroup() as group:
            for position in range(clients):
                group.create_task(client(position))
            try:
                yield made
            finally:
                ending.set()

    async def use_up(self, headers: Headers, made: list[Call], *, wanted: int, **fields: Any) -> None:
        """Go on with one call after the other until so many were answered: what is only reserved comes back soon."""

        async def are_answered() -> bool:
            if len(answered(made)) >= wanted:
                return True
            made.append(await self.call(len(made), headers, **fields))
            return False

        await eventually(are_answered, seconds=_SETTLED_SECONDS, what=f"{wanted} calls are answered", pause=0.05)

    # The ledger

    async def events_of(self, calls: Sequence[Call], *, server: ServerProcess | None = None) -> list[SpendEvent]:
        """Return the events of these calls when all are there that were answered, begun or left."""
        server = server or self.servers[0]
        await committed_calls(server, self.session, {call.call_id for call in answered(calls)})
        return await self.events_now(calls, server=server)

    async def events_now(self, calls: Sequence[Call], *, server: ServerProcess) -> list[SpendEvent]:
        """Return those of their events that are committed."""
        ids = {call.call_id for call in calls}
        return [event for event in await read_ledger(server) if event.metadata["call"] in ids]

    async def stop_and_verify(self) -> None:
        """Stop all; the ledger adds up, and nothing is leased any more."""
        for server in self.servers:
            assert await server.stop() == 0, server.log_tail()
            assert server.segments() == [], "the journal is not empty after a clean stop"
        verified = await self.servers[0].verify()
        assert verified["ok"], verified["differences"]


def answered(calls: Sequence[Call]) -> list[Call]:
    """The calls that were dispatched, as far as their clients know."""
    return [call for call in calls if call.status == 200]


def assert_refusals(calls: Sequence[Call], *names: str) -> int:
    """Each call that was not answered was told why: by which budget, what is spent, the limit and the reset."""
    refused = [call for call in calls if call.status != 200]
    for call in refused:
        assert call.status == 422, call
        error = json.loads(call.body)["error"]
        assert (error["type"], error["code"]) == ("budget_exceeded", "422"), error
        assert any(name in error["message"] for name in names), error
        told = _MONEY.search(error["message"])
        assert told is not None, error
        assert float(told["spend"]) <= float(told["limit"]), error
    return len(refused)


async def assert_held(
    instances: Instances, upstream: UpstreamProcess, calls: Sequence[Call], *, budget_calls: int
) -> list[SpendEvent]:
    """No more was spent than the budget, by what clients got, what the upstream was asked, and the ledger."""
    ids = {call.call_id for call in calls}
    dispatched = [call_id for call_id in await upstream.seen(instances.session) if call_id in ids]
    assert len(dispatched) == len(set(dispatched)) == len(answered(calls))
    events = await instances.events_of(calls)
    spent = sum(event.cost_nano_usd for event in events)
    assert sorted(dispatched) == sorted(event.metadata["call"] for event in events)
    assert spent <= budget_calls * CALL_NANO_USD, f"{spent} is more than {budget_calls} calls"
    left = {call.call_id for call in calls if call.left}
    for event in events:
        assert event.cost_nano_usd == CALL_NANO_USD or event.metadata["call"] in left, event
    if not left:
        assert len(dispatched) <= budget_calls
    return events

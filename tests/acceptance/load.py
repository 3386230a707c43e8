"""A load of calls that remembers what each client got, and the comparison of that with the ledger."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from acceptance.upstream_process import usage_of
from server_kit import AUTHORIZATION, INPUT_NANO_USD, OUTPUT_NANO_USD, ServerProcess, eventually
from tallystick.bootstrap import open_store
from tallystick.config.load import load_settings
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.store import EventFilter
from tallystick.runtime.clock import SystemClock

MODELS = ("plain", "slow:20", "slow:150", "stream", "pause:3", "pause:30")
_WEIGHTS = (5, 3, 1, 4, 3, 2)
_LEAVES = 0.04
"""So many of the streams are left by their client."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One call as its client knows it."""

    call_id: str
    model: str
    status: int = 0
    whole: bool = False
    left: bool = False
    event_id: str = ""
    error: str = ""
    body: bytes = b""
    answer_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Load:
    """Clients that call one after the other until told to stop."""

    url: str
    seed: int
    headers: dict[str, str] = field(default_factory=lambda: dict(AUTHORIZATION))
    calls: list[Call] = field(default_factory=list)
    others: tuple[str, ...] = ()
    """URLs of further instances: each client keeps to one."""
    keys: tuple[dict[str, str], ...] = ()
    """Headers in place of `headers`, one for each client in turn."""
    _stopping: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def start(self, session: aiohttp.ClientSession, *, clients: int, pause: float = 0.0) -> None:
        """Let so many clients call, each with a pause before the next call."""
        for number in range(clients):
            draw = random.Random(f"{self.seed}/{number}")
            self._tasks.append(asyncio.create_task(self._client(session, draw, pause, number)))

    async def stop(self) -> None:
        """Let every client finish its call, then end."""
        self._stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End clients that a test which failed has left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def whole(self) -> list[Call]:
        """The calls whose answer their client got to its end."""
        return [call for call in self.calls if call.whole]

    async def _client(self, session: aiohttp.ClientSession, draw: random.Random, pause: float, number: int) -> None:
        url = (self.url, *self.others)[number % (1 + len(self.others))]
        headers = self.keys[number % len(self.keys)] if self.keys else None
        while not self._stopping:
            call = await self.call(
                session,
                draw.choices(MODELS, _WEIGHTS)[0],
                leaves_after=draw.randrange(1, 6) if draw.random() < _LEAVES else None,
                headers=headers,
                url=url,
            )
            if call.status == 0 and call.error.startswith("ClientConnectorError"):
                await asyncio.sleep(0.1)  # Nobody listens; the processor is needed for the server's start.
            elif pause:
                await asyncio.sleep(pause)

    async def call(
        self,
        session: aiohttp.ClientSession,
        model: str,
        *,
        leaves_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        url: str | None = None,
        **fields: Any,
    ) -> Call:
        """Make one call and remember how it went."""
        call = Call(call_id=f"{self.seed}-{next(self._numbers)}", model=model)
        self.calls.append(call)
        streams = fields.get("stream", model.startswith(("stream", "pause")))
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Who owes whom?"}],
            "metadata": {"call": call.call_id},
            **({"stream": True} if streams else {}),
            **fields,
        }
        try:
            async with session.post(
                f"{url or self.url}/v1/chat/completions", json=body, headers=headers or self.headers
            ) as response:
                call.status, call.answer_headers = response.status, response.headers
                call.event_id = response.headers.get("x-tallystick-event-id", "")
                if streams and response.status == 200:
                    await _read_stream(response, call, leaves_after)
                else:
                    call.body = await response.read()
                    call.whole = response.status == 200 and b'"usage"' in call.body
        except (aiohttp.ClientError, OSError) as error:
            call.error = f"{type(error).__name__}: {error}"
        return call


async def _read_stream(response: aiohttp.ClientResponse, call: Call, leaves_after: int | None) -> None:
    pieces = 0
    async for piece in response.content.iter_any():
        call.body += piece
        pieces += 1
        if leaves_after is not None and pieces >= leaves_after and b"[DONE]" not in call.body:
            call.left = True
            response.close()
            return
    call.whole = call.body.endswith(b"data: [DONE]\n\n")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run came to."""

    calls: int
    answered: int
    dispatched: int
    events: int
    interrupted: int
    left: int


async def committed_calls(server: ServerProcess, session: aiohttp.ClientSession, wanted: set[str]) -> None:
    """Wait until the feed of committed events has every call that is wanted, by the clients' own ids."""
    cursor, found = "", set[str]()

    async def complete() -> bool:
        nonlocal cursor
        url = f"{server.url}/ledger/events?limit=1000&after={cursor}"
        async with session.get(url, headers={**AUTHORIZATION, "connection": "close"}) as response:
            page = await response.json()
        if response.status == 503:  # The database is only just back.
            return False
        assert response.status == 200, page
        cursor = page["next"]
        found.update(event["metadata"]["call"] for event in page["events"])
        return wanted <= found

    try:
        await eventually(complete, seconds=60, what="every call is committed", pause=0.05)
    except AssertionError as error:
        missing = sorted(wanted - found)
        raise AssertionError(
            f"{error}: {len(missing)} of {len(wanted)} calls are missing, e.g. {missing[:5]}"
        ) from None


async def read_ledger(server: ServerProcess) -> list[SpendEvent]:
    """Read all events from the server's database, in the order of commits."""
    settings = load_settings(config_file=server.config, overrides={}, environ={"TALLYSTICK_HOME": str(server.home)})
    store = open_store(settings, clock=SystemClock())
    events: list[SpendEvent] = []
    cursor = ""
    try:
        while True:
            page = await store.reader.events_after(cursor, limit=5000, where=EventFilter())
            events += [committed.event for committed in page.events]
            if page.next == cursor:
                return events
            cursor = page.next
    finally:
        await store.close()


async def assert_nothing_missing_or_double(server: ServerProcess, load: Load, seen: list[str]) -> Outcome:
    """Compare what clients got and what the upstream saw with the ledger of a server that has stopped."""
    events = await read_ledger(server)
    by_call = Counter(event.metadata["call"] for event in events)
    by_id = {event.event_id: event for event in events}
    of_call = {event.metadata["call"]: event for event in events}

    assert len(by_id) == len(events), "an event id is in the ledger twice"
    assert [call for call, count in by_call.items() if count > 1] == [], "a call is in the ledger twice"
    assert sorted(set(seen) - set(by_call)) == [], "dispatched calls are not in the ledger"
    assert sorted(set(by_call) - {call.call_id for call in load.calls}) == [], "events of calls that nobody made"
    for call in load.calls:
        if call.whole:
            _assert_as_answered(call, by_id, of_call)
        elif call.event_id and call.status == 200:
            assert by_id[call.event_id].metadata["call"] == call.call_id
        elif call.event_id:  # A refusal: of the gateway, before anything was written, or of an upstream's failure.
            assert call.event_id not in by_id or by_id[call.event_id].status == "failure"
    verified = await server.verify()
    assert verified["ok"], verified["differences"]
    assert verified["events"] == len(events)
    assert verified["dead_letters"] == 0
    assert verified["cost_nano_usd"] == sum(event.cost_nano_usd for event in events)
    return Outcome(
        calls=len(load.calls),
        answered=len(load.whole),
        dispatched=len(set(seen)),
        events=len(events),
        interrupted=sum(event.status == "interrupted" and event.error_class == "Interrupted" for event in events),
        left=sum(event.error_class == "ClientDisconnected" for event in events),
    )


def _assert_as_answered(call: Call, by_id: dict[str, SpendEvent], of_call: dict[str, SpendEvent]) -> None:
    """A call that was answered whole is there as its client saw it, to the nano-dollar."""
    assert call.call_id in of_call, f"{call} was answered and is not in the ledger"
    event = of_call[call.call_id]
    assert by_id.get(call.event_id) is event, f"{call} has another event id in the ledger: {event}"
    usage = usage_of(call.call_id)
    cost = usage["prompt_tokens"] * INPUT_NANO_USD + usage["completion_tokens"] * OUTPUT_NANO_USD
    assert event.status == "success", event
    assert (event.usage.input_tokens, event.usage.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert event.cost_nano_usd == cost, event
    if not call.model.startswith(("stream", "pause")):
        assert json.loads(call.body)["usage"] == usage

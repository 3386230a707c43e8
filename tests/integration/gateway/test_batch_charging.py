"""A batch is charged once, wherever a process dies and however many do it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from file_upstream import FileUpstream, running_file_upstream
from gateway_kit import running_gateway
from integration.gateway.test_batches import COST, client_of, config, make_batch
from tallystick.bootstrap import batches as bootstrap_batches

_ROUND = bootstrap_batches.BatchWatch.tick
_STEPS = {
    "look": lambda services: (services.upstream_objects._charger, "_count"),
    "id": lambda services: (services.upstream_objects._charger._jobs, "give_event"),
    "intent": lambda services: (services.ledger.journal, "append_intent"),
    "event": lambda services: (services.ledger.journal, "append_event"),
    "synced": lambda services: (services.ledger.journal, "settled"),
    "row": lambda services: (services.upstream_objects._charger._jobs, "looked"),
    "closed": lambda services: (services.store.batch_jobs, "close_charged"),
}


class Died(BaseException):
    """What no code of ours catches: the rest of the step is never run."""


def die(services: Any, step: str, where: str) -> None:
    """Have the step end whoever reaches it, before or behind it."""
    owner, name = _STEPS[step](services)
    method: Callable[..., Any] = getattr(owner, name)

    def plain(*arguments: Any, **named: Any) -> Any:
        if where == "before":
            raise Died
        method(*arguments, **named)
        raise Died

    async def waited_for(*arguments: Any, **named: Any) -> Any:
        if where == "before":
            raise Died
        await method(*arguments, **named)
        raise Died

    setattr(owner, name, waited_for if asyncio.iscoroutinefunction(method) else plain)


async def look(services: Any, *, close: bool = True) -> None:
    """One round of the leader's, when all that is open is due."""
    charger = services.upstream_objects._charger
    if close:
        await services.store.batch_jobs.close_charged()
    now = services.clock.now() + timedelta(days=1)
    for job in await services.store.batch_jobs.take_due(now=now, until=now, limit=9):
        await charger.look(job)


async def until_closed(services: Any, upstream_id: str = "batch_up0") -> None:
    async with asyncio.timeout(20):
        while (await services.store.batch_jobs.find("house-1", upstream_id)).state != "charged":
            await services.store.batch_jobs.close_charged()
            await asyncio.sleep(0.01)


async def until_committed(services: Any) -> None:
    async with asyncio.timeout(20):
        while services.ledger.journal.pending_events:
            await asyncio.sleep(0.01)


async def assert_charged_once(services: Any) -> Any:
    await until_committed(services)
    audit = await services.store.auditor.audit()
    assert (audit.events, audit.cost_nano_usd, audit.dead_letter_cost_nano_usd) == (1, COST, 0)
    assert audit.differences == ()
    (total,) = await services.store.reader.totals("global", limit=2)
    assert total.cost_nano_usd == COST
    return audit


@pytest.fixture(autouse=True)
def _no_leaders_job(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_watch: object) -> bool:
        return False

    monkeypatch.setattr(bootstrap_batches.BatchWatch, "tick", nothing)


async def made(gateway: Any, upstream: FileUpstream) -> None:
    async with client_of(gateway) as client:
        await make_batch(client)
    upstream.work_off("batch_up0")


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("step", _STEPS)
async def test_whoever_dies_at_whichever_step_it_is_charged_once(tmp_path: Path, step: str, where: str) -> None:
    async with running_file_upstream() as upstream:
        async with running_gateway(tmp_path, config(upstream.url)) as gateway:
            await made(gateway, upstream)
            if step == "closed":
                await look(gateway.services)
            die(gateway.services, step, where)
            with pytest.raises(Died):
                await look(gateway.services)
        async with running_gateway(tmp_path, config(upstream.url)) as gateway:
            # At once, and so perhaps while an event of before is on its way: nobody has to know.
            await look(gateway.services, close=False)
            await look(gateway.services)
            await until_closed(gateway.services)
            await assert_charged_once(gateway.services)


async def test_a_journal_that_was_away_delivers_what_counts_already(tmp_path: Path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        await made(gateway, upstream)
        services = gateway.services
        await services.ledger._committing.stop()  # Its journal is where nobody reads it.
        await look(services)
        assert services.ledger.journal.pending_events == 1
        # An hour later another process, with a journal of its own, does not find the event in the ledger.
        (tmp_path / "other").mkdir()
        database = f"sqlite:///{tmp_path / 'home' / 'tallystick.db'}"
        general = {"database_url": database, "secret_keys": f"file://{tmp_path / 'home' / 'secret_keys'}"}
        async with running_gateway(tmp_path / "other", config(upstream.url, general_settings=general)) as other:
            await look(other.services)
            await until_closed(other.services)
            await assert_charged_once(other.services)
        await services.ledger._committing.start()
        audit = await assert_charged_once(services)
        assert audit.dead_letters == 1


async def test_two_leaders_on_one_postgres_charge_once(tmp_path: Path, postgres_url: str) -> None:
    keys = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    general = {"database_url": postgres_url, "secret_keys": keys}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with running_file_upstream() as upstream:
        whole = config(upstream.url, general_settings=general)
        async with running_gateway(tmp_path / "one", whole) as one, running_gateway(tmp_path / "two", whole) as two:
            await made(one, upstream)
            job = await one.services.store.batch_jobs.find("house-1", "batch_up0")
            await asyncio.gather(*(each.services.upstream_objects._charger.look(job) for each in (one, two)))
            await until_committed(one.services)
            await until_committed(two.services)
            await until_closed(one.services)
            audit = await assert_charged_once(two.services)
            assert audit.dead_letters == 1


async def test_the_leaders_own_rounds_charge_it(tmp_path: Path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        services = gateway.services
        watch = bootstrap_batches.BatchWatch(
            jobs=services.store.batch_jobs,
            charger=lambda: services.upstream_objects._charger,
            clock=services.clock,
            metrics=services.metrics,
        )
        async with client_of(gateway) as client:
            batch = await make_batch(client)
            assert not await _ROUND(watch)
            assert services.metrics.open_batches._value.get() == 1
            upstream.work_off("batch_up0")
            upstream.on_request = lambda request: web.Response(status=500) if "content" in request.path else None
            await client.batches.retrieve(batch.id)  # It is due now, because a caller has seen it end.
            await _ROUND(watch)
            assert services.metrics.batch_looks_failed._value.get() == 1
            upstream.on_request = lambda _: None
            await client.batches.retrieve(batch.id)
            await _ROUND(watch)
            await gateway.events(1)
            await _ROUND(watch)
        assert services.metrics.open_batches._value.get() == 0
        await until_closed(services)
        await assert_charged_once(services)

"""BatchJobStore: a job is noted before the upstream is asked, and open until the ledger has its event."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec

from conformance.kit import START, Engine, make_event
from tallystick.control.owner import Owner
from tallystick.ledger.batch import Batch, DeadLetter, batch_of
from tallystick.ledger.batch_jobs import BatchJob
from tallystick.runtime.ids import event_time, new_event_id

ANNE = Owner("key-anne", "anne", "reds")
BEN = Owner("key-ben", "ben", "blues")
MINUTE = timedelta(minutes=1)


def make_job(number: int, owner: Owner = ANNE, **fields: object) -> BatchJob:
    made_at = START + timedelta(seconds=number)
    job_id = new_event_id(made_at)
    template = make_event(event_id=job_id, started_at=made_at, ended_at=made_at)
    job = BatchJob(
        job_id=job_id, deployment_id="d", owner=owner, made_at=made_at, next_look_at=made_at, template=template
    )
    return msgspec.structs.replace(job, **fields)


async def opened(engine: Engine, job: BatchJob, upstream_id: str) -> BatchJob:
    await engine.batch_jobs.begin(job)
    await engine.batch_jobs.opened(job.job_id, upstream_id=upstream_id, answer="{}", next_look_at=job.next_look_at)
    return msgspec.structs.replace(job, state="open", upstream_id=upstream_id, answer="{}")


async def test_what_was_noted_comes_back(engine: Engine) -> None:
    job = make_job(0)
    await engine.batch_jobs.begin(job)
    (taken,) = await engine.batch_jobs.take_due(now=START, until=START + MINUTE, limit=10)
    assert taken == msgspec.structs.replace(job, looks=1, next_look_at=START + MINUTE)
    assert await engine.batch_jobs.count() == {"creating": 1}
    await engine.batch_jobs.opened(job.job_id, upstream_id="batch_1", answer='{"é": 1}', next_look_at=START)
    found = await engine.batch_jobs.find("d", "batch_1")
    assert found == msgspec.structs.replace(
        job, state="open", upstream_id="batch_1", answer='{"é": 1}', looks=1, next_look_at=START
    )
    assert await engine.batch_jobs.find("other", "batch_1") is None
    assert await engine.batch_jobs.find("d", "") is None
    assert await engine.batch_jobs.count() == {"open": 1}


async def test_a_job_that_is_open_is_not_opened_again_and_not_dropped(engine: Engine) -> None:
    job = await opened(engine, make_job(0), "batch_1")
    await engine.batch_jobs.opened(job.job_id, upstream_id="batch_2", answer="x", next_look_at=START + MINUTE)
    await engine.batch_jobs.drop(job.job_id)
    await engine.batch_jobs.drop(job.job_id, state="lost")
    assert await engine.batch_jobs.find("d", "batch_1") == job


async def test_a_job_that_was_not_taken_is_gone_or_lost(engine: Engine) -> None:
    refused, lost = make_job(0), make_job(1)
    for job in (refused, lost):
        await engine.batch_jobs.begin(job)
    await engine.batch_jobs.drop(refused.job_id)
    await engine.batch_jobs.drop(lost.job_id, state="lost")
    later = START + MINUTE
    assert await engine.batch_jobs.take_due(now=later, until=later, limit=10) == ()
    assert await engine.batch_jobs.count() == {}


async def test_what_is_taken_is_nobody_elses_until_then(engine: Engine) -> None:
    first, second = [await opened(engine, make_job(number), f"batch_{number}") for number in range(2)]
    now, until = START + MINUTE, START + 2 * MINUTE
    (taken,) = await engine.batch_jobs.take_due(now=now, until=until, limit=1)
    assert taken.job_id == first.job_id
    (taken,) = await engine.batch_jobs.take_due(now=now, until=until, limit=9)
    assert taken.job_id == second.job_id
    assert await engine.batch_jobs.take_due(now=now, until=until, limit=9) == ()
    await engine.batch_jobs.looked(second.job_id, answer='{"status": "x"}', next_look_at=now)
    (taken,) = await engine.batch_jobs.take_due(now=now, until=until, limit=9)
    assert (taken.job_id, taken.answer, taken.looks) == (second.job_id, '{"status": "x"}', 2)
    await engine.batch_jobs.looked(second.job_id, answer=None, next_look_at=until)
    found = await engine.batch_jobs.find("d", "batch_1")
    assert found is not None
    assert found.answer == '{"status": "x"}'


async def test_two_who_take_at_once_share_nothing(engine: Engine) -> None:
    for number in range(20):
        await opened(engine, make_job(number), f"batch_{number}")
    now, until = START + MINUTE, START + 2 * MINUTE
    runs = await asyncio.gather(*(engine.batch_jobs.take_due(now=now, until=until, limit=7) for _ in range(4)))
    taken = [job.job_id for run in runs for job in run]
    assert len(taken) == len(set(taken))


async def test_an_event_has_the_id_that_was_given_first(engine: Engine) -> None:
    job = await opened(engine, make_job(0), "batch_1")
    ids = [new_event_id(START + timedelta(seconds=number)) for number in range(8)]
    given = await asyncio.gather(*(engine.batch_jobs.give_event(job.job_id, each) for each in ids))
    assert len(set(given)) == 1
    assert given[0] in ids
    found = await engine.batch_jobs.find("d", "batch_1")
    assert found is not None
    assert found.event_id == given[0]


async def test_a_job_is_closed_when_the_ledger_has_its_event(engine: Engine) -> None:
    jobs = [await opened(engine, make_job(number), f"batch_{number}") for number in range(3)]
    ids = [await engine.batch_jobs.give_event(job.job_id, new_event_id(START)) for job in jobs[:2]]
    assert await engine.batch_jobs.close_charged() == 0
    events = [make_event(event_id=each, started_at=event_time(each)) for each in ids[:1]]
    await engine.ledger.commit(batch_of("p", 1, events))
    assert await engine.batch_jobs.close_charged() == 1
    letter = DeadLetter(seq=2, event_id=ids[1], reason="it was refused", cost_nano_usd=7, payload=b"x")
    await engine.ledger.commit(
        Batch(producer_id="p", first_seq=2, last_seq=2, numbers=(), events=(), dead_letters=(letter,))
    )
    assert await engine.batch_jobs.close_charged() == 1
    assert await engine.batch_jobs.close_charged() == 0
    now = START + MINUTE
    (left,) = await engine.batch_jobs.take_due(now=now, until=now, limit=10)
    assert left.job_id == jobs[2].job_id
    await engine.batch_jobs.looked(jobs[0].job_id, answer="no", next_look_at=START)
    found = await engine.batch_jobs.find("d", "batch_0")
    assert found is not None
    assert (found.state, found.answer) == ("charged", "{}")


async def test_lists_hold_the_callers_own_newest_first(engine: Engine) -> None:
    of_anne = [await opened(engine, make_job(number), f"batch_{number}") for number in range(3)]
    of_team = await opened(engine, make_job(3, Owner("key-carl", "", "reds")), "batch_3")
    of_ben = await opened(engine, make_job(4, BEN), "batch_4")
    of_nobody = await opened(engine, make_job(5, Owner("key-x", "", "")), "batch_5")
    await engine.batch_jobs.begin(make_job(6))  # Not at the upstream, as far as is known.

    async def listed(owner: Owner | None, after: tuple[str, str] | None = None, limit: int = 10) -> list[str]:
        return [job.upstream_id for job in await engine.batch_jobs.listed(owner, after=after, limit=limit)]

    mine = [job.upstream_id for job in (of_team, *reversed(of_anne))]
    assert await listed(ANNE) == mine
    assert await listed(ANNE, limit=2) == mine[:2]
    assert await listed(ANNE, after=("d", mine[1])) == mine[2:]
    assert await listed(ANNE, after=("d", "unknown")) == []
    assert await listed(BEN) == [of_ben.upstream_id]
    assert await listed(Owner("key-y", "", "")) == []
    assert await listed(None) == [of_nobody.upstream_id, of_ben.upstream_id, *mine]

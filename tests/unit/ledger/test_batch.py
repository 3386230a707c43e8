"""Batch arithmetic: runs of events, what lies above a watermark, and sums that may be taken in any pieces."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.ledger.batch import COUNTERS, ENTITY_TYPES, Batch, DeadLetter, Deltas, batch_of, fold
from tallystick.ledger.event import SpendEvent
from tallystick.wire.usage import Usage

START = datetime(2026, 3, 14, 23, 59, 59, tzinfo=UTC)
names = st.sampled_from(("", "a", "b"))
quantities = st.one_of(st.none(), st.integers(0, 50))
events = st.builds(
    SpendEvent,
    event_id=st.just("id"),
    call_type=st.just("chat"),
    endpoint=names,
    status=st.sampled_from(("success", "failure", "interrupted")),
    started_at=st.integers(0, 3).map(lambda seconds: START + timedelta(seconds=seconds)),
    ended_at=st.just(START),
    key_hash=names,
    user_id=names,
    team_id=names,
    organization_id=names,
    end_user_id=names,
    tags=st.lists(names, max_size=3).map(tuple),
    model_group=names,
    model=names,
    provider=names,
    tool=names,
    usage=st.builds(
        Usage,
        input_tokens=quantities,
        output_tokens=quantities,
        cache_read_tokens=quantities,
        cache_write_tokens=quantities,
        reasoning_tokens=quantities,
    ),
    cost_nano_usd=st.integers(-100, 10**12),
)
runs = st.lists(events, max_size=12)


def event(**fields: object) -> SpendEvent:
    values = {"event_id": "id", "call_type": "chat", "endpoint": "e", "status": "success", "started_at": START}
    return SpendEvent(**(values | {"ended_at": START} | fields))


def dead(seq: int) -> DeadLetter:
    return DeadLetter(seq=seq, event_id="dead", reason="poison", cost_nano_usd=1, payload=b"")


def add(left: dict, right: dict) -> dict:
    zeros = [0] * len(COUNTERS)
    return {
        key: [a + b for a, b in zip(left.get(key, zeros), right.get(key, zeros), strict=True)]
        for key in sorted(left.keys() | right.keys())
    }


@settings(deadline=None, derandomize=True)
@given(runs, runs)
def test_sums_may_be_taken_in_pieces(left: list[SpendEvent], right: list[SpendEvent]) -> None:
    whole, first, second = fold(left + right), fold(left), fold(right)
    assert whole == Deltas(
        daily=add(first.daily, second.daily),
        daily_entities=add(first.daily_entities, second.daily_entities),
        totals=add(first.totals, second.totals),
    )


@settings(deadline=None, derandomize=True)
@given(runs)
def test_the_order_of_events_does_not_matter_and_keys_are_in_order(run: list[SpendEvent]) -> None:
    deltas = fold(run)
    assert deltas == fold(reversed(run))
    for sums in (deltas.daily, deltas.daily_entities, deltas.totals):
        assert list(sums) == sorted(sums)


@settings(deadline=None, derandomize=True)
@given(runs)
def test_each_total_is_the_sum_of_its_events(run: list[SpendEvent]) -> None:
    """Against a second, slow way of counting that does not go through the cube."""
    totals = fold(run).totals
    assert sum(row[-1] for row in fold(run).daily.values()) == sum(each.cost_nano_usd for each in run)
    for (entity_type, entity_id, member_id), counters in totals.items():
        own = [each for each in run if belongs(each, entity_type, entity_id, member_id)]
        assert counters[0] == len(own)
        assert counters[1] == sum(each.status == "success" for each in own)
        assert counters[2] == len(own) - counters[1]
        assert counters[3:8] == [sum(getattr(each.usage, name) or 0 for each in own) for name in COUNTERS[3:8]]
        assert counters[8] == sum(each.cost_nano_usd for each in own)
    assert {entity_type for entity_type, _, _ in totals} <= set(ENTITY_TYPES)
    assert all(entity_id for entity_type, entity_id, _ in totals if entity_type not in {"global", "tag"})


def belongs(each: SpendEvent, entity_type: str, entity_id: str, member_id: str) -> bool:
    match entity_type:
        case "global":
            return True
        case "tag":
            return entity_id in each.tags
        case "team_member":
            return (each.team_id, each.user_id) == (entity_id, member_id)
        case "key":
            return each.key_hash == entity_id
        case "model_group" | "model" | "provider":
            return getattr(each, entity_type) == entity_id
        case _:
            return getattr(each, f"{entity_type}_id") == entity_id


def test_the_day_is_that_of_utc() -> None:
    deltas = fold([event(), event(started_at=START + timedelta(seconds=1))])
    assert [key[0] for key in deltas.daily] == [date(2026, 3, 14), date(2026, 3, 15)]


def test_nothing_adds_nothing() -> None:
    assert fold([]) == Deltas(daily={}, daily_entities={}, totals={})


def test_folding_does_not_share_rows() -> None:
    deltas = fold([event(user_id="u", end_user_id="e", tags=("t",))])
    rows = [*deltas.daily.values(), *deltas.daily_entities.values(), *deltas.totals.values()]
    assert len({id(row) for row in rows}) == len(rows)


@settings(deadline=None, derandomize=True)
@given(
    first_seq=st.integers(1, 5),
    kinds=st.lists(st.booleans(), min_size=1, max_size=8),
    watermark=st.integers(0, 14),
)
def test_above_keeps_exactly_what_is_above(first_seq: int, kinds: list[bool], watermark: int) -> None:
    numbered = list(enumerate(kinds, first_seq))
    batch = Batch(
        producer_id="p",
        first_seq=first_seq,
        last_seq=first_seq + len(kinds) - 1,
        numbers=tuple(seq for seq, alive in numbered if alive),
        events=tuple(event(event_id=str(seq)) for seq, alive in numbered if alive),
        dead_letters=tuple(dead(seq) for seq, alive in numbered if not alive),
    )
    part = batch.above(watermark)
    left = [seq for seq, _ in numbered if seq > watermark]
    if not left:
        assert part is None
        return
    assert part is not None
    assert (part.first_seq, part.last_seq) == (left[0], left[-1])
    assert sorted([*part.numbers, *(letter.seq for letter in part.dead_letters)]) == left
    assert [each.event_id for each in part.events] == [str(seq) for seq in part.numbers]


def test_a_batch_whose_numbers_do_not_add_up_can_not_be_made() -> None:
    with pytest.raises(AssertionError):
        Batch(producer_id="p", first_seq=1, last_seq=2, numbers=(1,), events=(event(),))
    with pytest.raises(AssertionError):
        Batch(producer_id="p", first_seq=1, last_seq=1, numbers=(), events=(event(),))
    with pytest.raises(AssertionError):
        batch_of("p", 1, [])


def test_a_batch_of_events_is_numbered_from_its_first() -> None:
    batch = batch_of("p", 7, [event(event_id="x"), event(event_id="y")])
    assert (batch.first_seq, batch.last_seq, batch.numbers) == (7, 8, (7, 8))
    assert batch.above(6) is batch

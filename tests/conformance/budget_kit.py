"""What the contract tests of budgets share: windows, requests, and what events add up to, counted one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from conformance.kit import START, Engine, make_event
from tallystick.access.budget_store import LeaseReply, LeaseRequest, LeaseState, WindowSum
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.ledger.batch import Batch, batch_of
from tallystick.ledger.budget_scopes import scopes_of
from tallystick.ledger.event import SpendEvent

MIDNIGHT = datetime(2026, 3, 14, tzinfo=UTC)
"""Of the day on which `make_event` lets calls begin, at START."""
DAY = timedelta(days=1)
KEY = Scope("key", "k1")
TEAM = Scope("team", "t1")
SECONDS = 60.0


def day_of(scope: Scope = KEY) -> Window:
    """Return the day of START."""
    return Window(scope, MIDNIGHT, MIDNIGHT + DAY)


def lifetime_of(scope: Scope = KEY) -> Window:
    return Window(scope, LIFETIME_START, LIFETIME_END)


def request(window: Window, limit: int = 10_000, **fields: Any) -> LeaseRequest:
    """Return a request for a window that needs nothing and wants nothing, unless it says so."""
    values = {"need_nano_usd": fields.pop("need", 0), "want_nano_usd": fields.pop("want", 0)}
    return LeaseRequest(window=window, limit_nano_usd=limit, **values, **fields)


async def lease(engine: Engine, holder: str, *requests: LeaseRequest, share: int = 1) -> LeaseReply:
    return await engine.budgets.lease(holder, requests, seconds=SECONDS, share=share)


async def take(engine: Engine, holder: str, window: Window, amount: int, limit: int = 10_000) -> LeaseState:
    """Lease exactly this amount, which has to be there."""
    reply = await lease(engine, holder, request(window, limit, need=amount))
    assert reply.granted
    return reply.states[0]


async def look(engine: Engine, window: Window, *entity_ids: str) -> WindowSum:
    (found,) = await engine.budgets.sums([(window, entity_ids)])
    return found


async def held(engine: Engine, holder: str) -> dict[Window, int]:
    """Return the amounts of a holder's leases."""
    return {state.window: state.amount_nano_usd for state in await engine.budgets.renew(holder, seconds=SECONDS)}


async def commit(engine: Engine, producer_id: str, first_seq: int, costs: Sequence[int], **fields: Any) -> Batch:
    """Commit events of these costs, numbered from `first_seq` on."""
    batch = batch_of(producer_id, first_seq, [make_event(cost_nano_usd=cost, **fields) for cost in costs])
    assert await engine.ledger.commit(batch) == batch.last_seq
    return batch


def counts_in(event: SpendEvent, window: Window, entity_ids: Iterable[str] = ()) -> bool:
    """Whether an event counts in a window, by the words of `Scope` and `Window`."""
    scope = window.scope
    named = {(scope.type, each, scope.member_id) for each in (scope.id, *entity_ids)}
    return (
        not named.isdisjoint(scopes_of(event))
        and scope.model in {"", event.model_group}
        and window.starts_at <= event.started_at < window.ends_at
    )


def spent_in(events: Iterable[SpendEvent], window: Window, entity_ids: Iterable[str] = ()) -> int:
    """Return what these events add up to in a window."""
    ids = tuple(entity_ids)
    return sum(event.cost_nano_usd for event in events if counts_in(event, window, ids))


def motley_events() -> list[SpendEvent]:
    """Return events of three days around START that differ in all that scopes look at, each with a cost of its own."""
    callers: list[dict[str, Any]] = [
        {},
        {"team_id": ""},
        {"user_id": ""},
        {"key_hash": "k2", "session_id": "s1"},
        {"session_id": "s1"},
        {"organization_id": "", "team_id": "t2"},
        {"organization_id": "o2", "end_user_id": ""},
        {"user_id": "u2", "provider": "other", "tags": ("red", "red", "")},
        {"model_group": "large", "end_user_id": "e2", "tags": ()},
        {"key_hash": "", "user_id": "", "team_id": "", "organization_id": "", "provider": "", "model_group": ""},
    ]
    edges = [MIDNIGHT, MIDNIGHT + DAY, START, MIDNIGHT + timedelta(hours=5, minutes=30)]
    instant = timedelta(milliseconds=1)
    moments = sorted({MIDNIGHT - DAY, *edges, *(edge - instant for edge in edges), *(edge + instant for edge in edges)})
    return [
        make_event(started_at=moment, cost_nano_usd=1 << (number % 40), **caller)
        for number, (moment, caller) in enumerate((moment, caller) for moment in moments for caller in callers)
    ]


EVERY_SCOPE = [
    Scope("global"),
    Scope("key", "k1"),
    Scope("user", "u1"),
    Scope("personal", "u1"),
    Scope("team", "t1"),
    Scope("team_member", "t1", "u1"),
    Scope("organization", "o1"),
    Scope("organization_member", "o1", "u1"),
    Scope("provider", "demo"),
    Scope("end_user", "e1"),
    Scope("session", "s1", "k1"),
    Scope("tag", "red"),
]
"""One of each type."""

TIMES = {
    "for ever": (LIFETIME_START, LIFETIME_END),
    "one day": (MIDNIGHT, MIDNIGHT + DAY),
    "several days": (MIDNIGHT - DAY, MIDNIGHT + 2 * DAY),
    "from the middle of a day": (START, MIDNIGHT + 30 * DAY),
    "to the middle of a day": (MIDNIGHT - 30 * DAY, START),
    "days of another zone": (MIDNIGHT - timedelta(hours=18, minutes=30), MIDNIGHT + timedelta(hours=5, minutes=30)),
    "a day of 23 hours": (MIDNIGHT + timedelta(hours=5), MIDNIGHT + timedelta(hours=28)),
    "within a day": (MIDNIGHT + timedelta(hours=5), START),
    "most of a day": (MIDNIGHT + timedelta(hours=5), MIDNIGHT + timedelta(hours=22)),
    "days of a zone in the east": (MIDNIGHT - timedelta(hours=2), MIDNIGHT + timedelta(hours=22)),
    "a second": (START, START + timedelta(seconds=1)),
    "to the millisecond": (START - timedelta(milliseconds=1), START),
    "the day after": (MIDNIGHT + DAY, MIDNIGHT + 2 * DAY),
}
"""From where to where windows may go; all but one have events of `motley_events`."""

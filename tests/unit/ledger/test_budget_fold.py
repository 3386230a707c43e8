"""What a batch adds to windows is what its events, looked at one by one, add."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from conformance.kit import make_event, with_dead_letter
from tallystick.access.scopes import SCOPE_TYPES, Scope, Window
from tallystick.ledger.batch import batch_of
from tallystick.ledger.budget_fold import BudgetFold, settled
from tallystick.ledger.budget_scopes import scopes_of

START = datetime(2026, 3, 14, 12, tzinfo=UTC)
names = st.sampled_from(("", "a", "b"))
moments = st.integers(0, 6).map(lambda seconds: START + timedelta(seconds=seconds))
events = st.builds(
    make_event,
    started_at=moments,
    key_hash=names,
    user_id=names,
    team_id=names,
    organization_id=names,
    end_user_id=names,
    session_id=names,
    provider=names,
    model_group=names,
    tags=st.lists(names, max_size=3).map(tuple),
    cost_nano_usd=st.integers(-5, 100),
)
windows = st.builds(
    lambda scope, starts_at, seconds: Window(scope, starts_at, starts_at + timedelta(seconds=seconds)),
    st.builds(Scope, st.sampled_from(SCOPE_TYPES), names, names, names),
    moments,
    st.integers(1, 9),
)
aliases = st.sets(st.tuples(st.sampled_from(("key", "tag", "user")), st.sampled_from("ab"), st.sampled_from("ab")))


def counts(event, window, ids):
    types = {(kind, entity, member) for kind, entity, member in scopes_of(event)}
    scope = window.scope
    return (
        any((scope.type, each, scope.member_id) in types for each in ids)
        and scope.model in {"", event.model_group}
        and window.starts_at <= event.started_at < window.ends_at
    )


@given(st.lists(events, min_size=1, max_size=8), st.sets(windows, max_size=12), aliases, st.integers(0, 12))
def test_a_batch_charges_each_window_once_for_each_event(run, held, aliased, since_seq):
    batch = with_dead_letter(batch_of("p", 3, run), 3)
    ids = {
        window: {window.scope.id}
        | {entity for kind, entity, scope_id in aliased if (kind, scope_id) == (window.scope.type, window.scope.id)}
        for window in held
    }
    places = [((window.scope.type, each, window.scope.member_id), window) for window in held for each in ids[window]]

    charges = BudgetFold(batch).charges(places)

    numbered = list(zip(batch.numbers, batch.events, strict=True))
    expected = {
        window: [(seq, event.cost_nano_usd) for seq, event in numbered if counts(event, window, ids[window])]
        for window in sorted(held)
    }
    assert [(charge.window, charge.cost_nano_usd, charge.above(since_seq)) for charge in charges] == [
        (window, sum(cost for _, cost in costs), sum(cost for seq, cost in costs if seq > since_seq))
        for window, costs in expected.items()
        if costs
    ]


def test_it_says_whose_windows_are_to_be_looked_for():
    first, second = make_event(started_at=START + timedelta(seconds=5)), make_event(started_at=START, key_hash="k2")
    folded = BudgetFold(batch_of("p", 1, [first, second]))
    assert folded.scopes == sorted({*scopes_of(first), *scopes_of(second)})
    assert (folded.first_time, folded.last_time) == (START, START + timedelta(seconds=5))
    empty = BudgetFold(with_dead_letter(batch_of("p", 1, [first]), 1))
    assert (empty.scopes, empty.first_time, empty.charges([])) == ([], None, [])


def test_a_lease_pays_what_it_has_and_a_correction_pays_nothing_back():
    assert [settled(50, 20), settled(50, 80), settled(50, -20), settled(0, 5)] == [20, 50, 0, 0]

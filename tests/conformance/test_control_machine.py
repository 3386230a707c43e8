"""Any sequence of changes, from two sides: each engine answers, and holds, what the model in memory does."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from conformance.engines import ENGINES, empty_postgres
from conformance.kit import Engine
from control_kit import ADMIN, START, creation, deletion, make_object, update
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import AuditFilter, Change, NoneLeft, ObjectFilter, Scope
from tallystick.errors import AlreadyExists, ChangedMeanwhile, Conflict
from tallystick.testing.control_store import MemoryControlStore

KINDS = (Kind.KEY, Kind.TEAM, Kind.USER, Kind.ACCESS_GROUP, Kind.BUDGET)
ids = st.sampled_from(("", "a", "b", "c"))
refs = st.builds(ObjectRef, st.sampled_from(KINDS), st.sampled_from(("a", "b", "c", "Ä")))
names = st.sampled_from(("", "n", "N", "mn"))
fields = st.fixed_dictionaries(
    {},
    optional={
        "name": names,
        "team_id": ids,
        "user_id": ids,
        "organization_id": ids,
        "budget_id": ids,
        "blocked": st.booleans(),
        "expires_at": st.one_of(st.none(), st.builds(lambda days: START + timedelta(days=days), st.integers(0, 2))),
        "updated_at": st.builds(lambda seconds: START + timedelta(seconds=seconds), st.integers(0, 2)),
        "spec": st.dictionaries(ids, st.integers(), max_size=2),
    },
)
some_ids = st.lists(ids, max_size=2).map(tuple)
maybe_ids = st.one_of(st.none(), some_ids)
filters = st.builds(
    ObjectFilter,
    kind=st.sampled_from(KINDS),
    names=st.one_of(st.none(), st.lists(names, max_size=2).map(tuple)),
    team_ids=maybe_ids,
    user_ids=maybe_ids,
    search=st.one_of(st.none(), st.sampled_from(("", "n", "MN", "a", "ä", "mnn"))),
    within=st.one_of(
        st.none(),
        st.builds(Scope, user_ids=some_ids, team_ids=some_ids, organization_ids=some_ids, object_ids=some_ids),
    ),
    deleted=st.booleans(),
)
sorting = st.fixed_dictionaries(
    {
        "sort_by": st.sampled_from(("created_at", "updated_at", "name", "object_id", "expires_at")),
        "descending": st.booleans(),
        "offset": st.integers(0, 3),
        "limit": st.integers(1, 4),
    }
)
conditions = st.lists(
    st.builds(
        NoneLeft,
        kind=st.sampled_from(KINDS),
        relation=st.sampled_from(("team_id", "user_id", "organization_id", "budget_id")),
        value=st.sampled_from(("a", "b")),
    ),
    max_size=1,
)


class Administrators(RuleBasedStateMachine):
    """People who change anything, with views that may be old."""

    engine_name: str
    place: str

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.directory = tempfile.TemporaryDirectory(prefix="tallystick-")
        if self.place:
            self.runner.run(empty_postgres(self.place))
        place = self.place or self.directory.name
        self.engine: Engine = self.runner.run(self.stack.enter_async_context(ENGINES[self.engine_name](place)))
        self.model = MemoryControlStore(clock=self.engine.clock)
        self.views: dict[ObjectRef, ControlObject] = {}

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.runner.run(self.stack.aclose())
            self.directory.cleanup()
            self.runner.close()

    @rule(
        wanted=st.lists(st.tuples(refs, fields, st.sampled_from(("make", "update", "delete"))), min_size=1, max_size=5),
        required=st.lists(refs, max_size=1),
        none_left=conditions,
        at_peer=st.booleans(),
    )
    def change(self, wanted: Any, required: list[ObjectRef], none_left: list[NoneLeft], at_peer: bool) -> None:
        changes = [change for each in wanted if (change := self._change(*each)) is not None]
        store = self.engine.peer_control if at_peer else self.engine.control
        options = {"author": ADMIN, "now": START, "requires": required, "none_left": none_left}
        outcome = self.runner.run(self._outcome(store.apply(changes, **options)))
        expected = self.runner.run(self._outcome(self.model.apply(changes, **options)))
        if isinstance(expected, type) and len(changes) + len(required) + len(none_left) > 1:
            assert outcome in {AlreadyExists, ChangedMeanwhile}  # Which of several reasons is told is open.
        else:
            assert outcome == expected

    @rule(ref=refs)
    def look(self, ref: ObjectRef) -> None:
        """Take a view, from which changes are made until the next one."""
        held = self.runner.run(self.engine.control.find(ref))
        assert held == self.runner.run(self.model.find(ref))
        if held is not None:
            self.views[ref] = held

    @rule(where=filters, options=sorting)
    def list_page(self, where: ObjectFilter, options: Any) -> None:
        page = self.runner.run(self.engine.control.list_objects(where, **options))
        assert page == self.runner.run(self.model.list_objects(where, **options))

    @rule(key_hash=st.sampled_from(("a", "b", "c")))
    def find_key(self, key_hash: str) -> None:
        found = self.runner.run(self.engine.control.find_key(key_hash))
        expected = self.runner.run(self.model.find_key(key_hash))
        assert sorted(found, key=_by_ref) == sorted(expected, key=_by_ref)
        assert [each.kind for each in found] == [each.kind for each in expected]

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def it_is_as_the_model(self) -> None:
        self.runner.run(self._compare())

    async def _compare(self) -> None:
        mine, model = await self.engine.peer_control.load(KINDS), await self.model.load(KINDS)
        assert mine.revision == model.revision
        assert sorted(mine.objects, key=_by_ref) == sorted(model.objects, key=_by_ref)
        assert await self.engine.control.changes_after(0, limit=1000) == await self.model.changes_after(0, limit=1000)
        audits = [await each.list_audit(AuditFilter(), offset=0, limit=9) for each in (self.engine.control, self.model)]
        assert len({audit.total_count for audit in audits}) == 1
        assert _without_ids(audits[0].rows) == _without_ids(audits[1].rows)

    def _change(self, ref: ObjectRef, values: dict[str, Any], what: str) -> Change | None:
        if what == "make":
            return creation(make_object(ref.kind, ref.object_id, **values))
        view = self.views.get(ref)
        if view is None:
            return None
        return deletion(view) if what == "delete" else update(view, **values)

    async def _outcome(self, work: Any) -> object:
        try:
            return await work
        except Conflict as error:
            return type(error)


def _by_ref(held: ControlObject) -> ObjectRef:
    return held.ref


def _without_ids(rows: Any) -> list[Any]:
    return [msgspec.structs.replace(row, audit_id="") for row in rows]


def run_administrators(engine_name: str, place: str, *, examples: int, steps: int) -> None:
    machine = type("Machine", (Administrators,), {"engine_name": engine_name, "place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(400)  # A failing run takes its time to find the shortest example.
def test_sqlite_does_as_the_model() -> None:
    run_administrators("sqlite", "", examples=40, steps=30)


@pytest.mark.timeout(400)
def test_postgres_does_as_the_model(postgres_url: str) -> None:
    run_administrators("postgres", postgres_url, examples=10, steps=25)


@pytest.mark.timeout(400)
def test_postgres_by_way_of_a_pooler_does_as_the_model(pooled_postgres_url: str) -> None:
    run_administrators("pgbouncer", pooled_postgres_url, examples=5, steps=25)

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tallystick.config.secret_keys import SecretKey
from tallystick.control.key_ring import KeyRing
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.sealer import Sealer
from tallystick.control.secret_fields import MASK
from tallystick.control.store import AuditFilter, Author, NoneLeft
from tallystick.control.writer import ATTEMPTS_MAX, ObjectWriter
from tallystick.errors import AlreadyExists, BadRequest, ChangedMeanwhile, NotFound, ReadOnlyMode
from tallystick.testing.clock import FakeClock
from tallystick.testing.control_store import MemoryControlStore
from unit.control.specs import MARKER, SPECS_BY_KIND

OLD = SecretKey(key_id="old", key=bytes(range(32)))
NEW = SecretKey(key_id="new", key=bytes(range(32, 64)))
ADA = Author(key_hash="hash-of-ada", user_id="ada")
CREDENTIAL = ObjectRef(Kind.CREDENTIAL, "openai")


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryControlStore(clock=self.clock)
        self.heard: list[int] = []
        self.writer = self.writer_with(NEW, OLD)

    def writer_with(self, *keys: SecretKey) -> ObjectWriter:
        async def hear(revision: int) -> None:
            assert await self.store.revision() >= revision, "heard after the commit"
            self.heard.append(revision)

        return ObjectWriter(self.store, sealer=Sealer(KeyRing(keys)), clock=self.clock, on_applied=hear)

    def new(self, kind: Kind, object_id: str, **fields: Any) -> ControlObject:
        now = self.clock.now()
        return ControlObject(kind=kind, object_id=object_id, created_at=now, updated_at=now, **fields)

    async def credential(self, **values: str) -> ControlObject:
        new = self.new(Kind.CREDENTIAL, "openai", spec={"credential_values": values})
        return await self.writer.create(new, author=ADA)

    async def audit(self) -> list[Any]:
        return list((await self.store.list_audit(AuditFilter(), offset=0, limit=100)).rows)

    def opened(self, held: ControlObject) -> dict[str, Any]:
        return self.writer.sealer.open(held.kind, held.object_id, held.spec)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_what_is_made_is_sealed_signed_and_heard(bench: Bench) -> None:
    made = await bench.credential(api_key="a-secret")

    assert made == await bench.store.find(CREDENTIAL)
    assert "a-secret" not in str(made.spec)
    assert bench.opened(made) == {"credential_values": {"api_key": "a-secret"}}
    assert (made.created_by, made.updated_by, made.created_at) == ("ada", "ada", bench.clock.now())
    assert bench.heard == [made.revision] == [1]
    (row,) = await bench.audit()
    assert (row.action, row.before, row.author) == ("created", None, ADA)
    assert row.after["spec"] == {"credential_values": {"api_key": MASK}}
    assert row.after["created_by"] == "ada"


@pytest.mark.parametrize("kind", list(Kind))
async def test_no_secret_of_any_kind_is_stored_or_audited(bench: Bench, kind: Kind) -> None:
    object_id, spec = SPECS_BY_KIND[kind]

    made = await bench.writer.create(bench.new(kind, object_id, spec=spec), author=ADA)
    await bench.writer.update(made.ref, lambda held: msgspec.structs.replace(held, blocked=True), author=ADA)
    await bench.writer.delete([made.ref], author=ADA)

    assert MARKER not in str(await bench.audit())
    assert MARKER not in str(vars(bench.store))
    assert "sealed:" not in str(await bench.audit())


async def test_an_update_returns_before_and_after(bench: Bench) -> None:
    made = await bench.credential(api_key="a-secret")
    bench.clock.advance(60)

    before, after = await bench.writer.update(CREDENTIAL, with_values(api_key="b-secret"), author=Author(key_hash="h"))

    assert before == made
    assert bench.opened(after) == {"credential_values": {"api_key": "b-secret"}}
    assert (after.created_at, after.created_by) == (made.created_at, "ada")
    assert (after.updated_at, after.updated_by) == (made.updated_at + timedelta(seconds=60), "h")
    assert after == await bench.store.find(CREDENTIAL)
    assert bench.heard == [1, 2]


@pytest.mark.parametrize("value", ["a-secret", MASK])
async def test_an_update_that_changes_nothing_writes_nothing(bench: Bench, value: str) -> None:
    made = await bench.credential(api_key="a-secret")
    bench.clock.advance(60)

    assert await bench.writer.update(CREDENTIAL, with_values(api_key=value), author=ADA) == (made, made)

    assert bench.heard == [1]
    assert len(await bench.audit()) == 1


async def test_an_update_of_nothing_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="Credential not found: 'openai' does not exist"):
        await bench.writer.update(CREDENTIAL, with_values(), author=ADA)


async def test_an_update_that_was_overtaken_is_made_upon_the_newer_object(bench: Bench) -> None:
    await bench.credential(api_key="a-secret")
    rivals = iter([with_values(other="one"), with_values(other="two")])

    class Overtaken(MemoryControlStore):
        """Lets a rival write between reading and writing."""

        async def apply(self, *args: Any, **kwargs: Any) -> int:
            for rival in rivals:
                await ObjectWriter(bench.store, sealer=bench.writer.sealer, clock=bench.clock).update(
                    CREDENTIAL, rival, author=ADA
                )
                break
            return await bench.store.apply(*args, **kwargs)

        async def find(self, ref: ObjectRef) -> ControlObject | None:
            return await bench.store.find(ref)

    slow = ObjectWriter(Overtaken(), sealer=bench.writer.sealer, clock=bench.clock)

    def add(held: ControlObject) -> ControlObject:
        values = {**held.spec["credential_values"], "mine": "three"}
        return msgspec.structs.replace(held, spec={"credential_values": values})

    _, after = await slow.update(CREDENTIAL, add, author=ADA)

    assert bench.opened(after) == {"credential_values": {"other": "two", "mine": "three"}}


async def test_an_update_that_is_overtaken_each_time_gives_up(bench: Bench) -> None:
    await bench.credential()
    tries = 0

    def patch(held: ControlObject) -> ControlObject:
        nonlocal tries
        tries += 1
        return msgspec.structs.replace(held, blocked=True)

    with pytest.raises(ChangedMeanwhile):
        await bench.writer.update(CREDENTIAL, patch, author=ADA, requires=[ObjectRef(Kind.TEAM, "absent")])

    assert tries == ATTEMPTS_MAX
    assert bench.heard == [1]


async def test_a_refused_write_is_not_heard(bench: Bench) -> None:
    await bench.credential()
    with pytest.raises(AlreadyExists):
        await bench.credential()
    with pytest.raises(BadRequest, match="credential_values"):
        await bench.writer.update(CREDENTIAL, with_values(api_key="sealed:v1:new:AAAA"), author=ADA)

    assert bench.heard == [1]


async def test_a_deletion_takes_along_what_belongs_to_it(bench: Bench) -> None:
    team = await bench.writer.create(bench.new(Kind.TEAM, "t"), author=ADA)
    key = await bench.writer.create(bench.new(Kind.KEY, "k", team_id="t"), author=ADA)

    gone = await bench.writer.delete(
        [team.ref, team.ref],
        author=ADA,
        dependents=[NoneLeft(kind=Kind.KEY, relation="team_id", value="t")],
    )

    assert gone == (team,)
    assert await bench.store.find_many([team.ref, key.ref]) == ()
    assert bench.heard == [1, 2, 4]
    assert {row.ref for row in await bench.audit() if row.action == "deleted" and row.after is None} == {
        team.ref,
        key.ref,
    }


async def test_a_deletion_names_what_is_not_there_and_deletes_nothing(bench: Bench) -> None:
    team = await bench.writer.create(bench.new(Kind.TEAM, "t"), author=ADA)

    with pytest.raises(NotFound, match="Team not found: 'x', 'y' does not exist"):
        await bench.writer.delete([team.ref, ObjectRef(Kind.TEAM, "x"), ObjectRef(Kind.TEAM, "y")], author=ADA)

    assert await bench.store.find(team.ref) == team


async def test_several_changes_are_one_write(bench: Bench) -> None:
    team = bench.new(Kind.TEAM, "t", spec={"metadata": {"api_key": "a-secret"}})
    member = bench.new(Kind.TEAM_MEMBER, "m")
    written = await bench.writer.apply([(None, member), (None, team)], author=ADA, action="created")

    assert [each.ref for each in written] == [member.ref, team.ref]
    assert bench.heard == [2]
    found = await bench.store.find(team.ref)
    assert found is not None
    assert bench.opened(found) == team.spec


async def test_whatever_is_written_is_under_the_first_key(bench: Bench) -> None:
    """A writer that read before a rotation and writes after it must not bring back the old key."""
    before_rotation = bench.writer_with(OLD)
    new = bench.new(Kind.CREDENTIAL, "openai", spec={"credential_values": {"api_key": "a-secret"}})
    await before_rotation.create(new, author=ADA)

    _, after = await bench.writer.update(
        CREDENTIAL, lambda held: msgspec.structs.replace(held, blocked=True), author=ADA
    )

    assert ":old:" not in str(after.spec)
    assert Sealer(KeyRing([NEW])).open(Kind.CREDENTIAL, "openai", after.spec) == new.spec


def with_values(**values: str) -> Any:
    return lambda held: msgspec.structs.replace(held, spec={"credential_values": values})


async def test_where_nothing_may_be_changed_nothing_is(bench: Bench) -> None:
    made = await bench.credential(api_key="a-secret")
    sealer = Sealer(KeyRing((NEW,)))
    writer = ObjectWriter(bench.store, sealer=sealer, clock=bench.clock, read_only=True)
    with pytest.raises(ReadOnlyMode, match="read_only"):
        await writer.create(bench.new(Kind.TEAM, "t"), author=ADA)
    with pytest.raises(ReadOnlyMode):
        await writer.update(CREDENTIAL, lambda held: msgspec.structs.replace(held, name="x"), author=ADA)
    with pytest.raises(ReadOnlyMode):
        await writer.delete([CREDENTIAL], author=ADA)
    assert await bench.store.revision() == made.revision
    assert await bench.store.find(CREDENTIAL) == made

"""`SpecStore`: what a rotation relies on, on every engine."""

from __future__ import annotations

import msgspec

from conformance.kit import Engine
from control_kit import ADMIN, START, add, deletion, found, make_object, update
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.rotation import StoredSpec
from tallystick.control.store import AuditFilter

EVERYTHING = 1_000


def credential(name: str, **values: str) -> ControlObject:
    return make_object(Kind.CREDENTIAL, name, spec={"credential_values": values})


def sealed_anew(stored: StoredSpec, **values: str) -> StoredSpec:
    return msgspec.structs.replace(stored, spec={"credential_values": values})


async def rows(engine: Engine) -> tuple[StoredSpec, ...]:
    return await engine.specs.specs_after(0, limit=EVERYTHING)


async def test_an_empty_store_has_no_specs(engine: Engine) -> None:
    assert await rows(engine) == ()
    assert await engine.specs.replace_specs([]) == frozenset()


async def test_all_rows_come_in_the_order_of_their_numbers(engine: Engine) -> None:
    made = await add(engine.control, *(credential(name, key=name) for name in "cab"))
    await engine.control.apply([deletion(made[1])], author=ADMIN, now=START)
    await add(engine.control, credential("a", key="again"), make_object(Kind.TEAM, "a"))

    found_rows = await rows(engine)

    assert [row.object_no for row in found_rows] == sorted({row.object_no for row in found_rows})
    assert sorted(
        (row.ref.kind, row.ref.object_id, row.spec.get("credential_values", {}).get("key", "")) for row in found_rows
    ) == [
        ("credential", "a", "a"),
        ("credential", "a", "again"),
        ("credential", "b", "b"),
        ("credential", "c", "c"),
        ("team", "a", ""),
    ]


async def test_pages_follow_each_other(engine: Engine) -> None:
    await add(engine.control, *(credential(f"c{number}") for number in range(5)))
    everything = await rows(engine)

    for limit in (1, 2, 5, 6):
        position, collected = 0, []
        while page := await engine.specs.specs_after(position, limit=limit):
            assert len(page) <= limit
            position = page[-1].object_no
            collected += page
        assert tuple(collected) == everything


async def test_a_spec_is_replaced_and_nothing_else(engine: Engine) -> None:
    one, other = await add(engine.control, credential("one", key="old"), credential("other", key="old"))
    audit = await engine.control.list_audit(AuditFilter(), offset=0, limit=EVERYTHING)
    stored = {row.ref: row for row in await rows(engine)}

    replaced = await engine.specs.replace_specs([sealed_anew(stored[one.ref], key="new")])

    assert replaced == {stored[one.ref].object_no}
    assert await found(engine.peer_control, one.ref) == msgspec.structs.replace(
        one, spec={"credential_values": {"key": "new"}}
    )
    assert await found(engine.peer_control, other.ref) == other
    assert await engine.control.list_audit(AuditFilter(), offset=0, limit=EVERYTHING) == audit
    assert await engine.control.revision() == max(one.revision, other.revision)


async def test_the_spec_of_a_deleted_object_is_replaced(engine: Engine) -> None:
    (made,) = await add(engine.control, credential("gone", key="old"))
    await engine.control.apply([deletion(made)], author=ADMIN, now=START)
    (living,) = await add(engine.control, credential("gone", key="living"))
    gone = (await rows(engine))[0]

    assert await engine.specs.replace_specs([sealed_anew(gone, key="new")]) == {gone.object_no}

    assert [row.spec["credential_values"]["key"] for row in await rows(engine)] == ["new", "living"]
    assert await found(engine.control, living.ref) == living


async def test_what_was_changed_or_deleted_since_it_was_read_stays(engine: Engine) -> None:
    names = ("same", "changed", "deleted")
    same, changed, deleted = await add(engine.control, *(credential(name, key="old") for name in names))
    stored = await rows(engine)
    await engine.peer_control.apply(
        [update(changed, spec={"credential_values": {"key": "written"}}), deletion(deleted)], author=ADMIN, now=START
    )

    replaced = await engine.specs.replace_specs([sealed_anew(row, key="new") for row in stored])

    by_number = {row.object_no: row.ref for row in stored}
    assert {by_number[number] for number in replaced} == {same.ref}
    assert {row.ref.object_id: row.spec["credential_values"]["key"] for row in await rows(engine)} == {
        "same": "new",
        "changed": "written",
        "deleted": "old",
    }


async def test_a_writer_that_read_before_a_rotation_may_still_write(engine: Engine) -> None:
    (made,) = await add(engine.control, credential("c", key="old"))
    (stored,) = await rows(engine)
    await engine.specs.replace_specs([sealed_anew(stored, key="new")])

    await engine.peer_control.apply([update(made, blocked=True)], author=ADMIN, now=START)

    assert (await found(engine.control, made.ref)).blocked

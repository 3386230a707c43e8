"""The contract of the audit: each change with who, what, before and after; newest first, by filters."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conformance.kit import Engine
from control_kit import START, add, apply, creation, deletion, found, make_key, make_team, update
from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.store import AuditFilter, Author, Change
from tallystick.errors import AlreadyExists

ALL = AuditFilter()
ANNA = Author(key_hash="k1", user_id="anna", changed_by="ci")
BERT = Author(key_hash="k2", user_id="bert")


async def rows(engine: Engine, where: AuditFilter = ALL, *, offset: int = 0, limit: int = 100):
    page = await engine.control.list_audit(where, offset=offset, limit=limit)
    return page.rows


async def test_a_change_is_written_down(engine: Engine) -> None:
    shown = {"name": "x", "secret": "***", "deep": [1, None, {"ü": 2.5}]}
    before, after = make_team("t"), None
    await apply(engine.control, creation(before, shown_after=shown, action="made up"), author=ANNA)
    held = await found(engine.control, before.ref)
    later = START + timedelta(seconds=1, microseconds=1)
    await apply(
        engine.control,
        Change(action="deleted", before=held, after=after, shown_before=shown),
        author=BERT,
        now=later,
    )
    deleted, made = await rows(engine)
    assert (made.action, made.ref, made.before, made.after) == ("made up", before.ref, None, shown)
    assert (made.author, made.changed_at) == (ANNA, START)
    assert (deleted.action, deleted.ref, deleted.before, deleted.after) == ("deleted", before.ref, shown, None)
    assert (deleted.author, deleted.changed_at) == (BERT, later)
    assert made.audit_id != deleted.audit_id


async def test_a_failed_change_is_not(engine: Engine) -> None:
    await add(engine.control, make_team("t"))
    with pytest.raises(AlreadyExists):
        await apply(engine.control, creation(make_team("u")), creation(make_team("t")))
    assert len(await rows(engine)) == 1


async def test_pages(engine: Engine) -> None:
    await add(engine.control, *(make_team(f"t{number}") for number in range(5)))
    await add(engine.control, make_team("t5"), make_team("t6"))
    pages = [await engine.control.list_audit(ALL, offset=offset, limit=3) for offset in (0, 3, 6, 9)]
    assert {page.total_count for page in pages} == {7}
    assert [row.ref.object_id for page in pages for row in page.rows] == ["t6", "t5", "t4", "t3", "t2", "t1", "t0"]


async def test_filters(engine: Engine) -> None:
    (team,) = await add(engine.control, make_team("x"), author=ANNA)
    await apply(engine.control, creation(make_key("x")), author=BERT, now=START + timedelta(seconds=1))
    await apply(engine.control, update(team, name="n"), author=BERT, now=START + timedelta(seconds=2))
    held = await found(engine.control, team.ref)
    await apply(engine.control, deletion(held), author=ANNA, now=START + timedelta(seconds=3))
    everything = (await rows(engine))[::-1]
    assert [row.ref.kind for row in everything] == [Kind.TEAM, Kind.KEY, Kind.TEAM, Kind.TEAM]
    cases = {
        AuditFilter(audit_id=everything[2].audit_id): [2],
        AuditFilter(audit_id="018f0000-0000-7000-8000-000000000000"): [],
        AuditFilter(audit_id="no such form"): [],
        AuditFilter(kind="team"): [0, 2, 3],
        AuditFilter(kind="no such kind"): [],
        AuditFilter(object_id="x"): [0, 1, 2, 3],
        AuditFilter(object_id="x", kind="key"): [1],
        AuditFilter(object_id="y"): [],
        AuditFilter(object_id="\x00"): [],
        AuditFilter(action="updated"): [2],
        AuditFilter(action="created", kind="team"): [0],
        AuditFilter(changed_by="anna"): [0, 3],
        AuditFilter(changed_by="ci"): [0, 3],
        AuditFilter(changed_by="bert"): [1, 2],
        AuditFilter(changed_by="k1"): [],
        AuditFilter(key_hash="k2"): [1, 2],
        AuditFilter(since=START + timedelta(seconds=2)): [2, 3],
        AuditFilter(until=START + timedelta(seconds=2)): [0, 1],
        AuditFilter(since=START + timedelta(seconds=1), until=START + timedelta(seconds=3), key_hash="k2"): [1, 2],
    }
    for where, expected in cases.items():
        page = await engine.control.list_audit(where, offset=0, limit=10)
        assert list(page.rows) == [everything[index] for index in expected[::-1]], where
        assert page.total_count == len(expected), where
        assert (await rows(engine, where, offset=1, limit=1)) == page.rows[1:2]


async def test_the_order_is_that_of_commits_whatever_the_clocks_say(engine: Engine) -> None:
    await add(engine.control, make_team("a"), now=START + timedelta(hours=1))
    await add(engine.peer_control, make_team("b"), now=START)
    assert [row.ref for row in await rows(engine)] == [ObjectRef(Kind.TEAM, "b"), ObjectRef(Kind.TEAM, "a")]

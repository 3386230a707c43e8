"""KeptFileStore: whose files are at an upstream that many share."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from conformance.kit import START, Engine
from tallystick.access.kept_files import KeptFile
from tallystick.control.owner import Owner
from tallystick.runtime.ids import new_event_id

ANNE = Owner("key-anne", "anne", "reds")


def make_file(number: int, owner: Owner = ANNE, purpose: str = "batch") -> KeptFile:
    return KeptFile(
        file_no=new_event_id(START + timedelta(seconds=number)),
        deployment_id="d",
        upstream_id=f"file-{number}",
        owner=owner,
        purpose=purpose,
        held='["é"]',
        answer="{}",
    )


async def listed(engine: Engine, owner: Owner | None, **asked: object) -> list[str]:
    where = {"purpose": None, "after": None, "limit": 10, **asked}
    return [file.upstream_id for file in await engine.kept_files.listed(owner, **where)]


async def test_a_file_comes_back_as_it_was_noted_first(engine: Engine) -> None:
    file = make_file(0)
    await engine.kept_files.add(file)
    await engine.kept_files.add(msgspec.structs.replace(file, file_no=new_event_id(START), purpose="other"))
    assert await engine.kept_files.listed(ANNE, purpose=None, after=None, limit=10) == (file,)


async def test_lists_hold_the_callers_own_newest_first(engine: Engine) -> None:
    owners = [ANNE, Owner("key-carl", "", "reds"), Owner("key-ben", "ben", "blues"), Owner("key-x", "", ""), ANNE]
    for number, owner in enumerate(owners):
        await engine.kept_files.add(make_file(number, owner, "batch" if number else "user_data"))
    assert await listed(engine, ANNE) == ["file-4", "file-1", "file-0"]
    assert await listed(engine, ANNE, purpose="batch") == ["file-4", "file-1"]
    assert await listed(engine, ANNE, limit=1) == ["file-4"]
    assert await listed(engine, ANNE, after=("d", "file-4")) == ["file-1", "file-0"]
    assert await listed(engine, ANNE, after=("d", "unknown")) == []
    assert await listed(engine, Owner("key-y", "", "")) == []
    assert await listed(engine, None) == [f"file-{number}" for number in (4, 3, 2, 1, 0)]


async def test_a_forgotten_file_is_not_listed(engine: Engine) -> None:
    await engine.kept_files.add(make_file(0))
    await engine.kept_files.forget("other", "file-0")
    assert await listed(engine, ANNE) == ["file-0"]
    await engine.kept_files.forget("d", "file-0")
    await engine.kept_files.forget("d", "file-0")
    assert await listed(engine, ANNE) == []

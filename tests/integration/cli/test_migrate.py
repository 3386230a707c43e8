"""`tallystick migrate`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(params=["sqlite", "empty_postgres"])
def unmigrated(request):
    return request.getfixturevalue(request.param)


def test_it_applies_what_is_missing_once(unmigrated) -> None:
    first = unmigrated("migrate", "--json")
    assert first.code == 0
    assert first.json()["applied"][0] == 1

    assert unmigrated("migrate", "--json").json()["applied"] == []
    assert "up to date" in unmigrated("migrate").stdout


def test_people_see_what_was_applied(sqlite) -> None:
    assert "Applied 0001" in sqlite("migrate").stdout


def test_concurrent_runs_wait_for_each_other(unmigrated) -> None:
    running = [unmigrated.start("migrate", "--json") for _ in range(4)]
    outputs = [process.communicate(timeout=90) for process in running]

    assert [process.returncode for process in running] == [0] * 4, outputs
    versions = [version for out, _ in outputs for version in json.loads(out)["applied"]]
    assert sorted(versions) == sorted(set(versions))
    assert 1 in versions


def test_an_unusable_place(sqlite) -> None:
    outcome = sqlite("migrate", "--database-url", "sqlite:////proc/nowhere/ledger.db")

    assert outcome.code == 2
    assert "can't be made" in outcome.stderr

"""The key is changed under traffic, and the rotation killed in the middle: every value is readable throughout.

pytest tests/acceptance/test_rotation.py --secrets 10000 -s    rotates so many values in each engine
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server_kit import environment_of_tests, eventually
from tallystick.bootstrap import Store, open_store
from tallystick.config.load import load_settings
from tallystick.config.secret_keys import SecretKey, text_of_key
from tallystick.control.cipher import key_id_of
from tallystick.control.key_ring import KeyRing
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.sealer import Sealer
from tallystick.control.store import Author
from tallystick.control.writer import ObjectWriter
from tallystick.runtime.clock import SystemClock

_VALUES_OF_ONE = 4
_WRITTEN_AT_ONCE = 250
_READERS = 2
_KILLS = 3
_SLOWLY = ("--page-size", "1")  # So that a kill finds the rotation at work.
OLD = SecretKey(key_id="old", key=bytes(range(32)))
NEW = SecretKey(key_id="new", key=bytes(range(32, 64)))
ONLY_OLD, BOTH, ONLY_NEW = Sealer(KeyRing([OLD])), Sealer(KeyRing([NEW, OLD])), Sealer(KeyRing([NEW]))
ADA = Author(key_hash="hash", user_id="ada")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("empty_postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def secrets_count(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--secrets", 800))


@pytest.fixture
async def vault(database_url: str, tmp_path: Path) -> AsyncIterator[Vault]:
    vault = Vault(database_url, tmp_path)
    yield vault
    await vault.close()


async def test_a_rotation_under_traffic_is_killed_and_run_again(vault: Vault, secrets_count: int) -> None:
    await vault.fill(secrets_count)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as traffic:
        readers = [traffic.create_task(vault.read_until(stop)) for _ in range(_READERS)]
        writer = traffic.create_task(vault.write_until(stop))
        try:
            for number in range(1, _KILLS + 1):
                await vault.kill_rotation_at(number / (_KILLS + 2))
            by_key = await vault.count_by_key()
            assert by_key["old"], "the kills came too late: nothing is left for the next run"
            assert by_key["new"], "the kills came too early: nothing was done"
            begun = time.monotonic()
            facts = await vault.rotate()
            seconds = time.monotonic() - begun
        finally:
            stop.set()
    opened, written = sum(reader.result() for reader in readers), writer.result()
    print(
        f"\n{vault.kind}: {facts['secrets']:,} secrets, {_KILLS} kills, the last {facts['resealed']:,} in "
        f"{seconds:.1f} s; meanwhile {opened:,} values opened and {written:,} objects written"
    )

    assert facts["ok"]
    assert facts["by_key"] == {"new": facts["secrets"]}
    assert facts["secrets"] >= secrets_count
    assert opened > secrets_count
    assert written > 0
    await vault.assert_all_readable(ONLY_NEW)
    assert (await vault.check(NEW))["ok"]


class Vault:
    """A database of credentials with known values, and gateways that read and write them meanwhile."""

    def __init__(self, database_url: str, home: Path) -> None:
        self.kind = database_url.partition(":")[0]
        self._clock = SystemClock()
        self._environment = {
            **environment_of_tests(),
            "TALLYSTICK_HOME": str(home),
            "DATABASE_URL": database_url,
            "TALLYSTICK_SECRET_KEYS": f"{text_of_key(NEW)},{text_of_key(OLD)}",
        }
        settings = load_settings(config_file=None, overrides={}, environ=self._environment)
        self._store: Store = open_store(settings, clock=self._clock)
        self._values: dict[str, set[str]] = {}
        """By object, what its first value may be: a write may be seen before its writer hears of it."""

    async def close(self) -> None:
        await self._store.close()

    async def fill(self, count: int) -> None:
        """Write credentials as a gateway did that knew the old key alone."""
        writer = self._writer(ONLY_OLD)
        names = [f"credential-{number}" for number in range(count // _VALUES_OF_ONE)]
        for start in range(0, len(names), _WRITTEN_AT_ONCE):
            made = [(None, self._new(name)) for name in names[start : start + _WRITTEN_AT_ONCE]]
            await writer.apply(made, author=ADA, action="created")

    async def read_until(self, stop: asyncio.Event) -> int:
        """Open everything over and over, as snapshots do; return how many values."""
        opened = 0
        while not stop.is_set():
            opened += await self.assert_all_readable(BOTH)
        return opened

    async def write_until(self, stop: asyncio.Event) -> int:
        """Change objects at random, as admins do; return how many."""
        writer, draw, written = self._writer(BOTH), random.Random(7), 0
        while not stop.is_set():
            name = draw.choice(sorted(self._values))
            value = f"{name}-written-{written}"
            self._values[name].add(value)
            await writer.update(self._new(name).ref, _with_first(value), author=ADA)
            self._values[name] = {value}
            written += 1
            await asyncio.sleep(0.002)
        return written

    async def kill_rotation_at(self, share: float) -> None:
        """Begin a rotation and kill -9 it when so much is done."""
        process = await asyncio.create_subprocess_exec(
            *_command("rotate"), *_SLOWLY, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        async def is_so_far() -> bool:
            assert process.returncode is None, f"the rotation ended with {process.returncode} before it was killed"
            by_key = await self.count_by_key()
            return by_key["new"] >= share * by_key.total()

        try:
            what = f"{share:.0%} of the values are under the new key"
            await eventually(is_so_far, seconds=120, what=what, pause=0.002)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def rotate(self) -> dict[str, Any]:
        return await self._run("rotate", self._environment)

    async def check(self, key: SecretKey) -> dict[str, Any]:
        """Count with one key alone."""
        return await self._run("check", {**self._environment, "TALLYSTICK_SECRET_KEYS": text_of_key(key)})

    async def count_by_key(self) -> Counter[str]:
        """Count values by the key that sealed them, without opening any."""
        by_key: Counter[str] = Counter()
        for held in (await self._store.control.load([Kind.CREDENTIAL])).objects:
            by_key.update(key_id_of(value) for value in held.spec["credential_values"].values())
        return by_key

    async def assert_all_readable(self, sealer: Sealer) -> int:
        """Open every value; each must be one that was written."""
        opened = 0
        expected = {name: set(values) for name, values in self._values.items()}
        objects = (await self._store.control.load([Kind.CREDENTIAL])).objects
        assert {held.object_id for held in objects} == expected.keys()
        for number, held in enumerate(objects):
            values = sealer.open(held.kind, held.object_id, held.spec)["credential_values"]
            possible = expected[held.object_id] | self._values[held.object_id]
            assert values.pop("0") in possible, held.object_id
            assert values == {str(index): f"{held.object_id}-{index}" for index in range(1, _VALUES_OF_ONE)}
            opened += _VALUES_OF_ONE
            if number % 20 == 0:
                await asyncio.sleep(0)
        return opened

    def _writer(self, sealer: Sealer) -> ObjectWriter:
        return ObjectWriter(self._store.control, sealer=sealer, clock=self._clock)

    def _new(self, name: str) -> ControlObject:
        now = self._clock.now()
        values = {str(index): f"{name}-{index}" for index in range(_VALUES_OF_ONE)}
        self._values.setdefault(name, {values["0"]})
        return ControlObject(
            kind=Kind.CREDENTIAL,
            object_id=name,
            spec={"credential_values": values},
            created_at=now,
            updated_at=now,
        )

    async def _run(self, name: str, environment: dict[str, str]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *_command(name), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        assert out, err.decode()
        facts: dict[str, Any] = json.loads(out)
        assert process.returncode == (0 if facts["ok"] else 1)
        return facts


def _command(name: str) -> list[str]:
    return [sys.executable, "-m", "tallystick", "secrets", name, "--json"]


def _with_first(value: str) -> Any:
    def patch(held: ControlObject) -> ControlObject:
        values = {**held.spec["credential_values"], "0": value}
        return msgspec.structs.replace(held, spec={"credential_values": values})

    return patch

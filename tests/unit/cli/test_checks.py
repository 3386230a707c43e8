"""The doctor's checks: each ill is found, and told with its remedy."""

from __future__ import annotations

import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger_kit import crash, journal_in, make_event
from tallystick.cli.checks.check import Check, guarded
from tallystick.cli.checks.instances import check_instances
from tallystick.cli.checks.journal import check_journal, read_slot
from tallystick.cli.checks.machine import check_clock, check_disks, check_port, check_sqlite_library
from tallystick.cli.checks.settings import check_configuration, check_master_key
from tallystick.config.load import load_settings
from tallystick.config.problems import Problem
from tallystick.config.record import GIB, MIB
from tallystick.config.report import ConfigReport
from tallystick.config.settings import Settings
from tallystick.errors import StoreUnavailable
from tallystick.ledger.slots import claim_slot
from tallystick.runtime.instances import Instance, SeenInstance
from tallystick.testing import FakeClock


@pytest.fixture
def settings(tmp_path) -> Settings:
    return settings_in(tmp_path)


def settings_in(home: Path, **overrides: object) -> Settings:
    return load_settings(config_file=None, overrides=overrides, environ={"TALLYSTICK_HOME": str(home)})


def by_name(checks) -> dict[str, Check]:
    return {check.name: check for check in checks}


class TestGuarded:
    def test_it_returns_what_was_found(self) -> None:
        check = Check(name="a", state="good", found="x")

        assert guarded("a", lambda: iter([check])) == [check]

    @pytest.mark.parametrize(
        ("error", "found"),
        [
            (StoreUnavailable("postgresql://teller:hush@db is away"), "postgresql://teller:***@db is away"),
            (PermissionError(13, "Permission denied", "/var/journal"), "Permission denied (/var/journal)"),
            (ZeroDivisionError("with sk-12345678abcdef"), "this check failed: ZeroDivisionError: with sk-***"),
        ],
    )
    def test_a_check_that_fails_is_a_finding(self, error: Exception, found: str) -> None:
        def look():
            raise error
            yield

        (check,) = guarded("a", look)

        assert (check.name, check.state, check.found) == ("a", "bad", found)
        assert check.mend


class TestClock:
    @pytest.mark.parametrize(("year", "state"), [(1970, "bad"), (2026, "good"), (2150, "bad")])
    def test_the_year_must_be_possible(self, year: int, state: str) -> None:
        (check,) = check_clock(FakeClock(datetime(year, 11, 3, 12, tzinfo=UTC)))

        assert check.state == state

    def test_a_monotonic_clock_is_needed(self, monkeypatch) -> None:
        monkeypatch.setattr("time.get_clock_info", lambda _: SimpleNamespace(monotonic=False))

        (check,) = check_clock(FakeClock(datetime(2026, 11, 3, 12, tzinfo=UTC)))

        assert check.state == "bad"


@pytest.mark.parametrize(("version", "state"), [("3.51.3.0", "good"), ("3.54.1.0", "good"), ("3.51.2.1", "bad")])
def test_the_sqlite_library(monkeypatch, version: str, state: str) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)

    (check,) = check_sqlite_library()

    assert check.state == state


@pytest.mark.parametrize(
    ("free", "states"),
    [
        (10 * GIB, ("good", "good", "good")),
        (3 * GIB // 2, ("good", "warn", "good")),
        (GIB // 2, ("warn", "warn", "warn")),
        (20 * MIB, ("warn", "bad", "warn")),
        (MIB, ("bad", "bad", "bad")),
    ],
)
def test_free_space(settings: Settings, monkeypatch, free: int, states: tuple[str, ...]) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    checks = list(check_disks(settings))

    assert [check.name for check in checks] == ["disk: home", "disk: journal", "disk: database"]
    assert tuple(check.state for check in checks) == states
    assert all(check.mend for check in checks if check.state != "good")


def test_the_port_is_told_and_is_no_fault(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (check,) = check_port(settings_in(tmp_path, host="127.0.0.1", port=port))
        assert (check.state, "in use" in check.found) == ("good", True)
    (check,) = check_port(settings_in(tmp_path, host="127.0.0.1", port=0))
    assert (check.state, "free" in check.found) == ("good", True)
    (check,) = check_port(settings_in(tmp_path, host="192.0.2.1", port=0))
    assert check.state == "warn"


class TestMasterKey:
    def test_states(self, tmp_path) -> None:
        def state(**overrides: object) -> str:
            (check,) = check_master_key(settings_in(tmp_path, **overrides))
            return check.state

        assert state() == "warn"
        assert state(master_key="sk-1234", demo=True) == "bad"
        assert state(master_key="9f86d081884c7d659a2feaa0c55ad015") == "good"
        (tmp_path / "master_key.sha256").write_text("0" * 64)
        assert state() == "good"

    def test_the_key_is_not_shown(self, tmp_path) -> None:
        (check,) = check_master_key(settings_in(tmp_path, master_key="sk-1234", demo=True))

        assert "1234" not in check.found + check.mend


class TestConfiguration:
    def report(self, *, errors=(), warnings=()) -> ConfigReport:
        return ConfigReport(
            file="c.yaml", errors=errors, warnings=warnings, summary={"deployments": "2"}, model_groups=()
        )

    def test_states(self) -> None:
        problems = tuple(Problem(reason="is wrong", key_path=f"key{number}") for number in range(7))

        (bad,) = check_configuration(self.report(errors=problems))
        (warned,) = check_configuration(self.report(warnings=("x is not supported",)))
        (good,) = check_configuration(self.report())

        assert (bad.state, warned.state, good.state) == ("bad", "warn", "good")
        assert bad.found.endswith("key4: is wrong; and 2 more")


class TestJournal:
    def test_one_that_is_not_there_yet(self, tmp_path) -> None:
        checks = by_name(check_journal(settings_in(tmp_path / "home")))

        assert checks["journal"].state == "good"
        assert "will be made" in checks["journal"].found
        assert not (tmp_path / "home").exists()

    def test_one_that_can_not_be_written(self, tmp_path) -> None:
        check = by_name(check_journal(settings_in(tmp_path, journal_directory="/proc/journal")))["journal"]

        assert check.state == "bad"
        assert check.mend

    async def test_slots_held_free_and_abandoned(self, settings: Settings) -> None:
        root = settings.journal.directory
        free, abandoned = claim_slot(root), None
        abandoned = journal_in(root)
        abandoned.append_intent(make_event())
        abandoned.append_event(make_event())
        held = journal_in(root)
        free.release()
        crash(abandoned)

        states = {slot.name: slot.state for slot in map(read_slot, sorted(root.glob("slot-*")))}
        check = by_name(check_journal(settings))["journal: slots"]

        assert states == {"slot-0001": "free", "slot-0002": "abandoned", "slot-0003": "held"}
        assert check.state == "warn"
        assert "1 held, 1 free, 1 abandoned; 2 segments" in check.found
        assert "slot-0002" in check.found
        held.close()

    async def test_looking_takes_no_slot(self, settings: Settings) -> None:
        root = settings.journal.directory
        claim_slot(root).release()
        before = sorted(root.rglob("*"))

        list(check_journal(settings))

        assert sorted(root.rglob("*")) == before
        slot = claim_slot(root)
        assert slot.name == "slot-0001"
        slot.release()

    @pytest.mark.parametrize(("part", "state"), [(0.1, "good"), (0.85, "warn"), (1.0, "bad")])
    def test_the_byte_limit(self, settings: Settings, part: float, state: str) -> None:
        slot = settings.journal.directory / "slot-0001"
        slot.mkdir(parents=True)
        with (slot / "0000000000000001.journal").open("wb") as segment:
            segment.truncate(int(settings.journal.bytes_max * part))

        assert by_name(check_journal(settings))["journal: limit"].state == state

    def test_damaged_copies_are_told(self, settings: Settings) -> None:
        damaged = settings.journal.directory / "damaged"
        damaged.mkdir(parents=True)
        (damaged / "slot-0001-0000000000000001.journal").write_bytes(b"?")

        check = by_name(check_journal(settings))["journal: damage"]

        assert check.state == "warn"
        assert "slot-0001-0000000000000001.journal" in check.found

    def test_a_system_that_does_not_tell_its_boot(self, settings: Settings, monkeypatch) -> None:
        monkeypatch.setattr("tallystick.cli.checks.journal.current_boot_id", lambda: "")

        assert by_name(check_journal(settings))["journal: boot id"].state == "warn"


def seen(name: str, silent_seconds: float = 1.0, **said) -> SeenInstance:
    said = {"version": "1.0", "revision": 3, "events_pending": 0, **said}
    instance = Instance(
        instance_id=name,
        host=name,
        pid=7,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        producer_id="p",
        journal_bytes=1,
        **said,
    )
    return SeenInstance(instance=instance, silent_seconds=silent_seconds)


def test_instances_that_are_here() -> None:
    (check,) = check_instances([seen("a", events_pending=2), seen("b", events_pending=1)])
    assert (check.state, check.found) == ("good", "2 workers here, 3 events not committed yet")
    (check,) = check_instances([])
    assert check.state == "good"


def test_instances_that_are_silent_or_of_two_versions() -> None:
    found = by_name(check_instances([seen("a"), seen("b", version="2.0"), seen("c", 16.0, events_pending=9)]))
    assert found["database: instances"].found.startswith("2 workers")
    assert "1.0 and 2.0" in found["database: instances, versions"].found
    silent = found["database: instances, silent"]
    assert silent.state == "warn"
    assert "c (process 7, silent for 16 s, 9 events" in silent.found
    many = by_name(check_instances([seen(str(number), 99.0) for number in range(8)]))
    assert "and 3 more" in many["database: instances, silent"].found

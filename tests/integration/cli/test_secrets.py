"""`tallystick secrets` on real databases."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from integration.cli.kit import CommandLine
from tallystick.bootstrap import Store
from tallystick.config.secret_keys import SecretKey, parse_secret_keys, text_of_key
from tallystick.control.key_ring import FILE_NAME, KeyRing, kept_key_ring
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.sealer import Sealer
from tallystick.control.store import Author
from tallystick.control.writer import ObjectWriter
from tallystick.runtime.clock import SystemClock

OLD = SecretKey(key_id="old", key=bytes(range(32)))
NEW = SecretKey(key_id="new", key=bytes(range(32, 64)))
SECRET = "the-secret-itself"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def keys(*ring: SecretKey) -> str:
    return ",".join(map(text_of_key, ring))


def seal(cli: CommandLine, *names: str, key: SecretKey = OLD) -> None:
    """Write credentials under a key."""

    async def write(store: Store) -> None:
        writer = ObjectWriter(store.control, sealer=Sealer(KeyRing([key])), clock=SystemClock())
        for name in names:
            spec = {"credential_values": {"api_key": SECRET}}
            new = ControlObject(kind=Kind.CREDENTIAL, object_id=name, spec=spec, created_at=NOW, updated_at=NOW)
            await writer.create(new, author=Author(key_hash="hash"))

    cli.with_store(write)


def test_a_new_key_can_be_used_at_once(sqlite: CommandLine) -> None:
    outcome = sqlite("secrets", "new-key")
    (key,) = parse_secret_keys(outcome.stdout)

    assert outcome.code == 0
    assert key.key_id in outcome.stdout
    assert "TALLYSTICK_SECRET_KEYS" in outcome.stderr
    facts = sqlite("secrets", "new-key", "--json").json()
    assert parse_secret_keys(facts["key"])[0].key_id == facts["key_id"] != key.key_id


def test_a_rotation_and_its_check(cli: CommandLine) -> None:
    seal(cli, "a", "b", "c")

    before = cli("secrets", "check", "--json", TALLYSTICK_SECRET_KEYS=keys(NEW, OLD))
    rotated = cli("secrets", "rotate", "--json", TALLYSTICK_SECRET_KEYS=keys(NEW, OLD))
    after = cli("secrets", "check", "--json", TALLYSTICK_SECRET_KEYS=keys(NEW))

    assert (before.code, before.json()["by_key"]) == (1, {"old": 3})
    assert (rotated.code, rotated.json()["resealed"]) == (0, 3)
    assert after.code == 0
    assert after.json() == {
        "ok": True,
        "objects": 3,
        "secrets": 3,
        "first_key": "new",
        "by_key": {"new": 3},
        "unsealed": 0,
        "unreadable_count": 0,
        "unreadable": [],
    }
    for outcome in (before, rotated, after):
        assert SECRET not in outcome.stdout + outcome.stderr


def test_what_people_read(cli: CommandLine) -> None:
    seal(cli, "a", "b")

    needed = cli("secrets", "check", TALLYSTICK_SECRET_KEYS=keys(NEW, OLD))
    rotated = cli("secrets", "rotate", TALLYSTICK_SECRET_KEYS=keys(NEW, OLD))

    assert "is still needed" in needed.stdout
    assert needed.stdout.endswith("Not all are under the first key: run `tallystick secrets rotate`.\n")
    assert "2 secrets sealed anew under 'new'." in rotated.stdout
    assert rotated.stdout.endswith("2 secrets in 2 objects. All can be opened, and no key but 'new' is needed.\n")


def test_a_lost_key_is_told_with_every_place(cli: CommandLine) -> None:
    seal(cli, "lost")
    seal(cli, "found", key=NEW)

    for command in ("check", "rotate"):
        outcome = cli("secrets", command, "--json", TALLYSTICK_SECRET_KEYS=keys(NEW))

        assert outcome.code == 1
        assert outcome.json()["unreadable"] == [
            {
                "place": "control_objects/credential/lost/credential_values/api_key",
                "key_id": "old",
                "problem": "the key 'old' is not in secret_keys",
            }
        ]
    shown = cli("secrets", "check", TALLYSTICK_SECRET_KEYS=keys(NEW))
    assert "can't be opened: control_objects/credential/lost/credential_values/api_key" in shown.stdout
    assert "1 can't be opened: add the keys that are missing" in shown.stdout


@pytest.mark.parametrize("command", ["check", "rotate"])
def test_without_keys_none_is_made(cli: CommandLine, command: str) -> None:
    outcome = cli("secrets", command)

    assert outcome.code == 2
    assert "secret_keys: not set, and there is no" in outcome.stderr
    assert not Path(cli.environment["TALLYSTICK_HOME"]).exists()


@pytest.mark.parametrize("command", ["check", "rotate"])
def test_malformed_keys_are_not_shown(sqlite: CommandLine, command: str) -> None:
    outcome = sqlite("secrets", command, TALLYSTICK_SECRET_KEYS="k1:c2VjcmV0LXNlY3JldC1zZWNyZXQ")

    assert outcome.code == 2
    assert "environment: TALLYSTICK_SECRET_KEYS: key 1 ('k1'): has 20 bytes, not 32" in outcome.stderr
    assert "c2Vjc" not in outcome.stderr


def test_keys_may_be_in_a_file_or_another_variable(sqlite: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{text_of_key(NEW)}\n{text_of_key(OLD)}\n")
    seal(sqlite, "a")

    by_file = sqlite("secrets", "check", "--json", TALLYSTICK_SECRET_KEYS=f"file://{tmp_path / 'keys'}")
    by_name = sqlite("secrets", "check", "--json", TALLYSTICK_SECRET_KEYS="os.environ/VAULT", VAULT=keys(OLD))
    absent = sqlite("secrets", "check", TALLYSTICK_SECRET_KEYS="os.environ/ABSENT")

    assert by_file.json()["first_key"] == "new"
    assert by_name.json()["ok"]
    assert (absent.code, "TALLYSTICK_SECRET_KEYS: the environment variable ABSENT is not set" in absent.stderr) == (
        2,
        True,
    )


def test_the_kept_key_is_found(sqlite: CommandLine) -> None:
    home = Path(sqlite.environment["TALLYSTICK_HOME"])
    seal(sqlite, "a", key=kept_key_ring(home, now=NOW).first)

    assert sqlite("secrets", "check", "--json").json()["ok"]
    assert [file.name for file in home.iterdir()] == [FILE_NAME]


def test_serve_does_not_start_on_postgres_without_keys(postgres_cli: CommandLine) -> None:
    outcome = postgres_cli.run("serve", "--port", "0")

    assert outcome.code == 2
    assert "secret_keys: without keys no secret can be kept in PostgreSQL" in outcome.stderr
    assert "`tallystick secrets new-key`" in outcome.stderr


def test_the_doctor_looks_at_the_keys(postgres_cli: CommandLine, sqlite: CommandLine) -> None:
    def found(line: CommandLine, **environment: str) -> tuple[str, str]:
        checks = {check["name"]: check for check in line("doctor", "--json", **environment).json()["checks"]}
        return checks["secret keys"]["state"], checks["secret keys"]["found"]

    assert found(postgres_cli) == ("bad", "are not set, and PostgreSQL needs them")
    assert found(postgres_cli, TALLYSTICK_SECRET_KEYS=keys(NEW, OLD)) == ("good", "are set; 'new' seals, 1 more open")
    assert found(sqlite)[1].endswith("secret_keys will be made at first start")
    home = Path(sqlite.environment["TALLYSTICK_HOME"])
    kept_key_ring(home, now=NOW)
    assert found(sqlite)[0] == "good"
    (home / FILE_NAME).chmod(0o644)
    assert found(sqlite)[0] == "bad"

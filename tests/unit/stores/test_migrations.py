"""What is still to be applied, and what must not be."""

from __future__ import annotations

import re
import uuid

import pytest

from tallystick.errors import MigrationFailed
from tallystick.stores.migrations import AppliedMigration, load_migrations, migration_of, plan

FILES = (migration_of(1, "first", "CREATE TABLE a"), migration_of(2, "second", "CREATE TABLE b"))


def applied(version, *, name="x", checksum=None):
    checksum = checksum or next((file.checksum for file in FILES if file.version == version), "later")
    return AppliedMigration(version=version, name=name, checksum=checksum)


def test_an_empty_database_gets_all_in_order():
    assert plan(reversed(FILES), ()).pending == FILES


def test_what_was_applied_is_left_out():
    assert plan(FILES, [applied(1)]).pending == FILES[1:]
    assert plan(FILES, [applied(2), applied(1)]).pending == ()


def test_a_newer_database_is_tolerated_and_noted():
    result = plan(FILES, [applied(1), applied(2), applied(7), applied(3)])
    assert (result.pending, result.newer) == ((), (3, 7))


def test_a_changed_file_is_refused():
    with pytest.raises(MigrationFailed, match="0001_first was changed after it was applied"):
        plan(FILES, [applied(1, name="first", checksum="0" * 64)])


def test_a_version_that_is_missing_here_is_refused():
    with pytest.raises(MigrationFailed, match="0001_first, which this release does not know"):
        plan(FILES[1:], [applied(1, name="first")])


def test_line_ends_do_not_change_the_checksum():
    assert migration_of(1, "a", "x\r\ny\r\n").checksum == migration_of(1, "a", "x\ny\n").checksum


@pytest.mark.parametrize("engine", ["postgres", "sqlite"])
def test_the_engines_migrations_are_numbered_without_a_hole(engine):
    migrations = load_migrations(f"tallystick.stores.{engine}")
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))


def test_a_hole_is_refused(tmp_path, monkeypatch):
    (tmp_path / "holed" / "migrations").mkdir(parents=True)
    (tmp_path / "holed" / "__init__.py").touch()
    (tmp_path / "holed" / "migrations" / "0001_a.sql").write_text("x")
    (tmp_path / "holed" / "migrations" / "0003_c.sql").write_text("y")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MigrationFailed, match="without a hole"):
        load_migrations("holed")


def test_a_newer_database_that_leaves_this_release_behind_is_refused():
    assert plan(FILES, [applied(1), applied(2), applied(4, name="contract_0002_drop_c")]).newer == (4,)
    with pytest.raises(MigrationFailed, match=r"0004_contract_0003_drop_c.*one that has migration 0003"):
        plan(FILES, [applied(1), applied(2), applied(3), applied(4, name="contract_0003_drop_c")])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("0002_contract_0001_drop", "-- contract 0001\nDROP TABLE a", None),
        ("0002_contract_0001_drop", "DROP TABLE a", "must say the same"),
        ("0002_drop", "-- contract 0001: unused since then\nDROP TABLE a", "must say the same"),
        ("0002_drop", "-- contract\nDROP TABLE a", "must say the same"),
        ("0002_contract_0001_drop", "-- contract 0002\nDROP TABLE a", "must say the same"),
        ("0002_contract_0002_drop", "-- contract 0002\nDROP TABLE a", "in a later one"),
    ],
)
def test_a_contraction_is_named_as_one(tmp_path, monkeypatch, name, text, reason):
    package = f"contracts_{uuid.uuid4().hex}"
    directory = tmp_path / package / "migrations"
    directory.mkdir(parents=True)
    (tmp_path / package / "__init__.py").touch()
    (directory / "0001_a.sql").write_text("CREATE TABLE a")
    (directory / f"{name}.sql").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    if reason is None:
        assert [migration.version for migration in load_migrations(package)] == [1, 2]
    else:
        with pytest.raises(MigrationFailed, match=reason):
            load_migrations(package)


@pytest.mark.parametrize("engine", ["postgres", "sqlite"])
def test_only_a_contraction_takes_something_away(engine):
    """The release before runs on the new schema. The first two made the schema that the first release came with."""
    taking = re.compile(r"\b(DROP|RENAME|SET NOT NULL|ALTER COLUMN \w+ TYPE|TRUNCATE|DELETE FROM)\b", re.IGNORECASE)
    for migration in load_migrations(f"tallystick.stores.{engine}")[2:]:
        statements = "\n".join(line.partition("--")[0] for line in migration.statements.splitlines())
        if not migration.name.startswith("contract_"):
            assert taking.search(statements) is None, migration.name

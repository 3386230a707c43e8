"""What every engine's migration runner shares: the numbered files, their checksums, and what is still to be applied.

Migrations are `migrations/NNNN_name.sql` in the engine's package. One that was applied is never edited; a change of
the schema is a new file, made so that the version before it keeps working: expand first, contract in a later release.

One that contracts, which takes away what earlier releases use, says so and whom it leaves behind: its file is named
`NNNN_contract_0005_name.sql` and has the line `-- contract 0005`. Releases that don't know migration 0005 refuse a
database that has it. They read it from the name, which is in the database; all other newer migrations they live with.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import resources

import msgspec

from tallystick.errors import MigrationFailed

_CONTRACT_NAME = re.compile(r"^contract_(?P<least>\d{4})_")
_CONTRACT_LINE = re.compile(r"^-- contract\b(?: (?P<least>\d{4}))?", re.MULTILINE)
_FILE_NAME = re.compile(r"^(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql$")


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered file. Its checksum is the SHA-256 of its text, with line ends normalized."""

    version: int
    name: str
    checksum: str
    statements: str


class AppliedMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `schema_migrations`."""

    version: int
    name: str
    checksum: str


class MigrationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: `pending` in order; `newer` are versions that a later release has applied, which we live with."""

    pending: tuple[Migration, ...]
    newer: tuple[int, ...]


def load_migrations(package: str) -> tuple[Migration, ...]:
    """Return the migrations of an engine's package, in order. Raises MigrationFailed when their numbers have a hole."""
    migrations: list[Migration] = []
    for file in resources.files(package).joinpath("migrations").iterdir():
        match = _FILE_NAME.match(file.name)
        if match is not None:
            migrations.append(migration_of(int(match["version"]), match["name"], file.read_text(encoding="utf-8")))
    for migration in migrations:
        _check_contract(package, migration)
    migrations.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in migrations]
    if versions != list(range(1, len(versions) + 1)):
        raise MigrationFailed(f"{package}: the migrations are numbered {versions}, expected 1, 2, 3 … without a hole")
    return tuple(migrations)


def migration_of(version: int, name: str, text: str) -> Migration:
    """Return the migration with this text."""
    statements = text.replace("\r\n", "\n")
    checksum = hashlib.sha256(statements.encode("utf-8")).hexdigest()
    return Migration(version=version, name=name, checksum=checksum, statements=statements)


def plan(known: Iterable[Migration], applied: Iterable[AppliedMigration]) -> MigrationPlan:
    """Compare the files with what a database has.

    Raises MigrationFailed when an applied file has changed since, or when the database has a version that is missing
    here without being newer than all of ours. Newer ones are tolerated, because the old release runs on the new schema
    during a rolling upgrade, unless one contracts and leaves this release behind.
    """
    files = {migration.version: migration for migration in known}
    newest = max(files, default=0)
    done: set[int] = set()
    newer: list[int] = []
    for row in applied:
        label = f"{row.version:04d}_{row.name}"
        file = files.get(row.version)
        if file is None and row.version > newest:
            _require_known(row, newest)
            newer.append(row.version)
        elif file is None:
            raise MigrationFailed(f"The database has migration {label}, which this release does not know.")
        elif file.checksum != row.checksum:
            raise MigrationFailed(
                f"Migration {label} was changed after it was applied (checksum {row.checksum[:12]} in the database, "
                f"{file.checksum[:12]} in the file). Restore the file, and put the change into a new migration."
            )
        else:
            done.add(row.version)
    pending = tuple(files[version] for version in sorted(files) if version not in done)
    return MigrationPlan(pending=pending, newer=tuple(sorted(newer)))


def _require_known(row: AppliedMigration, newest: int) -> None:
    contract = _CONTRACT_NAME.match(row.name)
    if contract is not None and newest < int(contract["least"]):
        raise MigrationFailed(
            f"The database has migration {row.version:04d}_{row.name}, which has taken away what this release uses. "
            f"Upgrade it to one that has migration {contract['least']}."
        )


def _check_contract(package: str, migration: Migration) -> None:
    """The name says it to releases that don't have the file, the line says it to those who read it."""
    named, said = _CONTRACT_NAME.match(migration.name), _CONTRACT_LINE.search(migration.statements)
    label = f"{package}: migration {migration.version:04d}_{migration.name}"
    if (named and named["least"]) != (said and said["least"]) or bool(named) != bool(said):
        raise MigrationFailed(f"{label}: the name and a line `-- contract NNNN` must say the same")
    if named and int(named["least"]) >= migration.version:
        raise MigrationFailed(f"{label}: it leaves behind releases of its own time; contract in a later one")

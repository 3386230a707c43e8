"""Settings of what keeps the ledger: database, journal, committer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tallystick.config.database_login import DatabaseLoginSettings
from tallystick.config.places import Given, Place, negated
from tallystick.config.record import GIB, KIB, MIB, Frozen, PositiveCount, Seconds


class DatabaseSettings(Frozen):
    """The connections to the database."""

    pool_size_max: Annotated[
        PositiveCount,
        Given(
            name="database_pool_size_max",
            description="Most connections of each worker to the database, one of which listens for changes; at least "
            "3, or 2 without `database_statement_cache`. As many again go to a read replica.",
            file=("general_settings.database_connection_pool_limit",),
        ),
    ] = 10
    connections_per_host: Annotated[
        PositiveCount | None,
        Given(
            name="database_connections_per_host",
            description="Most connections of this host to the database: its workers share them evenly, each up to "
            "`database_pool_size_max`. As many again go to a read replica. `serve` does not start with fewer than its "
            "workers need. Default: no limit but that of each worker.",
        ),
    ] = None
    connect_timeout_seconds: Annotated[
        Seconds,
        Given(
            name="database_connect_timeout_seconds",
            description="Longest wait for a new connection to the database.",
            file=("general_settings.database_connect_timeout",),
        ),
    ] = 5.0
    pool_timeout_seconds: Annotated[
        Seconds,
        Given(
            name="database_pool_timeout_seconds",
            description="Longest wait for a connection while all are in use.",
            file=(
                "general_settings.database_connection_pool_timeout",
                "general_settings.database_connection_timeout",
            ),
        ),
    ] = 60.0
    replica_wait_seconds: Annotated[
        Seconds,
        Given(
            name="database_replica_wait_seconds",
            description="Longest wait of a report until the read replica has all that was committed before it was "
            "asked for. Then the database itself answers.",
        ),
    ] = 0.5
    idle_seconds_max: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Given(
            name="database_idle_seconds_max",
            description="Seconds after which a connection that nobody uses is closed; 0 keeps it open.",
            file=("general_settings.database_max_idle_connection_lifetime",),
        ),
    ] = 60.0
    statement_timeout_seconds: Annotated[
        Seconds,
        Given(
            name="database_statement_timeout_seconds",
            description="Longest time one statement may take.",
            file=("general_settings.database_socket_timeout",),
        ),
    ] = 60.0
    login: DatabaseLoginSettings = DatabaseLoginSettings()
    auto_migrate: Annotated[
        bool,
        Given(
            name="auto_migrate",
            description="Bring the schema up to date at start. Off: `tallystick migrate` does it.",
            file=(Place("general_settings.disable_prisma_schema_update", negated),),
            environment=(Place("DISABLE_SCHEMA_UPDATE", negated),),
        ),
    ] = True
    statement_cache: Annotated[
        bool,
        Given(
            name="database_statement_cache",
            description="Use prepared statements. Turn it off behind a pooler that shares connections by transaction.",
            file=(Place("general_settings.database_disable_prepared_statements", negated),),
        ),
    ] = True


class JournalSettings(Frozen):
    """The local durable log that every event goes through."""

    directory: Annotated[
        Path,
        Given(
            name="journal_directory",
            description="Directory of the journal, on a local disk. Default: `journal` in the home directory.",
        ),
    ]
    sync: Annotated[
        Literal["fsync", "write", "commit"],
        Given(
            name="journal_sync",
            description="What the last byte of an answer waits for: `fsync` survives power loss, `write` survives "
            "the death of the process, `commit` waits for the database.",
        ),
    ] = "fsync"
    bytes_max: Annotated[
        int,
        Field(ge=MIB),
        Given(name="journal_bytes_max", description="Most bytes that one worker's journal may hold."),
    ] = GIB
    segment_bytes: Annotated[
        int,
        Field(ge=64 * KIB),
        Given(name="journal_segment_bytes", description="Bytes after which a new segment file begins."),
    ] = 16 * MIB
    policy: Annotated[
        Literal["reject", "shed"],
        Given(
            name="journal_policy",
            description="At the journal's limit: `reject` answers new calls with 503, `shed` goes on and counts what "
            "is lost.",
        ),
    ] = "reject"

    @model_validator(mode="after")
    def _check_sizes(self) -> JournalSettings:
        if self.segment_bytes * 2 > self.bytes_max:
            raise ValueError("journal_bytes_max must hold at least two segments of journal_segment_bytes")
        return self


class CommitterSettings(Frozen):
    """The delivery of events to the database."""

    batch_events_max: Annotated[
        PositiveCount, Given(name="batch_events_max", description="Most events in one transaction.")
    ] = 20_000
    batch_wait_seconds: Annotated[
        Seconds, Given(name="batch_wait_seconds", description="Longest wait for a batch to fill.")
    ] = 0.1
    retry_seconds_min: Annotated[
        Seconds,
        Given(name="commit_retry_seconds_min", description="First pause after a failed commit; it doubles."),
    ] = 0.05
    retry_seconds_max: Annotated[
        Seconds, Given(name="commit_retry_seconds_max", description="Longest pause between two tries of a commit.")
    ] = 5.0

    @model_validator(mode="after")
    def _check_order(self) -> CommitterSettings:
        if self.retry_seconds_min > self.retry_seconds_max:
            raise ValueError("commit_retry_seconds_min must not exceed commit_retry_seconds_max")
        return self

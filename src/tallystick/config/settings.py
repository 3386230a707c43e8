"""Every setting of Tallystick, typed and frozen.

The `Given` of a field says where it may be written and what it is for; `docs/reference/settings.md` is made from it.
Secrets are left out of every repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tallystick.config.accounting_settings import AttributionSettings, CostSettings, Margin, UserHeaderMapping
from tallystick.config.alert_settings import AlertSettings
from tallystick.config.batch_settings import BatchSettings
from tallystick.config.budget_settings import BudgetSettings, ProviderBudget
from tallystick.config.cache_settings import CacheSettings
from tallystick.config.callback_settings import CallbackSettings
from tallystick.config.connections import ConnectionBudget, share_connections
from tallystick.config.control_settings import ControlSettings
from tallystick.config.database_login import DatabaseLoginSettings
from tallystick.config.database_url import database_kind
from tallystick.config.health_settings import HealthSettings
from tallystick.config.instance_settings import InstanceSettings
from tallystick.config.model_list import CredentialEntry, LitellmParams, ModelEntry, ModelInfo
from tallystick.config.pass_through_settings import PassThroughEntry, PassThroughSettings
from tallystick.config.places import Given, Place, negated
from tallystick.config.rate_settings import RateSettings
from tallystick.config.record import Frozen
from tallystick.config.redis_settings import RedisSettings
from tallystick.config.routing_settings import RoutingSettings
from tallystick.config.storage_settings import CommitterSettings, DatabaseSettings, JournalSettings
from tallystick.config.traffic_settings import ServerSettings, StreamSettings, UpstreamSettings

__all__ = [
    "AlertSettings",
    "AttributionSettings",
    "BatchSettings",
    "BudgetSettings",
    "CacheSettings",
    "CallbackSettings",
    "CommitterSettings",
    "ControlSettings",
    "CostSettings",
    "CredentialEntry",
    "DatabaseLoginSettings",
    "DatabaseSettings",
    "HealthSettings",
    "InstanceSettings",
    "JournalSettings",
    "LitellmParams",
    "Margin",
    "ModelEntry",
    "ModelInfo",
    "PassThroughEntry",
    "PassThroughSettings",
    "ProviderBudget",
    "RateSettings",
    "RedisSettings",
    "RoutingSettings",
    "ServerSettings",
    "Settings",
    "StreamSettings",
    "UpstreamSettings",
    "UserHeaderMapping",
]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


def _json_logs(value: object) -> str:
    return "auto" if negated(value) else "json"


def _verbose(value: object) -> str:
    return "info" if negated(value) else "debug"


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(Frozen):
    """All settings of one process."""

    home: Annotated[
        Path,
        Given(
            name="home",
            description="Directory for the embedded database, the journal and the keys made at first start. "
            "Default: `~/.tallystick`.",
            in_file=False,
        ),
    ]
    host: Annotated[
        str,
        Given(
            name="host",
            description="Address to listen on. Default: 0.0.0.0, with `--demo` 127.0.0.1.",
            environment=("HOST",),
        ),
    ]
    port: Annotated[
        int, Field(ge=0, le=65535), Given(name="port", description="Port to listen on.", environment=("PORT",))
    ] = 4000
    workers: Annotated[
        int,
        Field(ge=1, le=256),
        Given(
            name="workers",
            description="Worker processes that share the port.",
            file=("general_settings.num_workers",),
            environment=("NUM_WORKERS",),
        ),
    ] = 1
    demo: Annotated[
        bool,
        Given(name="demo", description="Add the `demo` model group and allow weak master keys.", in_file=False),
    ] = False
    database_url: Annotated[
        str,
        Field(repr=False),
        Given(
            name="database_url",
            description="`sqlite:///<path>` or `postgresql://…`. Also from DATABASE_HOST, DATABASE_PORT, "
            "DATABASE_USERNAME (or DATABASE_USER), DATABASE_PASSWORD, DATABASE_NAME and DATABASE_SCHEMA. "
            "Default: `tallystick.db` in the home directory.",
            environment=("DATABASE_URL",),
        ),
    ]
    database_url_read_replica: Annotated[
        str | None,
        Field(repr=False),
        Given(
            name="database_url_read_replica",
            description="A streaming replica of the PostgreSQL database, for reports, lists of the ledger and the "
            "audit. Also from DATABASE_HOST_READ_REPLICA and so on; what is not given, but the host, is as for "
            "the database.",
            environment=("DATABASE_URL_READ_REPLICA",),
        ),
    ] = None
    read_only: Annotated[
        bool,
        Given(
            name="read_only",
            description="Serve calls and reports, and change nothing: admin writes are answered with 503, nothing is "
            "migrated, and commits wait in the journal while the database takes none.",
        ),
    ] = False
    master_key: Annotated[
        str | None,
        Field(min_length=1, repr=False),
        Given(
            name="master_key",
            description="The administrator's key, at least 16 characters. Without one, `serve` makes one at first "
            "start.",
            environment=("LITELLM_MASTER_KEY",),
        ),
    ] = None
    secret_keys: Annotated[
        str | None,
        Field(min_length=1, repr=False),
        Given(
            name="secret_keys",
            description="The keys that seal secrets in the database: `<id>:<base64 of 32 bytes>`, separated by commas. "
            "The first seals, all open. `tallystick secrets new-key` prints one. Default: with SQLite one is made at "
            "first start and kept in `secret_keys` in the home directory; PostgreSQL needs them to be given.",
            refers=True,
        ),
    ] = None
    database: DatabaseSettings = DatabaseSettings()
    journal: JournalSettings
    committer: CommitterSettings = CommitterSettings()
    server: ServerSettings = ServerSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    routing: RoutingSettings = RoutingSettings()
    pass_through: PassThroughSettings = PassThroughSettings()
    stream: StreamSettings = StreamSettings()
    attribution: AttributionSettings = AttributionSettings()
    costs: CostSettings = CostSettings()
    batches: BatchSettings = BatchSettings()
    budgets: BudgetSettings = BudgetSettings()
    rates: RateSettings = RateSettings()
    redis: RedisSettings = RedisSettings()
    cache: CacheSettings = CacheSettings()
    callbacks: CallbackSettings = CallbackSettings()
    health: HealthSettings = HealthSettings()
    instances: InstanceSettings = InstanceSettings()
    control: ControlSettings = ControlSettings()
    alerts: AlertSettings = AlertSettings()
    log_level: Annotated[
        LogLevel,
        Given(
            name="log_level",
            description="Least severity that is logged.",
            file=(Place("litellm_settings.set_verbose", _verbose),),
            environment=(Place("LITELLM_LOG", _lower),),
        ),
    ] = "info"
    log_format: Annotated[
        LogFormat,
        Given(
            name="log_format",
            description="`json`, `console`, or `auto`: console on a terminal, else JSON.",
            file=(Place("litellm_settings.json_logs", _json_logs),),
            environment=(Place("JSON_LOGS", _json_logs),),
        ),
    ] = "auto"
    config_file: Path | None = None
    """The file that was read."""
    model_list: tuple[ModelEntry, ...] = ()
    credential_list: tuple[CredentialEntry, ...] = ()
    environment_variables: Mapping[str, str] = Field(default={}, repr=False)
    """Of the file; `load.export_environment` sets them."""
    file_values: Mapping[str, Any] = Field(default={}, repr=False)  # Any: whatever the file holds.
    """What the file's sections hold, by the whole name, as in `litellm_settings.cost_margin_config`."""
    owned: Mapping[str, str] = {}
    """Where each setting that is given was given, by the whole name of each of its places in the file."""
    warnings: tuple[str, ...] = ()
    """What was found and is not in force."""

    @property
    def connections(self) -> ConnectionBudget:
        """What each worker may open to PostgreSQL."""
        database = self.database
        return share_connections(
            database.pool_size_max,
            host_limit=database.connections_per_host,
            workers=self.workers,
            listens=self.listens,
        )

    @property
    def listens(self) -> bool:
        """Whether each worker has a connection to PostgreSQL on which it hears of changes."""
        return self.database.statement_cache and not self.read_only

    @model_validator(mode="after")
    def _check_database(self) -> Settings:
        replica = self.database_url_read_replica
        if replica is not None and database_kind(replica) == "sqlite":
            raise ValueError("database_url_read_replica must be of PostgreSQL")
        if database_kind(self.database_url) != "sqlite":
            return self
        if replica is not None:
            raise ValueError("database_url_read_replica needs a database_url of PostgreSQL")
        if self.database.login.is_used:
            raise ValueError("iam_token_db_auth and azure_postgresql_auth need a database_url of PostgreSQL")
        return self

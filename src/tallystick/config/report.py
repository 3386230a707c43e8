"""What `tallystick config check FILE` tells: errors, warnings and a summary, as plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tallystick.config.database_url import database_kind, masked_url
from tallystick.config.load import load_settings
from tallystick.config.problems import InvalidConfig, Problem
from tallystick.config.settings import Settings
from tallystick.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGroupRow:
    """One model group of the file."""

    model_group: str
    deployments: int
    upstream_models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReport:
    """The outcome of reading a configuration. `summary` and `model_groups` are empty when there are errors."""

    file: str
    errors: tuple[Problem, ...]
    warnings: tuple[str, ...]
    summary: Mapping[str, str]
    model_groups: tuple[ModelGroupRow, ...]

    @property
    def is_good(self) -> bool:
        return not self.errors


def config_report(
    *, config_file: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str]
) -> ConfigReport:
    """Read a configuration as `serve` would, without starting anything, and report on it. Shows no secret."""
    file = str(config_file or environ.get("CONFIG_FILE_PATH") or "")
    try:
        settings = load_settings(config_file=config_file, overrides=overrides, environ=environ)
    except InvalidConfig as error:
        return _failed(file, error.problems)
    except ConfigError as error:
        return _failed(file, (Problem(reason=error.reason, file=error.file, key_path=error.key_path),))
    return ConfigReport(
        file=file,
        errors=(),
        warnings=settings.warnings,
        summary=_summary(settings),
        model_groups=_model_groups(settings),
    )


def _failed(file: str, problems: tuple[Problem, ...]) -> ConfigReport:
    return ConfigReport(file=file, errors=problems, warnings=(), summary={}, model_groups=())


def _summary(settings: Settings) -> dict[str, str]:
    groups = {entry.model_name for entry in settings.model_list}
    redis = settings.redis.address
    return {
        "model groups": str(len(groups)),
        "deployments": str(len(settings.model_list)),
        "database": f"{database_kind(settings.database_url)} ({masked_url(settings.database_url)})",
        "rate limits": f"shared by Redis at {redis.shown}" if redis is not None else "counted by each worker",
        "journal": f"{settings.journal.directory} ({settings.journal.sync})",
        "address": f"{settings.host}:{settings.port}",
        "workers": str(settings.workers),
        "master key": "set" if settings.master_key else "made at first start",
        **({"sinks": ", ".join(sink.name for sink in settings.sinks)} if settings.sinks else {}),
    }


def _model_groups(settings: Settings) -> tuple[ModelGroupRow, ...]:
    groups: dict[str, list[str]] = {}
    for entry in settings.model_list:
        groups.setdefault(entry.model_name, []).append(entry.litellm_params.model)
    return tuple(
        ModelGroupRow(model_group=name, deployments=len(models), upstream_models=tuple(models))
        for name, models in groups.items()
    )

"""`tallystick config check`: read a configuration as `serve` would, and say what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tallystick.bootstrap import snapshot_builder
from tallystick.cli.options import GOOD, PROBLEM, ConfigOption, DatabaseOption, JsonOption, ends_well
from tallystick.cli.output import counted, log_errors_only, print_json, print_table, printable
from tallystick.config.load import load_settings
from tallystick.config.problems import Problem
from tallystick.config.report import ConfigReport, config_report
from tallystick.control.key_ring import KeyRing, new_secret_key
from tallystick.errors import BadRequest, ConfigError
from tallystick.runtime.clock import SystemClock

config_app = typer.Typer(no_args_is_help=True, help="Look at a configuration.", rich_markup_mode=None)


@config_app.callback()
def _group() -> None:
    """Look at a configuration."""


@config_app.command()
@ends_well
def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The configuration file.", exists=True, dir_okay=False, show_default=False),
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> int:
    """Say what is wrong with a configuration, and what it sets. Exit code 1 when `serve` would not start with it."""
    if file is not None and config is not None:
        raise BadRequest("Name the file once: as FILE or with --config.")
    log_errors_only()
    overrides = {"database_url": database_url}
    report = full_report(config_file=file or config, overrides=overrides, environ=os.environ)
    if json:
        print_json(_facts(report))
    else:
        _show(report)
    return GOOD if report.is_good else PROBLEM


def full_report(
    *, config_file: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str]
) -> ConfigReport:
    """Report on a configuration, and on its deployments too: `serve` resolves them before it starts."""
    report = config_report(config_file=config_file, overrides=overrides, environ=environ)
    if not report.is_good:
        return report
    clock = SystemClock()
    try:
        settings = load_settings(config_file=config_file, overrides=overrides, environ=environ)
        snapshot_builder(
            settings,
            key_ring=KeyRing((new_secret_key(clock.now()),)),  # The file holds nothing that is sealed.
            environ={**settings.environment_variables, **environ},
            clock=clock,
        ).check()
    except ConfigError as error:
        problem = Problem(reason=error.reason, file=error.file, key_path=error.key_path)
        return replace(report, errors=(problem,))
    return report


def _facts(report: ConfigReport) -> dict[str, Any]:  # Any: JSON.
    return {
        "ok": report.is_good,
        "file": report.file,
        "errors": [asdict(error) for error in report.errors],
        "warnings": report.warnings,
        "summary": dict(report.summary),
        "model_groups": [asdict(group) for group in report.model_groups],
    }


def _show(report: ConfigReport) -> None:
    for error in report.errors:
        typer.echo(printable(f"error: {error}"))
    for warning in report.warnings:
        typer.echo(printable(f"warning: {warning}"))
    if report.summary:
        print_table((("setting", "left"), ("value", "left")), list(report.summary.items()))
    if report.model_groups:
        print_table(
            (("model group", "left"), ("deployments", "right"), ("upstream models", "left")),
            [
                (group.model_group, str(group.deployments), ", ".join(group.upstream_models))
                for group in report.model_groups
            ],
        )
    name = report.file or "The configuration"
    counts = f"{counted(len(report.errors), 'error')}, {counted(len(report.warnings), 'warning')}"
    typer.echo(printable(f"{name} is good ({counts})." if report.is_good else f"{name} can't be used ({counts})."))

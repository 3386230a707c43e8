"""`tallystick doctor`: look at everything that a gateway needs, and say how to mend what is ill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from tallystick.cli.checks.check import Check, guarded
from tallystick.cli.checks.database import check_database
from tallystick.cli.checks.journal import check_journal
from tallystick.cli.checks.machine import check_clock, check_disks, check_port, check_sqlite_library
from tallystick.cli.checks.redis import check_redis
from tallystick.cli.checks.settings import check_configuration, check_master_key, check_secret_keys
from tallystick.cli.checks.sinks import check_sinks
from tallystick.cli.config import full_report
from tallystick.cli.options import GOOD, PROBLEM, ConfigOption, DatabaseOption, JsonOption, ends_well, settings_of
from tallystick.cli.output import log_errors_only, print_json, print_table, printable, working
from tallystick.errors import ConfigError
from tallystick.runtime.clock import SystemClock


@ends_well
def doctor(config: ConfigOption = None, database_url: DatabaseOption = None, json: JsonOption = False) -> int:
    """Check config, database, Redis, clock, disks, journal and keys. Exit code 1 when something is bad."""
    log_errors_only()
    with working("Looking"):
        checks = list(_examine(config, database_url))
    is_good = all(check.state != "bad" for check in checks)
    if json:
        print_json({"ok": is_good, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks)
    return GOOD if is_good else PROBLEM


def _examine(config: Path | None, database_url: str | None) -> Iterator[Check]:
    clock = SystemClock()
    overrides = {"database_url": database_url}
    yield from guarded(
        "config",
        lambda: check_configuration(full_report(config_file=config, overrides=overrides, environ=os.environ)),
    )
    yield from guarded("clock", lambda: check_clock(clock))
    yield from guarded("sqlite", check_sqlite_library)
    try:
        settings = settings_of(config, database_url)
    except ConfigError:
        return  # It has been told above; without settings nobody knows where to look.
    yield from guarded("master key", lambda: check_master_key(settings))
    yield from guarded("secret keys", lambda: check_secret_keys(settings))
    yield from guarded("disk", lambda: check_disks(settings))
    yield from guarded("journal", lambda: check_journal(settings))
    yield from guarded("sinks", lambda: check_sinks(settings))
    yield from guarded("database", lambda: check_database(settings, clock))
    yield from guarded("redis", lambda: check_redis(settings, clock))
    yield from guarded("port", lambda: check_port(settings))


def _show(checks: list[Check]) -> None:
    print_table(
        (("check", "left"), ("state", "left"), ("found", "left")),
        [(check.name, check.state, check.found) for check in checks],
    )
    for check in checks:
        if check.mend:
            typer.echo(printable(f"{check.state}: {check.name}: {check.mend}"))
    ill = sum(check.state == "bad" for check in checks)
    doubtful = sum(check.state == "warn" for check in checks)
    typer.echo(f"{ill} bad, {doubtful} to look at, {len(checks) - ill - doubtful} good.")

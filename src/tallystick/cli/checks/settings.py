"""The settings: the configuration as a whole, the master key, and the keys that seal secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tallystick.cli.checks.check import Check
from tallystick.cli.database import SQLITE
from tallystick.config.database_url import database_kind
from tallystick.config.master_key import weakness_of_master_key
from tallystick.config.report import ConfigReport
from tallystick.config.settings import Settings
from tallystick.control.key_ring import FILE_NAME, find_key_ring
from tallystick.errors import ConfigError

_SHOWN_MAX: Final = 5
_MASTER_KEY_FILE: Final = "master_key.sha256"


def check_configuration(report: ConfigReport) -> Iterator[Check]:
    """What `config check` would say, in one line for errors and one for warnings."""
    place = report.file or "no file, environment and defaults"
    if report.errors:
        yield Check(
            name="config",
            state="bad",
            found=_shortened([str(error) for error in report.errors]),
            mend="Correct what it names; `tallystick config check FILE` shows all of it.",
        )
        return
    if report.warnings:
        yield Check(
            name="config",
            state="warn",
            found=f"{place}: {_shortened(report.warnings)}",
            mend="These settings are not in force. Remove them, or correct their names.",
        )
    else:
        yield Check(name="config", state="good", found=f"{place}; {report.summary['deployments']} deployments")


def check_master_key(settings: Settings) -> Iterator[Check]:
    """Whether the administrator's key is there and can't be guessed."""
    file = settings.home / _MASTER_KEY_FILE
    if settings.master_key is not None:
        weakness = weakness_of_master_key(settings.master_key)
        if weakness:
            yield Check(name="master key", state="bad", found="it can be guessed", mend=f"Replace it: {weakness}.")
        else:
            yield Check(name="master key", state="good", found="is set")
    elif file.exists():
        yield Check(name="master key", state="good", found=f"was made at the first start; its hash is in {file}")
    else:
        yield Check(
            name="master key",
            state="warn",
            found="is not set",
            mend="Set TALLYSTICK_MASTER_KEY, or note the one that `tallystick serve` makes and shows once.",
        )


def check_secret_keys(settings: Settings) -> Iterator[Check]:
    """Whether there are keys that seal secrets, or `serve` may make one."""
    file = settings.home / FILE_NAME
    if settings.secret_keys is None and not file.exists():
        if settings.demo or database_kind(settings.database_url) == SQLITE:
            yield Check(name="secret keys", state="good", found=f"{file} will be made at first start")
        else:
            yield Check(
                name="secret keys",
                state="bad",
                found="are not set, and PostgreSQL needs them",
                mend="Make one with `tallystick secrets new-key`, and set TALLYSTICK_SECRET_KEYS.",
            )
        return
    try:
        ring = find_key_ring(settings.secret_keys, home=settings.home)
    except ConfigError as error:
        yield Check(name="secret keys", state="bad", found=error.message, mend="Correct what it names.")
        return
    place = "are set" if settings.secret_keys is not None else f"are in {file}"
    others = f", {len(ring.key_ids) - 1} more open" if len(ring.key_ids) > 1 else ""
    yield Check(name="secret keys", state="good", found=f"{place}; '{ring.first.key_id}' seals{others}")


def _shortened(texts: tuple[str, ...] | list[str]) -> str:
    more = len(texts) - _SHOWN_MAX
    return "; ".join(texts[:_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")

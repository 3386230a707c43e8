"""The services of a worker inside of somebody else's process: what the SDK runs on."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import pydantic

from tallystick.access.keys import hash_key
from tallystick.bootstrap.callbacks import load_callbacks
from tallystick.bootstrap.services import Services
from tallystick.bootstrap.stores import open_store, sqlite_path
from tallystick.config.database_url import database_kind
from tallystick.config.demo import with_demo_group
from tallystick.config.load import load_settings
from tallystick.config.settings import ModelEntry, Settings
from tallystick.control.key_ring import load_key_ring
from tallystick.errors import ConfigError
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics

_OWN_PREFIX: Final = "TALLYSTICK_"
_JOURNAL_PLACE: Final = "general_settings.journal_directory"


def open_embedded(
    *,
    overrides: Mapping[str, object],
    model_list: Sequence[Mapping[str, Any]] | None,  # Any: as in the configuration file.
    config_file: Path | None,
    demo: bool = False,
    callbacks: Mapping[str, Sequence[object]] = MappingProxyType({}),
) -> Services:
    """Return the services, not started; with `demo`, they have the model group that needs no account.

    Raises ConfigError.

    Without a file, only variables that begin with TALLYSTICK_ are settings: DATABASE_URL and the like are the
    program's own. Credentials are found in the whole environment, as it is now.
    """
    environ = dict(os.environ)
    for_settings = environ if config_file else {name: environ[name] for name in environ if _is_setting(name)}
    settings = load_settings(config_file=config_file, overrides=overrides, environ=for_settings)
    if _JOURNAL_PLACE not in settings.owned and config_file is None:
        journal = settings.journal.model_copy(update={"directory": _journal_of(settings)})
        settings = settings.model_copy(update={"journal": journal})
    if model_list is not None:
        settings = settings.model_copy(update={"model_list": _entries(model_list)})
    if demo:
        settings = with_demo_group(settings)
    clock = SystemClock()
    metrics = Metrics()
    return Services(
        settings,
        store=open_store(settings, clock=clock),
        # Nothing is sealed here that others must open, so that a ring of this machine's own is enough.
        key_ring=load_key_ring(settings.secret_keys, home=settings.home, may_keep=True, now=clock.now()),
        master_key_hash=hash_key(secrets.token_urlsafe()),  # Nobody logs in.
        environ={**settings.environment_variables, **environ},
        clock=clock,
        metrics=metrics,
        callbacks=load_callbacks(settings, given=callbacks),
    )


def _is_setting(name: str) -> bool:
    return name.startswith(_OWN_PREFIX) or name == "HOME"


def _journal_of(settings: Settings) -> Path:
    """Return a directory for one database alone: what a process left in its journal must not come into another."""
    if database_kind(settings.database_url) != "sqlite":
        parts = urlsplit(settings.database_url)
        place = f"{parts.hostname}:{parts.port or ''}{parts.path}?{parts.query}"
        return settings.home / "journals" / hashlib.sha256(place.encode()).hexdigest()[:16]
    file = sqlite_path(settings.database_url).absolute()
    if file == settings.home / "tallystick.db":
        return settings.journal.directory
    return file.with_name(f"{file.name}.tallystick-journal")


def _entries(model_list: Sequence[Mapping[str, Any]]) -> tuple[ModelEntry, ...]:  # Any: as above.
    found = []
    for index, entry in enumerate(model_list):
        try:
            found.append(ModelEntry.model_validate(entry))
        except pydantic.ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = "".join(f".{step}" for step in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            raise ConfigError(reason, key_path=f"model_list[{index}]{place}") from None
    return tuple(found)

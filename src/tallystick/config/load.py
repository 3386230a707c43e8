"""From the command line, the environment and the file to one `Settings`.

    overrides (command line)  >  environment  >  file  >  default

Every problem is collected, so that one start shows all of them; none of them shows a value.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from tallystick.config.connections import least_connections
from tallystick.config.database_url import (
    REPLICA_SUFFIX,
    database_kind,
    normalize_url,
    replica_url_from_parts,
    sealed_url,
    sqlite_url,
    url_from_parts,
)
from tallystick.config.master_key import weakness_of_master_key
from tallystick.config.places import Place, SettingEntry, registry
from tallystick.config.problems import InvalidConfig, KeyPath, Problem, show_path
from tallystick.config.references import resolve_references, resolve_text
from tallystick.config.secret_keys import parse_secret_keys
from tallystick.config.settings import Settings
from tallystick.config.sink_settings import read_sinks
from tallystick.config.unknown_keys import unknown_environment, unknown_keys
from tallystick.config.yaml_file import Document, read_document

SETTINGS = registry(Settings)
_SECTIONS = ("general_settings", "litellm_settings", "router_settings")


def load_settings(*, config_file: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Read all settings. Raises ConfigError that lists everything that is wrong.

    `overrides` are by flat name (`port`, `database_url` …); None means not given. Without `config_file`, the
    environment's CONFIG_FILE_PATH names the file; without both there is none.
    """
    file = config_file or (Path(environ["CONFIG_FILE_PATH"]) if environ.get("CONFIG_FILE_PATH") else None)
    document, variables, problems = _read_file(file, environ)
    whole_environment = {**variables, **environ}
    gathered = _Gathered(document=document, problems=problems)
    gathered.gather(overrides, whole_environment)
    values = gathered.values
    sinks, wrong_sinks, idle_sinks = read_sinks(document, whole_environment)
    problems.extend(wrong_sinks)
    warnings = [*unknown_keys(document, SETTINGS), *unknown_environment(environ, SETTINGS), *idle_sinks]
    _fill_computed(values, whole_environment)
    warnings.extend(gathered.check_database_urls())
    gathered.check_master_key()
    gathered.check_secret_keys()
    values |= {
        "config_file": file,
        "model_list": document.content.get("model_list") or (),
        "credential_list": document.content.get("credential_list") or (),
        "sinks": sinks,
        "file_values": gathered.file_values(),
        "owned": gathered.owned(),
        "environment_variables": variables,
        "warnings": tuple(warnings),
    }
    return gathered.settings(whole_environment)


def export_environment(settings: Settings, environ: MutableMapping[str, str]) -> None:
    """Set the file's `environment_variables`, for libraries that read the environment; what is set already stays."""
    for name, value in settings.environment_variables.items():
        environ.setdefault(name, value)


def _read_file(file: Path | None, environ: Mapping[str, str]) -> tuple[Document, dict[str, str], list[Problem]]:
    if file is None:
        return Document(content={}), {}, []
    return resolve_references(read_document(file), environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where a value was given."""

    file: str | None
    key_path: str


class _Gathered:
    """The values that were given, each with its origin, and the problems found so far."""

    def __init__(self, *, document: Document, problems: list[Problem]) -> None:
        self.values: dict[str, Any] = {}  # Any: not yet checked.
        self._document = document
        self._problems = problems
        self._origins: dict[KeyPath, _Origin] = {}

    def gather(self, overrides: Mapping[str, object], environ: Mapping[str, str]) -> None:
        """Take each setting from the first place that has it."""
        self._check_sections()
        known = {entry.name for entry in SETTINGS}
        for name in overrides.keys() - known:
            self._problems.append(Problem(reason="there is no such setting", key_path=name))
        for entry in SETTINGS:
            if overrides.get(entry.name) is not None:
                self._put(entry, overrides[entry.name], _Origin(file=None, key_path=entry.name))
            elif not self._take_from_environment(entry, environ):
                self._take_from_file(entry)

    def check_database_urls(self) -> Sequence[str]:
        """Normalize the addresses; return warnings."""
        warnings: list[str] = []
        for name in ("database_url", "database_url_read_replica"):
            url = self.values.get(name)
            if not isinstance(url, str):
                continue
            try:
                self.values[name], left_out = normalize_url(url)
            except ValueError as error:
                self._report((name,), str(error))
            else:
                warnings += [f"{name}: {each}" for each in left_out]
        return warnings

    def check_master_key(self) -> None:
        """Refuse a master key that can be guessed, but for a demonstration."""
        key, demo = self.values.get("master_key"), self.values.get("demo", False)
        weakness = weakness_of_master_key(key) if isinstance(key, str) else None
        if weakness and not _is_true(demo):
            self._report(("master_key",), weakness)

    def file_values(self) -> dict[str, Any]:  # Any: whatever the file holds.
        """Return what the file's sections hold, by the whole name."""
        sections = {section: self._document.content.get(section) for section in _SECTIONS}
        return {
            f"{section}.{name}": value
            for section, content in sections.items()
            if isinstance(content, dict)
            for name, value in content.items()
            if value is not None
        }

    def owned(self) -> dict[str, str]:
        """Return where each setting was given, by the whole name of each place of it in the file."""
        given = {
            place.name: f"{origin.file or 'the command line'}: {origin.key_path}"
            for entry in SETTINGS
            if (origin := self._origins.get(entry.field_path)) is not None
            for place in entry.file_places
        }
        for name in self.file_values():
            section, _, key = name.partition(".")
            given.setdefault(name, f"{self._document.file_of((section, key))}: {name}")
        return given

    def check_secret_keys(self) -> None:
        """Refuse keys that are malformed; nothing of them is shown."""
        keys = self.values.get("secret_keys")
        if not isinstance(keys, str):
            return
        try:
            parse_secret_keys(keys)
        except ValueError as error:
            self._report(("secret_keys",), str(error))

    def settings(self, environ: Mapping[str, str]) -> Settings:
        """Check everything and return it."""
        try:
            settings = Settings.model_validate(self.values)
        except pydantic.ValidationError as error:
            for detail in error.errors(include_input=False, include_url=False, include_context=False):
                self._report(detail["loc"], _reason(detail["msg"]))
            raise InvalidConfig(self._problems) from None  # The cause would show the values.
        for path, reason in settings.redis.contradictions():
            self._report(("redis", *path), reason)
        self._check_buffer(settings)
        if settings.cache.enabled and settings.cache.type == "redis" and settings.redis.address is None:
            self._report(("cache", "type"), "needs a Redis: give its `host` or `url` beside it, or redis_url")
        sealed = self._sealed_urls(settings, environ)
        if self._problems:
            raise InvalidConfig(self._problems)
        unused = [f"{self._name_of(('redis', *path))}: {reason}" for path, reason in settings.redis.unused()]
        unused += self._raised_limits(settings)
        return settings.model_copy(update={"warnings": (*settings.warnings, *unused), **sealed})

    def _raised_limits(self, settings: Settings) -> list[str]:
        """Return a warning when a worker gets more connections than were given, because it can't do with so few."""
        given, least = settings.database.pool_size_max, least_connections(listens=settings.listens)
        if given >= least or database_kind(settings.database_url) == "sqlite":
            return []
        name = self._name_of(("database", "pool_size_max"))
        return [f"{name}: {given} is too few for a worker, it has up to {least} connections"]

    def _sealed_urls(self, settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the addresses to which tokens are sent, with TLS asked for; report those that rule it out."""
        urls = {"database_url": settings.database_url, "database_url_read_replica": settings.database_url_read_replica}
        sealed: dict[str, str] = {}
        for name, url in urls.items() if settings.database.login.is_used else ():
            try:
                sealed |= {name: sealed_url(url, environ)} if url else {}
            except ValueError as error:
                self._report((name,), str(error))
        return sealed

    def _check_buffer(self, settings: Settings) -> None:
        """Refuse a buffer that could not work: without this, nobody would notice that there is none."""
        if not settings.instances.uses_redis_buffer:
            return
        place = ("instances", "uses_redis_buffer")
        if settings.redis.address is None:
            self._report(
                place,
                "needs Redis: set redis_url (REDIS_URL), redis_host, redis_cluster_nodes, redis_sentinel_nodes or "
                "coordination_redis, or leave this out",
            )
        if settings.database_url.startswith("sqlite:"):
            self._report(
                place,
                "needs PostgreSQL: the file of SQLite is on one machine, whose workers gain nothing by a detour "
                "through Redis. Set database_url, or leave this out",
            )

    def _check_sections(self) -> None:
        for section in _SECTIONS:
            if not isinstance(self._document.content.get(section) or {}, dict):
                self._problems.append(
                    Problem(reason="must be a mapping", file=self._document.file_of((section,)), key_path=section)
                )
        for name in ("model_list", "credential_list"):
            if not isinstance(self._document.content.get(name) or [], list):
                # Settings reports it; a mapping would be reported by key.
                self._document.content[name] = "not a list"

    def _take_from_environment(self, entry: SettingEntry, environ: Mapping[str, str]) -> bool:
        for place in entry.environment_places:
            if environ.get(place.name):
                self._read_variable(entry, place, environ)
                return True
        if entry.name == "database_url" and (url := url_from_parts(environ)):
            self._put(entry, url, _Origin(file="environment", key_path="DATABASE_HOST"))
            return True
        if entry.name == "database_url_read_replica" and (url := replica_url_from_parts(environ)):
            self._put(entry, url, _Origin(file="environment", key_path=f"DATABASE_HOST{REPLICA_SUFFIX}"))
            return True
        return False

    def _read_variable(self, entry: SettingEntry, place: Place, environ: Mapping[str, str]) -> None:
        text = environ[place.name]
        try:
            value = resolve_text(text, environ) if entry.refers else text
        except ValueError as error:
            self._problems.append(Problem(reason=str(error), file="environment", key_path=place.name))
            return
        self._read(entry, place, value, _Origin(file="environment", key_path=place.name))

    def _take_from_file(self, entry: SettingEntry) -> None:
        for place in entry.file_places:
            section, _, name = place.name.partition(".")
            value: Any = self._document.content.get(section)  # Any: whatever the file holds.
            for step in name.split("."):
                value = value.get(step) if isinstance(value, dict) else None
            if value is not None:
                origin = _Origin(file=self._document.file_of(tuple(place.name.split("."))), key_path=place.name)
                self._read(entry, place, value, origin)
                return

    def _read(self, entry: SettingEntry, place: Place, value: object, origin: _Origin) -> None:
        try:
            self._put(entry, place.read(value), origin)
        except pydantic.ValidationError as error:
            reason = _reason(error.errors(include_input=False)[0]["msg"])
            self._problems.append(Problem(reason=reason, file=origin.file, key_path=origin.key_path))

    def _put(self, entry: SettingEntry, value: object, origin: _Origin) -> None:
        target = self.values
        for step in entry.field_path[:-1]:
            target = target.setdefault(step, {})
        target[entry.field_path[-1]] = value
        self._origins[entry.field_path] = origin

    def _report(self, location: KeyPath, reason: str) -> None:
        """Report a problem at a place inside Settings, by the name that its writer used."""
        found = self._given_at(location)
        if found is not None:
            self._problems.append(Problem(reason=reason, file=found.file, key_path=found.key_path))
            return
        path = tuple(step for step in location if step not in ("prices", "extra"))
        self._problems.append(
            Problem(reason=reason, file=self._document.file_of(path), key_path=show_path(path) or None)
        )

    def _given_at(self, location: KeyPath) -> _Origin | None:
        """Return where a place inside Settings was given, down to the key."""
        for length in range(len(location), 0, -1):
            origin = self._origins.get(location[:length])
            if origin is not None:
                return _Origin(file=origin.file, key_path=show_path((origin.key_path, *location[length:])))
        return None

    def _name_of(self, location: KeyPath) -> str:
        found = self._given_at(location)
        return show_path(location) if found is None else found.key_path


def _fill_computed(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Fill the defaults that depend on other settings or on the environment."""
    user_home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    home = Path(str(values.setdefault("home", user_home / ".tallystick"))).expanduser().absolute()
    values["home"] = home
    values.setdefault("host", "127.0.0.1" if _is_true(values.get("demo")) else "0.0.0.0")  # noqa: S104 - as LiteLLM does; not the demo.
    values.setdefault("database_url", sqlite_url(home / "tallystick.db"))
    values.setdefault("journal", {}).setdefault("directory", home / "journal")


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes", "on")


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")

"""Warnings that name every key of the file, and every variable, that nothing acts upon."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from tallystick.config import litellm_keys
from tallystick.config.cache_settings import CACHE_TYPES, CALL_TYPES
from tallystick.config.callback_settings import is_import_path
from tallystick.config.database_url import DATABASE_PARTS, REPLICA_SUFFIX, replica_url_from_parts, url_from_parts
from tallystick.config.model_list import (
    BATCH_PRICE_FIELDS,
    PRICE_FIELDS,
    LitellmParams,
    ModelEntry,
    ModelInfo,
    is_of_library,
    is_price_field,
)
from tallystick.config.places import OWN_PREFIX, SettingEntry
from tallystick.config.problems import show_path
from tallystick.config.redis_settings import CACHE_PARTS, parts_of_cache
from tallystick.config.sink_settings import READ_HERE, is_sink_name
from tallystick.config.yaml_file import Document

NOT_YET = "known LiteLLM setting, not supported yet"


def unknown_keys(document: Document, settings: Sequence[SettingEntry]) -> list[str]:
    """Name each key of the file that is not supported, and what may have been meant."""
    return [
        *_sections(document.content),
        *(line for section in litellm_keys.BY_SECTION for line in _settings(document.content, section, settings)),
        *_callbacks(document.content),
        *_cache_params(document.content.get("litellm_settings")),
        *_models(document.content.get("model_list")),
    ]


def unknown_environment(environ: Mapping[str, str], settings: Sequence[SettingEntry]) -> list[str]:
    """Name each variable with our prefix that nobody reads, and each of LiteLLM's that we don't support yet."""
    known = {place.name for entry in settings for place in entry.environment_places}
    warnings = [
        _unknown(name, name, known) for name in sorted(environ) if name.startswith(OWN_PREFIX) and name not in known
    ]
    warnings.extend(f"{name}: {NOT_YET}" for name in sorted(litellm_keys.ENVIRONMENT & environ.keys()))
    given_parts = sorted(name for name in DATABASE_PARTS if environ.get(name))
    replica_parts = sorted(name for part in DATABASE_PARTS if environ.get(name := f"{part}{REPLICA_SUFFIX}"))
    has_replica = environ.get("DATABASE_URL_READ_REPLICA") or replica_url_from_parts(environ)
    has_database = environ.get("DATABASE_URL") or url_from_parts(environ) or has_replica
    if given_parts and not has_database:
        warnings.append(f"{given_parts[0]}: not used without DATABASE_HOST, DATABASE_USERNAME and DATABASE_NAME")
    if replica_parts and not has_replica:
        warnings.append(f"{replica_parts[0]}: not used without DATABASE_HOST_READ_REPLICA, a user and a name")
    return warnings


def _sections(content: Mapping[str, Any]) -> Iterator[str]:
    for section, value in content.items():
        if section in litellm_keys.SUPPORTED_SECTIONS:
            continue
        if section in litellm_keys.SECTIONS:
            if value:
                yield f"{section}: {NOT_YET}"
        else:
            yield _unknown(section, section, litellm_keys.SECTIONS)


def _settings(content: Mapping[str, Any], section: str, settings: Sequence[SettingEntry]) -> Iterator[str]:
    given = content.get(section)
    if not isinstance(given, dict):
        return
    supported = {
        place.name.partition(".")[2]
        for entry in settings
        for place in entry.file_places
        if place.name.startswith(f"{section}.")
    }
    known = litellm_keys.BY_SECTION[section]
    for name in given:
        if name in supported:
            continue
        path = f"{section}.{name}"
        if path in READ_HERE:
            continue
        elsewhere = next((other for other, names in litellm_keys.BY_SECTION.items() if name in names), None)
        if name in known:
            yield f"{path}: {litellm_keys.WITHOUT_EFFECT.get(path, NOT_YET)}"
        elif elsewhere is not None:
            yield f"{path}: belongs into {elsewhere}, not read here"
        else:
            yield _unknown(path, name, supported | known)


def _callbacks(content: Mapping[str, Any]) -> Iterator[str]:  # Any: not yet checked.
    """Name the destinations of callbacks that we don't have."""
    settings = content.get("litellm_settings")
    if not isinstance(settings, dict):
        return
    for name in _CALLBACKS:
        given = settings.get(name)
        for index, entry in enumerate(given if isinstance(given, list) else (given,)):
            if isinstance(entry, str) and not is_import_path(entry) and not is_sink_name(entry, content):
                path = ("litellm_settings", name, index) if isinstance(given, list) else ("litellm_settings", name)
                yield f"{show_path(path)}: {entry[:40]!r}: {NOT_YET}"


_CALLBACKS: Final = ("callbacks", "input_callback", "success_callback", "failure_callback")


def _cache_params(litellm_settings: Any) -> Iterator[str]:  # Any: not yet checked.
    """Name what has no effect: other types than those we have, what is cached nowhere, and what needs the cache."""
    given = litellm_settings.get("cache_params") if isinstance(litellm_settings, dict) else None
    if not isinstance(given, dict):
        return
    path = "litellm_settings.cache_params"
    if given.get("type") not in (None, "", *CACHE_TYPES):
        yield f"{path}.type: {str(given['type'])[:40]!r} is not supported: nothing is cached; there is local and redis"
    elif not litellm_settings.get("cache"):
        for name in sorted(given.keys() & _OF_CACHE):
            yield f"{path}.{name}: not used without litellm_settings.cache"
    types = given.get("supported_call_types")
    for name in types if isinstance(types, list) else ():
        if name not in CALL_TYPES:
            yield f"{path}.supported_call_types: {str(name)[:40]!r} is not cached here"
    parts = CACHE_PARTS if parts_of_cache(given) is not None else frozenset({"namespace"})
    for name in sorted(given.keys() - parts - {"type", *_OF_CACHE}):
        if name in CACHE_PARTS:
            yield f"{path}.{name}: not used by a cache of this type"
        elif name in litellm_keys.CACHE_PARAMS:
            yield f"{path}.{name}: {litellm_keys.WITHOUT_EFFECT.get(f'{path}.{name}', NOT_YET)}"
        else:
            yield _unknown(f"{path}.{name}", name, CACHE_PARTS | litellm_keys.CACHE_PARAMS)


_OF_CACHE: Final = frozenset(("ttl", "mode", "supported_call_types"))
"""What says how answers are cached, beside the type."""


def _models(model_list: Any) -> Iterator[str]:  # Any: not yet checked; Settings reports what is wrong with it.
    entries: Iterable[Any] = model_list if isinstance(model_list, list) else ()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        where = ("model_list", index)
        for name in entry.keys() - ModelEntry.model_fields.keys():
            yield _unknown(show_path((*where, name)), name, ModelEntry.model_fields.keys())
        yield from _parameters(entry.get("litellm_params"), (*where, "litellm_params"))
        yield from _facts(entry.get("model_info"), (*where, "model_info"))


def _parameters(parameters: Any, where: tuple[str | int, ...]) -> Iterator[str]:
    supported = LitellmParams.model_fields.keys() - {"prices", "extra"}
    if not isinstance(parameters, dict) or is_of_library(parameters.get("model")):
        return
    for name in parameters:
        path = show_path((*where, name))
        if name in supported or is_price_field(name):
            continue
        if name in litellm_keys.LITELLM_PARAMS:
            yield f"{path}: {NOT_YET}"
        else:
            yield _unknown(path, name, supported | PRICE_FIELDS | BATCH_PRICE_FIELDS | litellm_keys.LITELLM_PARAMS)


def _facts(facts: Any, where: tuple[str | int, ...]) -> Iterator[str]:
    """Free-form facts are fine; one that looks like a price or a field of ours, and is none, is named."""
    supported = ModelInfo.model_fields.keys() - {"prices", "extra"}
    for name in facts if isinstance(facts, dict) else ():
        if name in supported or is_price_field(name):
            continue
        path = show_path((*where, name))
        if name in litellm_keys.LITELLM_PARAMS and "cost" in name:
            yield f"{path}: {NOT_YET}"
        elif "cost" in name or difflib.get_close_matches(name, ("base_model",), cutoff=0.8):
            yield _unknown(path, name, supported | PRICE_FIELDS | BATCH_PRICE_FIELDS)


def _unknown(path: str, name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"{path}: unknown setting" + (f"; did you mean {close[0]}?" if close else "")

"""Settings of sinks: the section `sinks`, and what LiteLLM's settings say of the same.

`success_callback`, `failure_callback`, `callbacks` and `input_callback` of `litellm_settings` name sinks; what else is
named there belongs to `callback_settings`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import pydantic
from pydantic import AfterValidator, Field

from tallystick.config.problems import KeyPath, Problem, show_path
from tallystick.config.record import Frozen, Seconds
from tallystick.config.yaml_file import Document

SECTION: Final = "sinks"
_CALLBACKS: Final = "litellm_settings"
_LISTS: Final[Mapping[str, str]] = {
    "success_callback": "success",
    "failure_callback": "failure",
    "callbacks": "all",
    "input_callback": "start",
}
_OF_CALLBACKS: Final[Mapping[str, str]] = {
    "supabase": "supabase",
    "dynamodb": "dynamodb",
    "webhook": "webhook",
    "generic": "webhook",
    "generic_api": "webhook",
    "s3": "s3",
    "s3_v2": "s3",
}
"""LiteLLM's names, and the type and name of the sink that each means."""
READ_HERE: Final = frozenset(
    f"{_CALLBACKS}.{name}" for name in ("supabase_table_name", "dynamodb_table_name", "s3_callback_params")
)
"""Settings of LiteLLM's that are read here; what of them is not in force is in the warnings of `read_sinks`."""
_S3_PARAMS: Final[Mapping[str, str]] = {
    "s3_bucket_name": "bucket",
    "s3_region_name": "region",
    "s3_path": "path",
    "s3_endpoint_url": "endpoint_url",
    "s3_aws_access_key_id": "aws_access_key_id",
    "s3_aws_secret_access_key": "aws_secret_access_key",
    "s3_aws_session_token": "aws_session_token",
}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL such as https://collector.example.org/events")
    return text


def _object_path(text: str) -> str:
    text = text.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9/_.-]*", text) or ".." in text:
        raise ValueError("must be of letters, digits, '/', '_', '.' and '-'")
    return text


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


URL = Annotated[str, AfterValidator(_url)]
EventFormat = Literal["event", "standard"]


class SinkEntry(Frozen):
    """What every sink may be given."""

    name: str
    events: Literal["all", "success", "failure"] = "all"
    batch_events_max: Annotated[int, Field(ge=1, le=1_000)] = 100
    batch_wait_seconds: Annotated[float, Field(ge=0, le=600)] = 1.0
    timeout_seconds: Seconds = 10.0
    retry_seconds_min: Seconds = 0.5
    retry_seconds_max: Seconds = 60.0
    at_limit: Literal["keep", "skip"] = "skip"

    @pydantic.model_validator(mode="after")
    def _check_order(self) -> SinkEntry:
        if self.retry_seconds_min > self.retry_seconds_max:
            raise ValueError("retry_seconds_min must not exceed retry_seconds_max")
        return self


class WebhookEntry(SinkEntry):
    """An address that takes batches of events as JSON."""

    type: Literal["webhook"]
    url: Annotated[URL, Field(repr=False)]
    secret: Annotated[Annotated[str, Field(min_length=16)] | None, Field(repr=False)] = None
    headers: Annotated[Mapping[str, str], Field(repr=False)] = {}
    format: EventFormat = "event"


class SupabaseEntry(SinkEntry):
    """A table behind PostgREST."""

    type: Literal["supabase"]
    url: URL
    key: Annotated[str, Field(min_length=1, repr=False)]
    table: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,63}$")] = "request_logs"
    rest_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = "/rest/v1"
    start_rows: bool | None = None


class AWSEntry(SinkEntry):
    """What sinks on AWS share. Without keys, those of the environment or of AWS' own chain are used."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    endpoint_url: URL | None = None
    aws_access_key_id: Annotated[str, Field(repr=False)] = ""
    aws_secret_access_key: Annotated[str, Field(repr=False)] = ""
    aws_session_token: Annotated[str, Field(repr=False)] = ""


class DynamoDBEntry(AWSEntry):
    """A DynamoDB table whose key is `id`."""

    type: Literal["dynamodb"]
    table: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")]


class S3Entry(AWSEntry):
    """A bucket of S3, or of what speaks its protocol."""

    type: Literal["s3"]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    path: Annotated[str, AfterValidator(_object_path)] = ""
    format: EventFormat = "standard"


class FileEntry(SinkEntry):
    """A directory."""

    type: Literal["file"]
    directory: Annotated[Path, AfterValidator(_absolute)]
    format: EventFormat = "event"


_MODELS: Final[Mapping[str, type[SinkEntry]]] = {
    "webhook": WebhookEntry,
    "supabase": SupabaseEntry,
    "dynamodb": DynamoDBEntry,
    "s3": S3Entry,
    "file": FileEntry,
}


def read_sinks(
    document: Document, environ: Mapping[str, str]
) -> tuple[tuple[SinkEntry, ...], list[Problem], list[str]]:
    """Return the sinks of a file, what is wrong with them, and what is not in force."""
    given = document.content.get(SECTION) or {}
    if not isinstance(given, dict) or not all(isinstance(each or {}, dict) for each in given.values()):
        return (), [_problem(document, (SECTION,), "must be a mapping of names to settings")], []
    wanted: dict[str, dict[str, Any]] = {
        str(name): dict(each or {}) for name, each in given.items()
    }  # Any: not checked.
    named = _named(document.content, wanted)
    for name, kinds in named.items():
        values = wanted.setdefault(name, {"type": name})
        if not {"success", "failure", "all"} & kinds:
            continue
        both = "all" in kinds or {"success", "failure"} <= kinds
        values.setdefault("events", "all" if both else "success" if "success" in kinds else "failure")
    for name, values in wanted.items():
        values.setdefault("type", name)
        _fill(values, _litellm_settings(document.content), environ, starts="start" in named.get(name, ()))
    entries, problems = _checked(document, wanted)
    return entries, problems, list(_warnings(document.content, wanted))


def is_sink_name(name: str, content: Mapping[str, Any]) -> bool:  # Any: not yet checked.
    """Whether an entry of a list of callbacks names a sink: one of LiteLLM's names, or one of the section `sinks`."""
    sinks = content.get(SECTION)
    return name in _OF_CALLBACKS or (isinstance(sinks, dict) and name in sinks)


def _litellm_settings(content: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = content.get(_CALLBACKS)
    return settings if isinstance(settings, dict) else {}


def _listed(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for setting in _LISTS:
        names = _litellm_settings(content).get(setting)
        for name in names if isinstance(names, list) else [] if names is None else [names]:
            yield setting, str(name)


def _named(content: Mapping[str, Any], given: Mapping[str, object]) -> dict[str, set[str]]:
    """Return which sinks the lists of callbacks name, and for what."""
    named: dict[str, set[str]] = {}
    for setting, name in _listed(content):
        sink = name if name in given else _OF_CALLBACKS.get(name)
        if sink is not None:
            named.setdefault(sink, set()).add(_LISTS[setting])
    return named


def _fill(values: dict[str, Any], litellm: Mapping[str, Any], environ: Mapping[str, str], *, starts: bool) -> None:
    """Fill what is not given from LiteLLM's settings and from the environment."""

    def default(field: str, value: object) -> None:
        if value not in (None, ""):
            values.setdefault(field, value)

    match values["type"]:
        case "supabase":
            default("url", environ.get("SUPABASE_URL"))
            default("key", environ.get("SUPABASE_KEY"))
            default("table", litellm.get("supabase_table_name"))
            if starts:
                values.setdefault("start_rows", True)
        case "webhook":
            default("url", environ.get("GENERIC_LOGGER_ENDPOINT"))
        case "dynamodb":
            default("table", litellm.get("dynamodb_table_name"))
            default("region", _region(environ))
        case "s3":
            parameters = litellm.get("s3_callback_params")
            for theirs, ours in _S3_PARAMS.items():
                default(ours, parameters.get(theirs) if isinstance(parameters, dict) else None)
            default("region", _region(environ))


def _region(environ: Mapping[str, str]) -> str | None:
    names = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
    return next((environ[name] for name in names if environ.get(name)), None)


def _checked(document: Document, wanted: Mapping[str, dict[str, Any]]) -> tuple[tuple[SinkEntry, ...], list[Problem]]:
    entries: list[SinkEntry] = []
    problems: list[Problem] = []
    for name, values in wanted.items():
        model = _MODELS.get(str(values["type"]))
        if not _NAME.fullmatch(name):
            reason = "the name must be of small letters, digits, '_' and '-', at most 63 of them"
            problems.append(_problem(document, (SECTION, name), reason))
        elif "name" in values:
            problems.append(_problem(document, (SECTION, name, "name"), "is the key above it, and not given again"))
        elif model is None:
            reason = f"needs a `type`: {', '.join(_MODELS)}"
            problems.append(_problem(document, (SECTION, name), reason))
        else:
            try:
                entries.append(model.model_validate({**values, "name": name}))
            except pydantic.ValidationError as error:
                for detail in error.errors(include_input=False, include_url=False, include_context=False):
                    reason = _reason(
                        detail["type"],
                        detail["msg"],
                        str((*detail["loc"], "")[-2] if detail["loc"] else ""),
                        values["type"],
                    )
                    problems.append(_problem(document, (SECTION, name, *detail["loc"]), reason))
    return tuple(entries), problems


_ELSEWHERE: Final[Mapping[tuple[str, str], str]] = {
    ("supabase", "url"): "SUPABASE_URL",
    ("supabase", "key"): "SUPABASE_KEY",
    ("webhook", "url"): "GENERIC_LOGGER_ENDPOINT",
    ("dynamodb", "table"): "litellm_settings.dynamodb_table_name",
    ("dynamodb", "region"): "AWS_REGION_NAME",
    ("s3", "bucket"): "litellm_settings.s3_callback_params.s3_bucket_name",
    ("s3", "region"): "litellm_settings.s3_callback_params.s3_region_name",
}


def _reason(kind: str, message: str, field: str, sink_type: str) -> str:
    if kind == "missing":
        elsewhere = _ELSEWHERE.get((sink_type, field))
        return "is needed" + (f": set it here or as {elsewhere}" if elsewhere else "")
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(field, _MODELS[sink_type].model_fields, n=1, cutoff=0.7)
        return "there is no such setting" + (f"; did you mean {close[0]}?" if close else "")
    return message.removeprefix("Value error, ")


def _problem(document: Document, path: KeyPath, reason: str) -> Problem:
    return Problem(reason=reason, file=document.file_of(path), key_path=show_path(path))


def _warnings(content: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    types = {values["type"] for values in wanted.values()}
    litellm = _litellm_settings(content)
    for setting, kind in (
        ("supabase_table_name", "supabase"),
        ("dynamodb_table_name", "dynamodb"),
        ("s3_callback_params", "s3"),
    ):
        if litellm.get(setting) is not None and kind not in types:
            yield f"{_CALLBACKS}.{setting}: not used without the callback {kind!r}"
    parameters = litellm.get("s3_callback_params")
    for name in sorted(map(str, parameters)) if isinstance(parameters, dict) and "s3" in types else ():
        if name not in _S3_PARAMS:
            yield f"{_CALLBACKS}.s3_callback_params.{name[:60]}: not supported"
    for name, values in wanted.items():
        if values.get("start_rows") and values.get("events", "all") == "success":
            yield f"{SECTION}.{name}: start rows of calls that fail stay as they began, because only success is sent"

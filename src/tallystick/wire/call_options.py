"""What a caller says of how its call is routed: retries, timeouts, fallbacks. In any dialect whose body is JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec

from tallystick.errors import BadRequest

_RETRIES_HEADER: Final = b"x-litellm-num-retries"
_TIMEOUT_HEADER: Final = b"x-litellm-timeout"
_STREAM_TIMEOUT_HEADER: Final = b"x-litellm-stream-timeout"
_FALLBACKS_MAX: Final = 100
_RETRIES_MAX: Final = 20
_SECONDS_MAX: Final = 86_400

MockFailure = Literal["failure", "context_window", "content_policy"]
Retries = Annotated[int, msgspec.Meta(ge=0, le=_RETRIES_MAX)]
Timeout = Annotated[float, msgspec.Meta(gt=0, le=_SECONDS_MAX)]


class CallOptions(msgspec.Struct, frozen=True, kw_only=True):
    """None: the caller does not say it."""

    num_retries: int | None = None
    timeout_seconds: float | None = None
    stream_timeout_seconds: float | None = None
    fallbacks: Mapping[str, Sequence[str]] | None = None
    """By model group; those under `*` are of every group."""
    context_window_fallbacks: Mapping[str, Sequence[str]] | None = None
    content_policy_fallbacks: Mapping[str, Sequence[str]] | None = None
    disables_fallbacks: bool = False
    max_fallbacks: int | None = None
    mock_failure: MockFailure | None = None
    """Fail in the first model group without calling anything, to see the fallbacks at work."""


NO_OPTIONS: Final = CallOptions()


class RoutingBody(msgspec.Struct, gc=False):
    """The fields of a body that say how its call is routed."""

    num_retries: Retries | None = None
    max_retries: Retries | None = None
    timeout: Timeout | None = None
    stream_timeout: Timeout | None = None
    fallbacks: list[Any] | None = None  # Any: each entry is looked at by `_fallbacks`.
    context_window_fallbacks: list[Any] | None = None  # Any: as above.
    content_policy_fallbacks: list[Any] | None = None  # Any: as above.
    disable_fallbacks: bool | None = None
    max_fallbacks: Annotated[int, msgspec.Meta(ge=0, le=_FALLBACKS_MAX)] | None = None
    mock_testing_fallbacks: bool | None = None
    mock_testing_context_fallbacks: bool | None = None
    mock_testing_content_policy_fallbacks: bool | None = None


_SAID: Final = attrgetter(*RoutingBody.__struct_fields__)
_NOTHING: Final = _SAID(RoutingBody())


def options_of(body: RoutingBody) -> CallOptions:
    """Return what a body says. Raises BadRequest that names the field."""
    if _SAID(body) == _NOTHING:
        return NO_OPTIONS
    return CallOptions(
        num_retries=body.num_retries if body.num_retries is not None else body.max_retries,
        timeout_seconds=body.timeout,
        stream_timeout_seconds=body.stream_timeout,
        fallbacks=_fallbacks(body.fallbacks, "fallbacks"),
        context_window_fallbacks=_fallbacks(body.context_window_fallbacks, "context_window_fallbacks"),
        content_policy_fallbacks=_fallbacks(body.content_policy_fallbacks, "content_policy_fallbacks"),
        disables_fallbacks=body.disable_fallbacks is True,
        max_fallbacks=body.max_fallbacks,
        mock_failure=_mock_failure(body),
    )


def with_headers(options: CallOptions, headers: Mapping[bytes, bytes]) -> CallOptions:
    """Return the options with what headers say where the body says nothing. Raises BadRequest that names the header."""
    if _RETRIES_HEADER not in headers and _TIMEOUT_HEADER not in headers and _STREAM_TIMEOUT_HEADER not in headers:
        return options
    return msgspec.structs.replace(
        options,
        num_retries=_first(options.num_retries, headers, _RETRIES_HEADER, Retries),
        timeout_seconds=_first(options.timeout_seconds, headers, _TIMEOUT_HEADER, Timeout),
        stream_timeout_seconds=_first(options.stream_timeout_seconds, headers, _STREAM_TIMEOUT_HEADER, Timeout),
    )


def _first(said: Any, headers: Mapping[bytes, bytes], name: bytes, of: Any) -> Any:  # Any: a type as msgspec takes it.
    return _header(headers, name, of) if said is None else said


def _header(headers: Mapping[bytes, bytes], name: bytes, of: Any) -> Any:  # Any: a type as msgspec takes it.
    value = headers.get(name)
    if value is None:
        return None
    try:
        return msgspec.convert(value.decode("latin-1").strip(), of, strict=False)
    except msgspec.ValidationError as error:
        text = name.decode()
        raise BadRequest(f"The header {text} is not right: {error}.", param=text) from error


def _fallbacks(entries: list[Any] | None, field: str) -> Mapping[str, Sequence[str]] | None:  # Any: JSON.
    """Read names of groups, `{"model": name}`, or `{group: [names]}` as in the configuration."""
    if entries is None:
        return None
    if len(entries) > _FALLBACKS_MAX:
        raise BadRequest(f"'{field}': at most {_FALLBACKS_MAX} entries.", param=field)
    found: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, str):
            found.setdefault("*", []).append(entry)
        elif isinstance(entry, dict) and entry.keys() == {"model"} and isinstance(entry["model"], str):
            found.setdefault("*", []).append(entry["model"])
        elif isinstance(entry, dict) and entry and all(map(_is_names, entry.values())):
            for group, names in entry.items():
                found.setdefault(group, []).extend(names)
        else:
            raise BadRequest(
                f'\'{field}\': each entry must be the name of a model, or like {{"model": ["its fallback"]}}; other '
                "parameters for a fallback are not supported.",
                param=field,
            )
    return found


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _mock_failure(body: RoutingBody) -> MockFailure | None:
    if body.mock_testing_fallbacks:
        return "failure"
    if body.mock_testing_context_fallbacks:
        return "context_window"
    return "content_policy" if body.mock_testing_content_policy_fallbacks else None

"""How a deployment is called through a library, `any-llm/<provider>/<model>` and `litellm/<provider>/<model>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.providers.base import InvalidTarget

LIBRARY_ACCESS: Final = "library_access"
"""Option of a Target: the `LibraryAccess` that its calls go with."""
PACKAGES: Final[Mapping[str, str]] = {"any-llm": "any_llm", "litellm": "litellm"}
"""The libraries by the prefix that is also the extra's name, and what they are imported as."""

_REFUSED_VERSIONS: Final = {"litellm": ("1.82.7", "1.82.8")}
"""Releases that were malware."""
_PROVIDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOT_FOR_DEPLOYMENTS: Final = frozenset((
    "acompletion", "aembedding", "allowed_openai_params", "callbacks", "client", "cooldown_time", "custom_llm_provider",
    "fallbacks", "failure_callback", "input", "logger_fn", "max_retries", "messages", "metadata", "mock_delay",
    "mock_timeout", "model", "model_list", "no-log", "num_retries", "provider", "stream", "stream_options",
    "success_callback", "timeout", "unified_exceptions", "verbose",
))  # fmt: skip
"""What the gateway says for every call, or what would have a library do a part of the gateway's work."""


class LibraryAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment has a library call its provider with. Never logged."""

    api_key: str = ""
    """'': the library looks for it in the environment, under the names that it documents."""
    api_base: str = ""
    headers: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}  # Any: JSON; whatever the library takes for that provider.


class LibraryModel(NamedTuple):
    """A model as a library knows it."""

    provider: str
    model: str


def library_model(library: str, name: str) -> LibraryModel:
    """Split what stands behind the library's prefix. Raises InvalidTarget."""
    provider, _, model = name.partition("/")
    if not model or not _PROVIDER.fullmatch(provider):
        raise InvalidTarget(
            "model", f"'{library}/{name}' names no provider and model: write {library}/<provider>/<model>"
        )
    return LibraryModel(provider, model)


def library_access(
    library: str,
    api_key: str | None,
    api_base: str | None,
    headers: Mapping[str, str],
    params: Mapping[str, Any],  # Any: JSON.
) -> LibraryAccess:
    """Return what its calls go with. Raises InvalidTarget where the library is not there, or would be told too much."""
    require_library(library)
    for name in params:
        if name in _NOT_FOR_DEPLOYMENTS:
            raise InvalidTarget(name, f"it can't be given to {library}: the gateway says it for each call")
    return LibraryAccess(
        api_key=(api_key or "").strip(),
        api_base=(api_base or "").strip().rstrip("/"),
        headers=headers,
        params=params,
    )


def require_library(library: str) -> None:
    """Raise InvalidTarget, which says how to install it, where the library is not there. It is not imported."""
    if find_spec(PACKAGES[library]) is None:
        raise InvalidTarget(
            "model",
            f"models of {library}/ need the package {PACKAGES[library]}, which is not installed: "
            f"pip install 'tallystick[{library}]'",
        )
    try:
        installed = version(library)
    except PackageNotFoundError:  # Its distribution has another name, or none: there is no release to refuse.
        return
    if installed in _REFUSED_VERSIONS.get(library, ()):
        raise InvalidTarget(
            "model", f"{library} {installed} was malware: remove it, and pip install 'tallystick[{library}]'"
        )

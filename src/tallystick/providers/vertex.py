"""Where a model at Vertex AI is: its project, its location, and what its tokens are asked with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

VERTEX_STYLE: Final = "vertex"
"""The path style of a Target at Vertex AI."""
VERTEX_PROJECT: Final = "vertex_project"
VERTEX_LOCATION: Final = "vertex_location"
VERTEX_CREDENTIALS: Final = "vertex_credentials"
"""Option of a Target: a service account as JSON, '' for what the machine has. A Target without it has a key."""
VERTEX_PARAMS: Final = (VERTEX_PROJECT, VERTEX_LOCATION, VERTEX_CREDENTIALS)
_LOCATION: Final = "us-central1"
"""Where a deployment is that names no location."""
_PROJECTS: Final = ("VERTEXAI_PROJECT", "VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT")
_LOCATIONS: Final = ("VERTEXAI_LOCATION", "VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION")
_NAME = re.compile(r"[a-z0-9.:-]+")
_OURS = re.compile(r"(?:gemini|gemma|learnlm)[a-z0-9.@-]*|\d+", re.IGNORECASE)
_FILE_BYTES_MAX: Final = 64 * 1024


class WrongVertex(ValueError):
    """Vertex AI can't be called like this; `field` is the parameter to mend."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class VertexPlace(NamedTuple):
    """Where calls go, and what their tokens are asked with; None: they have a key."""

    api_base: str
    credentials: str | None


def find_vertex(
    model: str, params: Mapping[str, Any], *, api_base: str, has_key: bool, environment: Mapping[str, str]
) -> VertexPlace:
    """Work out where a model is. `params` are the deployment's, references resolved. Raises WrongVertex."""
    if not _OURS.fullmatch(model):
        raise WrongVertex("model", f"'{model[:100]}' is no Gemini model: vertex_ai serves those of Google only")
    project = _text(params, VERTEX_PROJECT) or _first(environment, _PROJECTS)
    credentials = None
    if not has_key:
        if not has_google_auth():
            raise WrongVertex("model", "vertex_ai needs google-auth: install tallystick[vertex]")
        credentials, own_project = _credentials(params.get(VERTEX_CREDENTIALS), environment)
        project = project or own_project
        if not project:
            raise WrongVertex(VERTEX_PROJECT, f"set vertex_project, or {_PROJECTS[0]} in the environment")
    location = _text(params, VERTEX_LOCATION) or _first(environment, _LOCATIONS) or _LOCATION
    for field, name in ((VERTEX_PROJECT, project), (VERTEX_LOCATION, location)):
        if name and not _NAME.fullmatch(name):
            raise WrongVertex(field, f"'{name[:100]}' can't be one")
    host = "https://aiplatform.googleapis.com" if location == "global" or not project else _regional(location)
    base = api_base or f"{host}/v1"
    if not project or "/projects/" in base:
        return VertexPlace(base, credentials)
    return VertexPlace(f"{base}/projects/{quote(project, safe=':')}/locations/{location}", credentials)


def has_google_auth() -> bool:
    """Whether the package for tokens is there."""
    return find_spec("google") is not None and find_spec("google.auth") is not None


def _regional(location: str) -> str:
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def _credentials(given: object, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return a service account as JSON, and its project; ('', '') for what the machine has."""
    given = given or environment.get("GOOGLE_APPLICATION_CREDENTIALS") or ""
    if isinstance(given, Mapping):
        given = msgspec.json.encode(dict(given)).decode()
    if not isinstance(given, str):
        raise WrongVertex(VERTEX_CREDENTIALS, "it must be JSON, or the path of a file that holds it")
    if not given.strip():
        return "", ""
    text = given if given.lstrip().startswith("{") else _read(given.strip())
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])  # Any: JSON.
    except msgspec.MsgspecError:
        raise WrongVertex(VERTEX_CREDENTIALS, "it does not hold a JSON object") from None
    if fields.get("type") not in ("service_account", "authorized_user"):
        # Identities of other clouds name files and addresses of their own, which google-auth finds by itself.
        raise WrongVertex(
            VERTEX_CREDENTIALS,
            "its type must be service_account or authorized_user; leave it out for what the machine itself has",
        )
    return text, str(fields.get("project_id") or "")


def _read(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise WrongVertex(VERTEX_CREDENTIALS, f"its file can't be read ({type(error).__name__})") from None


def _text(params: Mapping[str, Any], name: str) -> str:
    value = params.get(name)
    return value.strip() if isinstance(value, str) else ""


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")

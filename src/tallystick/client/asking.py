"""What may be asked, and how it is written: a method's arguments become the request that a gateway would have read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tallystick.errors import BadRequest
from tallystick.wire.anthropic.request import parse_messages
from tallystick.wire.call_options import RoutingBody
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.gateway_fields import GATEWAY_FIELDS
from tallystick.wire.openai.request import parse_request
from tallystick.wire.responses.request import parse_responses

Method = Literal["completion", "text_completion", "embedding", "responses", "messages"]

# What a gateway takes out of a body unseen. Here nobody may think that it does something.
_WITHOUT_EFFECT: Final = GATEWAY_FIELDS - {
    *RoutingBody.__struct_fields__,
    "drop_params",
    "litellm_metadata",
    "litellm_session_id",
    "litellm_trace_id",
    "mock_response",
    "tags",
}
_OF_CLIENT: Final = frozenset(("api_key", "api_base", "base_url", "api_version", "organization", "custom_llm_provider"))


class _Asked(NamedTuple):
    endpoint: Endpoint
    parse: Callable[[Endpoint, bytes], CallRequest]
    takes_user: bool = True
    """Whether the dialect has a field for the end user."""


_METHODS: Final[Mapping[Method, _Asked]] = {
    "completion": _Asked("chat/completions", parse_request),
    "text_completion": _Asked("completions", parse_request),
    "embedding": _Asked("embeddings", parse_request),
    "responses": _Asked("responses", parse_responses),
    "messages": _Asked("messages", parse_messages, takes_user=False),
}
_FIELDS: Final[Mapping[str, str]] = {"session": "litellm_session_id", "metadata": "litellm_metadata"}
"""Names of arguments, and of the fields that mean the same to a gateway: they stay here, no provider gets them."""


class Question(NamedTuple):
    """One call, asked."""

    request: CallRequest
    team_id: str


def question(method: Method, arguments: Mapping[str, Any]) -> Question:  # Any: the dialect's JSON.
    """Return what a method's arguments ask. Raises BadRequest, which names what is wrong."""
    asked = _METHODS[method]
    body = {name: value for name, value in arguments.items() if value is not None}
    team_id = body.pop("team", "")
    if not isinstance(team_id, str):
        raise BadRequest("'team': expected the id of a team.", param="team")
    _refuse_useless(body)
    for name, field in _FIELDS.items():
        if name in body:
            body[field] = body.pop(name)
    if not asked.takes_user and "user" in body:
        body["litellm_metadata"] = {**body.get("litellm_metadata", {}), "user": body.pop("user")}
    request = asked.parse(asked.endpoint, _encode(body))
    return Question(request, team_id)


def _refuse_useless(body: Mapping[str, object]) -> None:
    for name in body.keys() & _WITHOUT_EFFECT:
        what = "give it to Client, or to the model's litellm_params" if name in _OF_CLIENT else "leave it out"
        raise BadRequest(f"'{name}' has no effect on a single call: {what}.", param=name)


def _encode(body: Mapping[str, object]) -> bytes:
    try:
        return msgspec.json.encode(body, enc_hook=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"The arguments can't be written as JSON: {error}.") from error


def _plain(value: object) -> object:
    """Return what a library's own object holds, such as the message of an earlier answer."""
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")

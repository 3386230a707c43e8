"""What a deployment is asked to see whether it answers: as little as its mode allows."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec

from tallystick.control.deployment import Deployment
from tallystick.control.resolving import CannotServe
from tallystick.wire.call_request import CallRequest, Endpoint
from tallystick.wire.openai.request import parse_request

CHECK_MODEL: Final = "health_check_model"
_OUTPUT_TOKENS: Final = 16
"""Fewer are refused by some providers."""
_TEXT: Final = "Hi"
_OWN_HOSTS: Final = ("openai.com", "azure.com")
_ENDPOINTS: Final[dict[str, Endpoint]] = {
    "chat": "chat/completions",
    "completion": "completions",
    "embedding": "embeddings",
}


class NotCheckable(Exception):
    """The deployment can't be asked; the text says why."""


def question_for(deployment: Deployment, mode: str | None = None) -> tuple[Deployment, CallRequest]:
    """Return the deployment as it is asked, with `health_check_model` in force, and the question.

    Raises NotCheckable for modes whose calls are not small, and for a wildcard without a model.
    """
    asked = _with_check_model(deployment)
    given = mode or asked.model_info.get("mode")
    if not given:
        given = "embedding" if "embed" in asked.target.model else "chat"
    endpoint = _ENDPOINTS.get(str(given))
    if endpoint is None:
        raise NotCheckable(f"deployments of the mode '{str(given)[:50]}' are not checked")
    body = msgspec.json.encode({"model": asked.model_group, **_input(asked, endpoint)})
    return asked, parse_request(endpoint, body)


def _with_check_model(deployment: Deployment) -> Deployment:
    name = deployment.model_info.get(CHECK_MODEL)
    if deployment.named is not None:
        if not isinstance(name, str) or not name:
            raise NotCheckable(f"a wildcard has no model of its own to check: give model_info.{CHECK_MODEL}")
        try:
            return deployment.named(name)
        except CannotServe as error:
            raise NotCheckable(f"model_info.{CHECK_MODEL}: {error}") from error
    if not isinstance(name, str) or not name:
        return deployment
    model = name.removeprefix(f"{deployment.target.provider}/")
    if model == deployment.target.model:
        return deployment
    # The price is that of another model.
    target = msgspec.structs.replace(deployment.target, model=model)
    return msgspec.structs.replace(deployment, target=target, price=None)


def _input(deployment: Deployment, endpoint: Endpoint) -> dict[str, object]:
    if endpoint == "embeddings":
        return {"input": _TEXT}
    if endpoint == "completions":
        return {"prompt": _TEXT, "max_tokens": _OUTPUT_TOKENS}
    host = urlsplit(deployment.target.api_base).hostname or ""
    # OpenAI's reasoning models refuse the older name, other servers may not know the newer one.
    limit = "max_completion_tokens" if host.endswith(_OWN_HOSTS) else "max_tokens"
    return {"messages": [{"role": "user", "content": _TEXT}], limit: _OUTPUT_TOKENS}

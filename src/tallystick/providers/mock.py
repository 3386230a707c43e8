"""`mock_response`: an answer given in place of the upstream's, for tests of callers and of the gateway itself.

The text is the answer, plain or streamed. A few texts, the same as in LiteLLM, are errors instead:

    litellm.BadRequestError               400
    litellm.ContextWindowExceededError    400, code context_length_exceeded
    litellm.ContentPolicyViolationError   400, code content_policy_violation
    litellm.AuthenticationError           401
    litellm.PermissionDeniedError         403
    litellm.NotFoundError                 404
    litellm.RateLimitError                429
    litellm.InternalServerError           500
    litellm.ServiceUnavailableError       503
    litellm.Timeout                       the upstream did not answer in time
    litellm.APIConnectionError            the upstream could not be reached
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tallystick.errors import UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from tallystick.providers.base import Answer, Provider, Target
from tallystick.providers.canned import JSON, Canned
from tallystick.providers.catalog import MOCK_RESPONSE
from tallystick.providers.translator import Translator
from tallystick.wire.call_request import CallRequest
from tallystick.wire.error_envelope import envelope

_REFUSALS = {
    "litellm.BadRequestError": (400, "invalid_request_error", "400"),
    "litellm.ContextWindowExceededError": (400, "invalid_request_error", "context_length_exceeded"),
    "litellm.ContentPolicyViolationError": (400, "invalid_request_error", "content_policy_violation"),
    "litellm.AuthenticationError": (401, "authentication_error", "401"),
    "litellm.PermissionDeniedError": (403, "permission_error", "403"),
    "litellm.NotFoundError": (404, "not_found_error", "404"),
    "litellm.RateLimitError": (429, "rate_limit_error", "429"),
    "litellm.InternalServerError": (500, "internal_server_error", "500"),
    "litellm.ServiceUnavailableError": (503, "service_unavailable", "503"),
}


class Mock:
    """Answers with the caller's or the deployment's mock response."""

    def __init__(self, *, new_id: Callable[[], str], now_seconds: Callable[[], int], translator: Translator) -> None:
        self._translator = translator
        self._canned = Canned(name="mock", new_id=new_id, now_seconds=now_seconds)

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Answer, or fail as the text says; see Provider.send."""
        text = request.mock_response

        def answer(asked: CallRequest, target: Target) -> Answer:
            return self._answer(asked, target, text)

        return await self._translator.send_local(request, target, answer)

    def _answer(self, request: CallRequest, target: Target, text: str | None) -> Answer:
        if text is None:
            text = str(target.options.get(MOCK_RESPONSE, "This is a mock response."))
        refused = _REFUSALS.get(text)
        if refused is not None:
            status, error_type, code = refused
            message = f"This is a mock of {text}."
            body = envelope(message=message, error_type=error_type, param=None, code=code)
            raise UpstreamRefused(message, status=status, body=body, content_type=JSON)
        if text == "litellm.Timeout":
            raise UpstreamTimeout("This is a mock of litellm.Timeout.")
        if text == "litellm.APIConnectionError":
            raise UpstreamUnreachable("This is a mock of litellm.APIConnectionError.")
        if request.endpoint == "embeddings":
            return self._canned.embedding_answer(request, model=target.model)
        return self._canned.text_answer(request, model=target.model, text=text)


class Mockable:
    """A provider whose deployments and callers may ask for a mock response instead."""

    def __init__(self, provider: Provider, mock: Mock) -> None:
        self._provider = provider
        self._mock = mock

    def send(self, request: CallRequest, target: Target) -> Coroutine[Any, Any, Answer]:  # Any: as of async def.
        """Hand the call on; see Provider.send."""
        if request.mock_response is not None or MOCK_RESPONSE in target.options:
            return self._mock.send(request, target)
        return self._provider.send(request, target)

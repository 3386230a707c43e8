"""`/spend/calculate`: what a call would cost, or did cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import ConfigDict, Field
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import RequestBody, Text
from tallystick.admin.limits import usd
from tallystick.admin.services import AdminServices
from tallystick.calls.model_choice import choose_model
from tallystick.control.deployment import Deployment
from tallystick.errors import BadRequest
from tallystick.pricing.cost import price_usage
from tallystick.wire.openai.request import parse_request
from tallystick.wire.openai.usage import ReportedUsage, normalize_usage, reported_cost_nano_usd
from tallystick.wire.token_estimate import estimate_input_tokens
from tallystick.wire.usage import Usage


class CalculateBody(RequestBody):
    """The body of `/spend/calculate`."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "demo", "messages": [{"role": "user", "content": "Say hello."}]}}
    )

    model: Text | None = Field(default=None, description="A model group; without it, the answer's `model`.")
    messages: list[dict[str, Any]] | None = Field(  # Any: the caller's own JSON.
        default=None, description="What would be sent: its tokens are estimated, those of an answer are not."
    )
    completion_response: dict[str, Any] | None = Field(  # Any: as above.
        default=None, description="An answer with its `usage`."
    )


class CostRoutes:
    """The endpoint."""

    def __init__(self, services: AdminServices) -> None:
        self._snapshots = services.snapshots

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Reports"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/spend/calculate")(self.calculate)
        return router

    async def calculate(self, caller: AnyCaller, body: CalculateBody) -> Response:
        """Show the cost of an answer, or of sending some messages (without what they would be answered)."""
        if (body.messages is None) == (body.completion_response is None):
            raise BadRequest("Give either 'messages' or 'completion_response'.", param="messages")
        if body.completion_response is None:
            model = body.model or ""
            usage, reported = _usage_of_messages(model, body.messages or []), None
        else:
            model = body.model or str(body.completion_response.get("model") or "")
            usage, reported = _usage_of_answer(body.completion_response)
        if not model:
            raise BadRequest("'model' is missing: name a model group.", param="model")
        deployments = self._deployments(caller, model, is_answer=body.completion_response is not None)
        cost = price_usage(usage, deployments[0].price, reported_nano_usd=reported)
        if cost.status == "unpriced":
            raise BadRequest(f"There is no price for the model '{model[:100]}'.", param="model")
        return json_answer({"cost": usd(cost.nano_usd)}, headers=ignored_fields(body.unknown_fields()))

    def _deployments(self, caller: Caller, model: str, *, is_answer: bool) -> Sequence[Deployment]:
        """Return the deployments of a group; an answer may name the model as its provider calls it."""
        snapshot = self._snapshots.current
        if is_answer and not snapshot.find(model, team_id=caller.principal.team_id):
            groups = snapshot.groups_seen_by(caller.principal.team_id)
            for group, members in groups.items():
                if any(each.target.model == model for each in members):
                    model = group
                    break
        return choose_model(caller.principal, model, snapshot)


def _usage_of_messages(model: str, messages: list[dict[str, Any]]) -> Usage:  # Any: as above.
    raw = msgspec.json.encode({"model": model or "model", "messages": messages})
    return Usage(input_tokens=estimate_input_tokens(parse_request("chat/completions", raw)).estimate)


def _usage_of_answer(answer: dict[str, Any]) -> tuple[Usage, int | None]:  # Any: as above.
    """Return the usage of an answer, and the cost that the provider itself reports."""
    try:
        reported = msgspec.json.decode(msgspec.json.encode(answer.get("usage")), type=ReportedUsage)
    except msgspec.MsgspecError as error:
        raise BadRequest(
            "'completion_response' must have a 'usage' with 'prompt_tokens' and 'completion_tokens'.",
            param="completion_response",
        ) from error
    return normalize_usage(reported) or Usage(), reported_cost_nano_usd(reported)

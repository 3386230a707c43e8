"""`/health/test_connection`: whether a deployment would answer, before it is written."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import ConfigDict, Field
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import JSONObject, Text
from tallystick.admin.models.requests import ModelBody, NewModel
from tallystick.admin.models.writes import ModelWrites
from tallystick.admin.services import AdminServices
from tallystick.control.resolving import CannotServe
from tallystick.errors import ServerNotReady
from tallystick.runtime.ids import new_event_id

_NAME: Final = "test_connection"


class TriedConnection(ModelBody):
    """What to call, as `/model/new` would be given it."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        protected_namespaces=(),
        json_schema_extra={"examples": [{"litellm_params": {"model": "openai/gpt-4o", "mock_response": "It works."}}]},
    )

    litellm_params: JSONObject = Field(description="How it is called.")
    mode: Annotated[Text, Field(min_length=1)] | None = Field(
        default=None,
        description="`chat`, `completion` or `embedding`. Default: as `model_info.mode` says, else `chat`.",
    )


class ConnectionRoute:
    """The endpoint. Only proxy admins use it, as only they write models: it calls whatever address it is given."""

    def __init__(self, services: AdminServices) -> None:
        self._clock = services.clock
        self._checker = services.checker
        self._writes = ModelWrites(services.snapshots, services.writer.sealer)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Models"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/health/test_connection")(self.try_connection)
        return router

    async def try_connection(self, body: TriedConnection, _caller: AnyCaller) -> Response:
        """Make one small call with these parameters, and tell how it went. Nothing is kept but the call's event.

        What the parameters hold is not repeated.
        """
        if self._checker is None:
            raise ServerNotReady("Nothing is called here.")
        now = self._clock.now()
        headers = ignored_fields(body.ignored())
        model = NewModel(model_name=_NAME, litellm_params=body.litellm_params, model_info=body.model_info)
        try:
            deployment = self._writes.tried(model, new_event_id(now), now)
        except CannotServe as error:
            return json_answer(_failed(f"'{error.field}': {error}."), headers=headers)
        found = await self._checker.check(deployment, mode=body.mode)
        if not found.healthy:
            return json_answer(_failed(found.error), headers=headers)
        result = {"model": deployment.target.model, "response_time_ms": found.milliseconds}
        return json_answer({"status": "success", "result": result}, headers=headers)


def _failed(reason: str) -> dict[str, object]:
    return {"status": "error", "message": reason, "result": {"error": reason}}

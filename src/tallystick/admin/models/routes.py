"""Writes of deployments in the database: `/model/new`, `/model/update`, `/model/delete`, `/model/block` …"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import PathID
from tallystick.admin.models.requests import ChangedModel, ModelId, NewModel, PatchedModel, required_id
from tallystick.admin.models.views import stored_row
from tallystick.admin.models.writes import ModelWrites, require_writer
from tallystick.admin.services import AdminServices
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.writer import missing
from tallystick.errors import BadRequest
from tallystick.runtime.ids import new_event_id

_FIELDS: Final[Mapping[Kind, str]] = {
    Kind.TEAM: "model_info.team_id",
    Kind.CREDENTIAL: "litellm_params.litellm_credential_name",
}


class ModelRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._services = services
        self._snapshots = services.snapshots
        self._writer = services.writer
        self._control = services.control
        self._writes = ModelWrites(services.snapshots, services.writer.sealer)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Models"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/model/new")(self.new)
        router.post("/model/update")(self.update)
        router.patch("/model/{model_id}/update")(self.patch)
        router.post("/model/delete")(self.delete)
        router.post("/model/block")(self.block)
        router.post("/model/unblock")(self.unblock)
        return router

    async def new(self, body: NewModel, caller: AnyCaller) -> Response:
        """Add a deployment. It is served when this is answered, beside others of the same name.

        Refused with the reason when it could not be served.
        """
        require_writer(caller, self._snapshots)
        now = self._services.clock.now()
        model_id = body.id_in_info() or new_event_id(now)
        self._writes.require_own(model_id)
        row = await self._writes.checked(lambda: self._writes.made(body, model_id, now))
        requires = await self._requires(row)
        written = await self._writer.create(row, author=caller.author, requires=requires)
        return json_answer(stored_row(written), headers=ignored_fields(body.ignored()))

    async def update(self, body: ChangedModel, caller: AnyCaller) -> Response:
        """Change a deployment: what is omitted stays, a null inside of `litellm_params` or `model_info` removes."""
        model_id = required_id(body.id, body.model_id, body.id_in_info())
        change = partial(self._writes.changed, body=body)
        return await self._change(model_id, change, caller, action="updated", ignored=body.ignored())

    async def patch(self, model_id: PathID, body: PatchedModel, caller: AnyCaller) -> Response:
        """Change a deployment: what is omitted stays, a null inside of `litellm_params` or `model_info` removes."""
        change = partial(self._writes.changed, body=body)
        return await self._change(model_id, change, caller, action="updated", ignored=body.ignored())

    async def delete(self, body: ModelId, caller: AnyCaller) -> Response:
        """Delete a deployment. Calls that run with it end as they are."""
        model_id = required_id(body.id, body.model_id)
        require_writer(caller, self._snapshots)
        self._writes.require_own(model_id)
        await self._writer.delete([ObjectRef(Kind.MODEL, model_id)], author=caller.author)
        message = f"Model: {model_id} deleted successfully"
        return json_answer({"message": message, "model_id": model_id}, headers=ignored_fields(body.unknown_fields()))

    async def block(self, body: ModelId, caller: AnyCaller) -> Response:
        """Send no more calls to a deployment."""
        model_id = required_id(body.model_id, body.id)
        return await self._change(model_id, _blocked, caller, action="blocked", ignored=body.unknown_fields())

    async def unblock(self, body: ModelId, caller: AnyCaller) -> Response:
        """Send calls to a deployment again. Refused with the reason when it could not be served."""
        model_id = required_id(body.model_id, body.id)
        change = self._writes.unblocked
        return await self._change(model_id, change, caller, action="unblocked", ignored=body.unknown_fields())

    async def _change(
        self,
        model_id: str,
        change: Callable[[ControlObject], ControlObject],
        caller: Caller,
        *,
        action: str,
        ignored: Sequence[str],
    ) -> Response:
        require_writer(caller, self._snapshots)
        self._writes.require_own(model_id)
        ref = ObjectRef(Kind.MODEL, model_id)
        before = await self._control.find(ref)
        if before is None:
            raise missing(ref)
        after = await self._writes.checked(lambda: change(before))
        requires = () if action == "blocked" else await self._requires(after)
        _, written = await self._writer.update(ref, change, author=caller.author, action=action, requires=requires)
        return json_answer(stored_row(written), headers=ignored_fields(ignored))

    async def _requires(self, row: ControlObject) -> list[ObjectRef]:
        """Return what must live while the row is written. Raises BadRequest that names what does not."""
        refs = self._writes.required(row)
        found = {each.ref for each in await self._control.find_many(refs)} if refs else set()
        for ref in refs:
            if ref not in found:
                raise BadRequest(f"The {ref.kind} '{ref.object_id}' does not exist.", param=_FIELDS[ref.kind])
        return refs


def _blocked(before: ControlObject) -> ControlObject:
    return msgspec.structs.replace(before, blocked=True)

"""`/v1/access_group`: the same access groups by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.access_groups.requests import ChangedUnified, NewUnified, UnifiedFields
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import PathID
from tallystick.admin.present import text_of
from tallystick.admin.services import AdminServices
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_as, spec_from
from tallystick.control.specs import AccessGroupSpec
from tallystick.control.writer import missing
from tallystick.runtime.ids import new_event_id

_FIELDS: Final[Mapping[str, str]] = {
    "description": "description",
    "access_model_names": "models",
    "access_mcp_server_ids": "mcp_server_ids",
    "access_agent_ids": "agent_ids",
    "assigned_team_ids": "team_ids",
    "assigned_key_ids": "key_ids",
}
_WITHOUT_EFFECT: Final = ("access_mcp_server_ids", "access_agent_ids", "assigned_team_ids", "assigned_key_ids")


class UnifiedAccessGroupRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._clock = services.clock
        self._control = services.control
        self._writer = services.writer
        self._snapshots = services.snapshots

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Access groups"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/v1/access_group", status_code=201)(self.new)
        router.get("/v1/access_group")(self.list_all)
        router.get("/v1/access_group/{access_group_id}")(self.info)
        router.put("/v1/access_group/{access_group_id}")(self.update)
        router.delete("/v1/access_group/{access_group_id}", status_code=204)(self.delete)
        return router

    async def new(self, body: NewUnified, caller: AnyCaller) -> Response:
        """Add a named set of models. Lists of models may name it, or its id, instead of the models."""
        now = self._clock.now()
        made = ControlObject(
            kind=Kind.ACCESS_GROUP,
            object_id=new_event_id(now),
            name=body.access_group_name,
            spec=_patched({}, body),
            created_at=now,
            updated_at=now,
        )
        written = await self._writer.create(made, author=caller.author)
        return _answer(written, body, status=201)

    async def list_all(self, request: Request, _caller: AnyCaller) -> Response:
        """List the access groups."""
        held = sorted(self._snapshots.objects(Kind.ACCESS_GROUP), key=lambda each: each.created_at, reverse=True)
        return json_answer([_row(each) for each in held], headers=unknown_parameters(request, ()))

    async def info(self, request: Request, access_group_id: PathID, _caller: AnyCaller) -> Response:
        """Show an access group."""
        ref = ObjectRef(Kind.ACCESS_GROUP, access_group_id)
        held = await self._control.find(ref)
        if held is None:
            raise missing(ref)
        return json_answer(_row(held), headers=unknown_parameters(request, ()))

    async def update(self, access_group_id: PathID, body: ChangedUnified, caller: AnyCaller) -> Response:
        """Change an access group: what is omitted stays, a null clears."""

        def patched(before: ControlObject) -> ControlObject:
            return msgspec.structs.replace(
                before, name=body.access_group_name or before.name, spec=_patched(before.spec, body)
            )

        ref = ObjectRef(Kind.ACCESS_GROUP, access_group_id)
        _, written = await self._writer.update(ref, patched, author=caller.author)
        return _answer(written, body)

    async def delete(self, access_group_id: PathID, caller: AnyCaller) -> Response:
        """Delete an access group. Lists that name it allow its models no more."""
        await self._writer.delete([ObjectRef(Kind.ACCESS_GROUP, access_group_id)], author=caller.author)
        return Response(status_code=204)


def _patched(spec: dict[str, Any], body: UnifiedFields) -> dict[str, Any]:  # Any: JSON.
    given: dict[str, Any] = {}  # Any: each field's own type.
    for name in body.model_fields_set & _FIELDS.keys():
        value = getattr(body, name)
        given[_FIELDS[name]] = ("" if name == "description" else ()) if value is None else value
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return spec_from(msgspec.structs.replace(spec_as(AccessGroupSpec, spec), **given))


def _row(held: ControlObject) -> dict[str, Any]:  # Any: JSON.
    spec = spec_as(AccessGroupSpec, held.spec)
    fields = {name: getattr(spec, field) for name, field in _FIELDS.items()}
    return {
        "access_group_id": held.object_id,
        "access_group_name": held.name,
        **fields,
        "description": spec.description or None,
        "created_at": text_of(held.created_at),
        "created_by": held.created_by,
        "updated_at": text_of(held.updated_at),
        "updated_by": held.updated_by,
    }


def _answer(written: ControlObject, body: UnifiedFields, *, status: int = 200) -> Response:
    unused = (name for name in _WITHOUT_EFFECT if getattr(body, name))
    answer = json_answer(_row(written), headers=ignored_fields([*body.unknown_fields(), *unused]))
    answer.status_code = status
    return answer

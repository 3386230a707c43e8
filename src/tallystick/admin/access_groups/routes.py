"""`/access_group/…`: access groups by name."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.access_groups.requests import ChangedAccessGroup, NewAccessGroup
from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import PathID
from tallystick.admin.services import AdminServices
from tallystick.control.objects import ControlObject, Kind, spec_as, spec_from
from tallystick.control.snapshot import Snapshot
from tallystick.control.specs import AccessGroupSpec
from tallystick.control.store import ObjectFilter
from tallystick.errors import AlreadyExists, BadRequest, NotFound
from tallystick.runtime.ids import new_event_id


class AccessGroupRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._clock = services.clock
        self._control = services.control
        self._writer = services.writer
        self._snapshots = services.snapshots

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Access groups"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/access_group/new")(self.new)
        router.get("/access_group/list")(self.list_all)
        router.get("/access_group/{access_group:path}/info")(self.info)
        router.put("/access_group/{access_group:path}/update")(self.update)
        router.delete("/access_group/{access_group:path}/delete")(self.delete)
        return router

    async def new(self, body: NewAccessGroup, caller: AnyCaller) -> Response:
        """Add a named set of models. Lists of models (of keys, teams …) may name it instead of the models."""
        name = body.access_group
        if name in self._snapshots.current.access_groups or await self._find(name) is not None:
            raise AlreadyExists(f"The access group '{name}' exists already.", param="access_group")
        models = await self._models(body.model_names, body.model_ids)
        now = self._clock.now()
        made = ControlObject(
            kind=Kind.ACCESS_GROUP,
            object_id=new_event_id(now),
            name=name,
            spec=spec_from(AccessGroupSpec(models=models)),
            created_at=now,
            updated_at=now,
        )
        await self._writer.create(made, author=caller.author)
        return self._written(name, models, body.unknown_fields())

    async def list_all(self, request: Request, _caller: AnyCaller) -> Response:
        """List the access groups, and how many deployments each has."""
        snapshot = self._snapshots.current
        ids = {held.object_id for held in self._snapshots.objects(Kind.ACCESS_GROUP)}
        rows = [
            _row(name, snapshot.access_groups[name], snapshot) for name in sorted(snapshot.access_groups.keys() - ids)
        ]
        return json_answer({"access_groups": rows}, headers=unknown_parameters(request, ()))

    async def info(self, request: Request, access_group: PathID, _caller: AnyCaller) -> Response:
        """Show the models of an access group."""
        snapshot = self._snapshots.current
        models = snapshot.access_groups.get(access_group)
        if models is None:
            raise _missing(access_group)
        return json_answer(_row(access_group, models, snapshot), headers=unknown_parameters(request, ()))

    async def update(self, access_group: PathID, body: ChangedAccessGroup, caller: AnyCaller) -> Response:
        """Replace the models of an access group."""
        held = await self._own(access_group)
        models = await self._models(body.model_names, body.model_ids)

        def patched(before: ControlObject) -> ControlObject:
            spec = msgspec.structs.replace(spec_as(AccessGroupSpec, before.spec), models=models)
            return msgspec.structs.replace(before, spec=spec_from(spec))

        await self._writer.update(held.ref, patched, author=caller.author)
        return self._written(access_group, models, body.unknown_fields())

    async def delete(self, request: Request, access_group: PathID, caller: AnyCaller) -> Response:
        """Delete an access group. Lists that name it allow its models no more."""
        held = await self._own(access_group)
        count = _count(spec_as(AccessGroupSpec, held.spec).models, self._snapshots.current)
        await self._writer.delete([held.ref], author=caller.author)
        answer = {
            "access_group": access_group,
            "models_updated": count,
            "message": f"Access group '{access_group}' deleted successfully",
        }
        return json_answer(answer, headers=unknown_parameters(request, ()))

    async def _find(self, name: str) -> ControlObject | None:
        where = ObjectFilter(kind=Kind.ACCESS_GROUP, names=(name,))
        found = (await self._control.list_objects(where, limit=1)).objects
        return found[0] if found else None

    async def _own(self, name: str) -> ControlObject:
        held = await self._find(name)
        if held is not None:
            return held
        if name in self._snapshots.current.access_groups:
            raise BadRequest(
                f"The access group '{name[:256]}' is made of the model_info.access_groups of deployments: change them.",
                param="access_group",
            )
        raise _missing(name)

    async def _models(self, names: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
        """Return model groups that there are. Raises BadRequest that names one that there is not."""
        if not names and not ids:
            raise BadRequest("'model_names' must name at least one model.", param="model_names")
        found = _found(names, ids, self._snapshots.current)
        if found is None:
            await self._snapshots.start_over()  # Another instance may have added it just now.
            found = _found(names, ids, self._snapshots.current)
        if found is None:
            known = _names(self._snapshots.current)
            absent = next((name for name in names if name not in known), None) or ", ".join(ids)
            raise BadRequest(f"Model not found: there is no model '{absent[:256]}'.", param="model_names")
        return found

    def _written(self, name: str, models: tuple[str, ...], ignored: Sequence[str]) -> Response:
        answer = {
            "access_group": name,
            "model_names": models,
            "models_updated": _count(models, self._snapshots.current),
        }
        return json_answer(answer, headers=ignored_fields(ignored))


def _missing(name: str) -> NotFound:
    return NotFound(f"Access group not found: '{name[:256]}' does not exist.", param="access_group")


def _names(snapshot: Snapshot) -> frozenset[str]:
    return frozenset((*snapshot.model_groups, *(name for own in snapshot.team_model_groups.values() for name in own)))


def _found(names: Sequence[str], ids: Sequence[str], snapshot: Snapshot) -> tuple[str, ...] | None:
    known, deployments = _names(snapshot), snapshot.deployments()
    if any(name not in known for name in names) or any(each not in deployments for each in ids):
        return None
    return tuple(dict.fromkeys((*names, *(deployments[each].model_group for each in ids))))


def _count(models: Sequence[str], snapshot: Snapshot) -> int:
    groups = (snapshot.model_groups, *snapshot.team_model_groups.values())
    return sum(len(group.get(name, ())) for name in models for group in groups)


def _row(name: str, models: frozenset[str], snapshot: Snapshot) -> dict[str, object]:
    return {
        "access_group": name,
        "model_names": sorted(models),
        "deployment_count": _count(sorted(models), snapshot),
    }

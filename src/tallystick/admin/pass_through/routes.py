"""`/config/pass_through_endpoint`: addresses that callers reach by a path of the gateway, kept in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.fields import PathID, QueryID, QueryText
from tallystick.admin.models.writes import require_store_model_in_db
from tallystick.admin.pass_through.requests import NewEndpoint, PatchedEndpoint
from tallystick.admin.services import AdminServices
from tallystick.config.pass_through_settings import PassThroughEntry
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.pass_through_build import id_of_entry
from tallystick.control.resolving import CannotServe
from tallystick.control.secret_fields import MASK, masked
from tallystick.control.writer import missing
from tallystick.errors import AlreadyExists, BadRequest, Conflict

JSON = dict[str, Any]  # Any: JSON.

_KIND: Final = Kind.PASS_THROUGH_ENDPOINT
_COLUMNS: Final = frozenset(("id", "path"))
"""Fields that are columns of the row."""
_OF_SPEC: Final = tuple(name for name in PassThroughEntry.model_fields if name not in _COLUMNS)


class PassThroughRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._clock = services.clock
        self._writer = services.writer
        self._snapshots = services.snapshots
        entries = services.snapshots.builder.settings.pass_through.endpoints
        self._of_file = {id_of_entry(entry): entry for entry in entries}

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Pass-through"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.get("/config/pass_through_endpoint")(self.list_all)
        router.post("/config/pass_through_endpoint")(self.new)
        router.post("/config/pass_through_endpoint/{endpoint_id:path}")(self.update)
        router.delete("/config/pass_through_endpoint")(self.delete)
        return router

    async def list_all(self, request: Request, _caller: AnyCaller, *, endpoint_id: QueryText = None) -> Response:
        """List the endpoints of the file and of the database, or show the one with this id. No secret is shown."""
        rows = [
            *(_file_row(each, entry) for each, entry in self._of_file.items()),
            *(_row(held) for held in sorted(self._snapshots.objects(_KIND), key=lambda held: held.name)),
        ]
        if endpoint_id is not None:
            rows = [row for row in rows if row["id"] == endpoint_id]
            if not rows:
                raise missing(ObjectRef(_KIND, endpoint_id))
        return json_answer({"endpoints": rows}, headers=unknown_parameters(request, ["endpoint_id"]))

    async def new(self, body: NewEndpoint, caller: AnyCaller) -> Response:
        """Add an endpoint, which is in force at once in every instance. Refused when it could not be called."""
        require_store_model_in_db(self._snapshots, _KIND)
        now = self._clock.now()
        new = ControlObject(
            kind=_KIND,
            object_id=body.id or str(uuid4()),
            name=body.path.rstrip("/"),
            spec=_spec({}, body),
            created_at=now,
            updated_at=now,
        )
        self._require_own(new.object_id)
        self._check(new, None)
        written = await self._writer.create(new, author=caller.author)
        return json_answer({"endpoints": [_row(written)]}, headers=ignored_fields(body.unknown_fields()))

    async def update(self, endpoint_id: PathID, body: PatchedEndpoint, caller: AnyCaller) -> Response:
        """Change an endpoint. Refused when it could not be called."""
        require_store_model_in_db(self._snapshots, _KIND)
        self._require_own(endpoint_id)

        def patched(before: ControlObject) -> ControlObject:
            name = before.name if body.path is None else body.path.rstrip("/")
            after = msgspec.structs.replace(before, name=name, spec=_spec(before.spec, body))
            self._check(after, before)
            return after

        _, after = await self._writer.update(ObjectRef(_KIND, endpoint_id), patched, author=caller.author)
        return json_answer({"endpoints": [_row(after)]}, headers=ignored_fields(body.unknown_fields()))

    async def delete(self, request: Request, endpoint_id: QueryID, caller: AnyCaller) -> Response:
        """Delete an endpoint."""
        require_store_model_in_db(self._snapshots, _KIND)
        self._require_own(endpoint_id)
        (gone,) = await self._writer.delete([ObjectRef(_KIND, endpoint_id)], author=caller.author)
        return json_answer({"endpoints": [_row(gone)]}, headers=unknown_parameters(request, ["endpoint_id"]))

    def _require_own(self, endpoint_id: str) -> None:
        if endpoint_id in self._of_file:
            raise Conflict(
                f"The endpoint '{endpoint_id}' is in pass_through_endpoints of the configuration file, which owns it: "
                "change it there.",
                param="endpoint_id",
            )

    def _check(self, held: ControlObject, before: ControlObject | None) -> None:
        """Raise BadRequest with the reason when it could not be called, AlreadyExists when its path is another's."""
        sealer = self._writer.sealer
        sealed = sealer.seal(held.kind, held.object_id, held.spec, before=before.spec if before is not None else None)
        try:
            endpoint = self._snapshots.try_endpoint(msgspec.structs.replace(held, spec=sealed))
        except CannotServe as error:
            raise BadRequest(f"'{error.field}' is not right: {error}.", param=error.field) from error
        in_force = self._snapshots.current.pass_through.endpoints
        if any(each.path == endpoint.path and each.endpoint_id != held.object_id for each in in_force):
            raise AlreadyExists(f"There is an endpoint with the path '{endpoint.path}' already.", param="path")


def _spec(before: Mapping[str, Any], body: NewEndpoint | PatchedEndpoint) -> JSON:  # Any: JSON.
    given = {name: getattr(body, name) for name in _OF_SPEC if name in body.model_fields_set}
    if given.get("target", "") is None:
        del given["target"]  # It has no default.
    return {name: value for name, value in {**before, **given}.items() if value is not None}


def _row(held: ControlObject) -> JSON:
    return _shown(held.object_id, held.name, masked(held.kind, held.object_id, held.spec), from_file=False)


def _file_row(endpoint_id: str, entry: PassThroughEntry) -> JSON:
    spec = entry.model_dump(mode="json", exclude={"id", "path"})
    if spec["cost_per_request"] is not None:
        spec["cost_per_request"] = float(spec["cost_per_request"])
    for name in ("headers", "default_query_params"):  # What was a reference has been resolved.
        spec[name] = dict.fromkeys(spec[name], MASK)
    return _shown(endpoint_id, entry.path, masked(_KIND, endpoint_id, spec), from_file=True)


def _shown(endpoint_id: str, path: str, spec: JSON, *, from_file: bool) -> JSON:
    whole = {name: field.get_default() for name, field in PassThroughEntry.model_fields.items() if name in _OF_SPEC}
    return {"id": endpoint_id, "path": path, **whole, **spec, "is_from_config": from_file}

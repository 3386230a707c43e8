"""`/credentials`: named parameters that deployments share, so that one write rotates them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller
from tallystick.admin.credentials.requests import NewCredential, PatchedCredential
from tallystick.admin.fields import PathID
from tallystick.admin.models.writes import require_store_model_in_db
from tallystick.admin.services import AdminServices
from tallystick.config.model_list import CredentialEntry
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.resolving import CannotServe
from tallystick.control.secret_fields import masked
from tallystick.control.writer import missing
from tallystick.errors import BadRequest, Conflict, NotFound, SecretUnreadable

JSON = dict[str, Any]  # Any: JSON.

_OF_A_CREDENTIAL: Final = frozenset(
    {"api_key", "api_base", "api_version", "organization", "azure_ad_token", "tenant_id", "client_id", "client_secret",
     "azure_username", "azure_password", "vertex_project", "vertex_location", "vertex_credentials", "region_name",
     "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name", "aws_role_name",
     "aws_session_name"}
)  # fmt: skip
"""Parameters of a deployment that say where and as whom it is called."""


class CredentialRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._clock = services.clock
        self._control = services.control
        self._writer = services.writer
        self._snapshots = services.snapshots
        self._of_file = {entry.credential_name: entry for entry in services.snapshots.builder.settings.credential_list}

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Credentials"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/credentials")(self.new)
        router.get("/credentials")(self.list_all)
        router.get("/credentials/by_name/{credential_name:path}")(self.by_name)
        router.get("/credentials/by_model/{model_id:path}")(self.by_model)
        router.get("/credentials/{credential_name:path}", operation_id="credential")(self.by_name)
        router.patch("/credentials/{credential_name:path}")(self.patch)
        router.delete("/credentials/{credential_name:path}")(self.delete)
        return router

    async def new(self, body: NewCredential, caller: AnyCaller) -> Response:
        """Add a credential. Deployments name it by `litellm_credential_name`."""
        require_store_model_in_db(self._snapshots, Kind.CREDENTIAL)
        self._require_own(body.credential_name)
        values = body.credential_values
        if values is None:
            if body.model_id is None:
                raise BadRequest("'credential_values' is required, or a 'model_id'.", param="credential_values")
            values = await self._values_of_model(body.model_id)
        now = self._clock.now()
        new = ControlObject(
            kind=Kind.CREDENTIAL,
            object_id=body.credential_name,
            name=body.credential_name,
            spec={
                "credential_values": _merged({}, values),
                "credential_info": _merged({}, body.credential_info or {}),
            },
            created_at=now,
            updated_at=now,
        )
        await self._writer.create(new, author=caller.author)
        return _done("Credential created successfully", body.unknown_fields())

    async def list_all(self, request: Request, _caller: AnyCaller) -> Response:
        """List the credentials of the file and of the database, without their values."""
        loaded = sorted(self._snapshots.objects(Kind.CREDENTIAL), key=lambda held: held.object_id)
        names = {held.object_id for held in loaded}
        of_file = [_file_row(entry) for name, entry in self._of_file.items() if name not in names]
        rows = [*of_file, *(_row(held) for held in loaded)]
        return json_answer({"success": True, "credentials": rows}, headers=unknown_parameters(request, ()))

    async def by_name(self, request: Request, credential_name: PathID, _caller: AnyCaller) -> Response:
        """Show a credential, without its values."""
        held = await self._control.find(ObjectRef(Kind.CREDENTIAL, credential_name))
        headers = unknown_parameters(request, ["model_id"])
        if held is not None:
            return json_answer(_row(held), headers=headers)
        entry = self._of_file.get(credential_name)
        if entry is None:
            raise missing(ObjectRef(Kind.CREDENTIAL, credential_name))
        return json_answer(_file_row(entry), headers=headers)

    async def by_model(self, request: Request, model_id: PathID, _caller: AnyCaller) -> Response:
        """Show what a deployment signs in with, without the values."""
        deployment = self._snapshots.current.deployments().get(model_id)
        if deployment is None:
            raise NotFound(f"Model not found: '{model_id[:256]}' is not served.", param="model_id")
        shown = {name: value for name, value in deployment.shown_params.items() if name in _OF_A_CREDENTIAL}
        row = {
            "credential_name": deployment.credential_name or f"{deployment.model_group}-credential-{model_id}",
            "credential_values": dict.fromkeys(shown, "****"),
            "credential_info": {"custom_llm_provider": deployment.target.provider},
        }
        return json_answer(row, headers=unknown_parameters(request, ()))

    async def patch(self, credential_name: PathID, body: PatchedCredential, caller: AnyCaller) -> Response:
        """Change a credential; every deployment that names it is called with the new values from then on.

        Refused with the reason when a deployment that is served could not be served any more.
        """
        require_store_model_in_db(self._snapshots, Kind.CREDENTIAL)
        self._require_own(credential_name)
        if body.credential_name not in {None, credential_name}:
            raise BadRequest("A credential keeps its name: add another one instead.", param="credential_name")

        def patched(before: ControlObject) -> ControlObject:
            spec = {
                "credential_values": _merged(before.spec.get("credential_values", {}), body.credential_values or {}),
                "credential_info": _merged(before.spec.get("credential_info", {}), body.credential_info or {}),
            }
            self._require_served(before, spec)
            return msgspec.structs.replace(before, spec=spec)

        ref = ObjectRef(Kind.CREDENTIAL, credential_name)
        await self._writer.update(ref, patched, author=caller.author)
        return _done("Credential updated successfully", body.unknown_fields())

    async def delete(self, request: Request, credential_name: PathID, caller: AnyCaller) -> Response:
        """Delete a credential. Deployments that name it are served no more, and the answer names them."""
        require_store_model_in_db(self._snapshots, Kind.CREDENTIAL)
        self._require_own(credential_name)
        served = self._snapshots.current.deployments().values()
        users = sorted(each.deployment_id for each in served if each.credential_name == credential_name)
        await self._writer.delete([ObjectRef(Kind.CREDENTIAL, credential_name)], author=caller.author)
        message = "Credential deleted successfully"
        if users:
            message += f". These models named it and are served no more: {', '.join(users[:20])}"
        return json_answer({"success": True, "message": message}, headers=unknown_parameters(request, ()))

    def _require_own(self, name: str) -> None:
        if name in self._of_file:
            raise Conflict(
                f"The credential '{name}' is in credential_list of the configuration file, which owns it: change it "
                "there.",
                param="credential_name",
            )

    def _require_served(self, before: ControlObject, spec: JSON) -> None:
        sealer = self._writer.sealer
        sealed = sealer.seal(before.kind, before.object_id, spec, before=before.spec)
        try:
            values = sealer.open(before.kind, before.object_id, sealed)["credential_values"]
            self._snapshots.try_credential(before.object_id, values)
        except SecretUnreadable:
            return  # It is left out already, and this write may be what mends it.
        except CannotServe as error:
            raise BadRequest(f"With these values a model could not be served: {error}.", param=error.field) from error

    async def _values_of_model(self, model_id: str) -> JSON:
        ref = ObjectRef(Kind.MODEL, model_id)
        held = await self._control.find(ref)
        if held is None:
            raise missing(ref)
        params = self._writer.sealer.open(held.kind, held.object_id, held.spec)["litellm_params"]
        return {name: value for name, value in params.items() if name in _OF_A_CREDENTIAL}


def _merged(before: Mapping[str, Any], patch: Mapping[str, Any]) -> JSON:  # Any: JSON.
    return {name: value for name, value in {**before, **patch}.items() if value is not None}


def _row(held: ControlObject) -> JSON:
    spec = masked(held.kind, held.object_id, held.spec)
    return {
        "credential_name": held.object_id,
        "credential_values": spec.get("credential_values", {}),
        "credential_info": spec.get("credential_info", {}),
    }


def _file_row(entry: CredentialEntry) -> JSON:
    return {
        "credential_name": entry.credential_name,
        "credential_values": dict.fromkeys(entry.credential_values, "****"),
        "credential_info": dict(entry.credential_info),
    }


def _done(message: str, ignored: list[str]) -> Response:
    return json_answer({"success": True, "message": message}, headers=ignored_fields(ignored))

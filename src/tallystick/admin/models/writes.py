"""From request bodies to rows of deployments; a deployment that could not be served is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from tallystick.admin.callers import Caller
from tallystick.admin.models.requests import NewModel, PatchedModel
from tallystick.control.deployment import Deployment
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.resolving import CannotServe
from tallystick.control.sealer import Sealer
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.errors import BadRequest, PermissionDenied

_TEAM_FIELD: Final = "model_info.team_id"
_COLUMNS: Final = ("id", "db_model", "team_id", "blocked")
"""Facts that are columns of the row, or follow from it."""


def require_writer(caller: Caller, snapshots: SnapshotKeeper) -> None:
    """Only proxy admins write models: a model may name any variable and any file of the gateway's, and any address."""
    if not caller.is_proxy_admin:
        raise PermissionDenied(
            f"User does not have permission to make this model call. Your role={caller.role}. Only proxy admins may."
        )
    require_store_model_in_db(snapshots)


def require_store_model_in_db(snapshots: SnapshotKeeper, kind: Kind = Kind.MODEL) -> None:
    """Refuse writes of what is not read."""
    if kind not in snapshots.builder.kinds:
        raise BadRequest(
            "This is not read from the database. Set 'STORE_MODEL_IN_DB=True' in the environment, or "
            "general_settings.store_model_in_db, and see supported_db_objects."
        )


class ModelWrites:
    """Makes rows."""

    def __init__(self, snapshots: SnapshotKeeper, sealer: Sealer) -> None:
        self._snapshots = snapshots
        self._sealer = sealer

    def require_own(self, model_id: str) -> None:
        """Refuse ids of the file's deployments."""
        if model_id in self._snapshots.builder.file_ids:
            raise BadRequest(
                f"The model '{model_id[:100]}' is defined in the configuration file, which owns it: change it there.",
                param="id",
            )

    async def checked(self, make: Callable[[], ControlObject]) -> ControlObject:
        """Return the row that can be served. Raises BadRequest with the reason when it can't.

        What it needs, such as a credential, may have been written by another instance just now, so that the snapshot
        is read anew before a refusal.
        """
        try:
            return make()
        except CannotServe:
            await self._snapshots.start_over()
        try:
            return make()
        except CannotServe as error:
            raise BadRequest(f"This model could not be served: '{error.field}': {error}.", param=error.field) from error

    def made(self, body: NewModel, model_id: str, now: datetime) -> ControlObject:
        """Return the row of a new deployment. Raises CannotServe."""
        self.require_own(model_id)
        return self._served(_new(body, model_id, now), former={})

    def tried(self, body: NewModel, model_id: str, now: datetime) -> Deployment:
        """Return the deployment that a body would make, without making it. Raises CannotServe."""
        after = _new(body, model_id, now)
        sealed = self._sealer.seal(after.kind, after.object_id, after.spec, before={})
        return self._snapshots.try_build(msgspec.structs.replace(after, spec=sealed))

    def changed(self, before: ControlObject, body: PatchedModel) -> ControlObject:
        """Return the row with what the body changes. Raises CannotServe."""
        after = _patched(before, body)
        if body.model_name is not None:
            after = msgspec.structs.replace(after, name=body.model_name)
        return self._served(after, former=before.spec)

    def unblocked(self, before: ControlObject) -> ControlObject:
        """Return the row served again. Raises CannotServe."""
        return self._served(msgspec.structs.replace(before, blocked=False), former=before.spec)

    def required(self, after: ControlObject) -> list[ObjectRef]:
        """Return what must live when the row is written: its team, and its credential unless the file has it."""
        refs = [ObjectRef(Kind.TEAM, after.team_id)] if after.team_id else []
        name = after.spec["litellm_params"].get("litellm_credential_name")
        of_file = {entry.credential_name for entry in self._snapshots.builder.settings.credential_list}
        if isinstance(name, str) and name and name not in of_file:
            refs.append(ObjectRef(Kind.CREDENTIAL, name))
        return refs

    def _served(self, after: ControlObject, *, former: dict[str, Any]) -> ControlObject:  # Any: JSON.
        sealed = self._sealer.seal(after.kind, after.object_id, after.spec, before=former)
        self._snapshots.try_build(msgspec.structs.replace(after, spec=sealed))
        return after


def _new(body: NewModel, model_id: str, now: datetime) -> ControlObject:
    blank = ControlObject(
        kind=Kind.MODEL,
        object_id=model_id,
        name=body.model_name,
        spec={"litellm_params": {}, "model_info": {}},
        created_at=now,
        updated_at=now,
    )
    return _patched(blank, body)


def _patched(before: ControlObject, body: NewModel | PatchedModel) -> ControlObject:
    info = body.model_info or {}
    team_id = before.team_id
    if "team_id" in info:
        team_id = _team_id(info["team_id"])
    spec = {
        "litellm_params": _merged(before.spec["litellm_params"], body.litellm_params or {}),
        "model_info": _merged(
            before.spec.get("model_info", {}), {name: item for name, item in info.items() if name not in _COLUMNS}
        ),
    }
    blocked = before.blocked if body.blocked is None else body.blocked
    return msgspec.structs.replace(before, team_id=team_id, blocked=blocked, spec=spec)


def _merged(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON.
    """Return the object with the entries of a patch; a null removes one."""
    return {name: value for name, value in {**before, **patch}.items() if value is not None}


def _team_id(given: object) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > 256:
        raise BadRequest(f"'{_TEAM_FIELD}' must be the id of a team, or null.", param=_TEAM_FIELD)
    return given

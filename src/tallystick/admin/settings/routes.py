"""`/config/…`: settings that may change while the gateway runs, and variables that references name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tallystick.admin.answers import ignored_fields, json_answer, unknown_parameters
from tallystick.admin.callers import AnyCaller, Caller
from tallystick.admin.fields import JSONObject
from tallystick.admin.models.writes import require_store_model_in_db
from tallystick.admin.services import AdminServices
from tallystick.admin.settings.requests import ConfigUpdate, FieldDelete, FieldUpdate
from tallystick.admin.settings.writes import SettingWrites, whole_name
from tallystick.config.load import SETTINGS
from tallystick.config.settings import RoutingSettings
from tallystick.control.live_routing import ROUTING
from tallystick.control.live_settings import DISCOUNTS, LIVE, MARGINS
from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.secret_fields import MASK, masked
from tallystick.control.writable import SECTIONS, is_known, require_writable
from tallystick.control.writer import missing
from tallystick.errors import BadRequest

_VARIABLES: Final = "environment_variables"


class SettingRoutes:
    """The endpoints, with the services that they use."""

    def __init__(self, services: AdminServices) -> None:
        self._settings = services.snapshots.builder.settings
        self._snapshots = services.snapshots
        self._control = services.control
        self._writer = services.writer
        self._writes = SettingWrites(self._settings, services.control, services.writer, services.clock)

    def router(self) -> APIRouter:
        router = APIRouter(tags=["Settings"], dependencies=[Depends(HTTPBearer(auto_error=False))])
        router.post("/config/update")(self.update)
        router.get("/config/list")(self.list_all)
        router.get("/config/field/info")(self.field_info)
        router.post("/config/field/update")(self.field_update)
        router.post("/config/field/delete")(self.field_delete)
        router.get("/config/cost_discount_config")(self.discounts)
        router.patch("/config/cost_discount_config")(self.set_discounts)
        router.get("/config/cost_margin_config")(self.margins)
        router.patch("/config/cost_margin_config")(self.set_margins)
        router.get("/get/config/callbacks")(self.callbacks)
        return router

    async def update(self, body: ConfigUpdate, caller: AnyCaller) -> Response:
        """Write settings and environment variables; a null removes one. All are written, or none.

        What the configuration file sets is refused with 409, what is read only at start or unknown with 400.
        """
        wanted: dict[ObjectRef, Any] = {}  # Any: JSON.
        for section in SECTIONS:
            for name, value in (getattr(body, section) or {}).items():
                ref, checked = self._writes.setting(whole_name(section, name), value)
                wanted[ref] = checked
        for name, value in (body.environment_variables or {}).items():
            ref, checked = self._writes.variable(name, value)
            wanted[ref] = checked
        await self._write(wanted, caller)
        ignored = [*body.unknown_fields(), *_without_effect(wanted)]
        return json_answer({"message": "Config updated successfully"}, headers=ignored_fields(ignored))

    async def list_all(
        self, request: Request, _caller: AnyCaller, *, config_type: Annotated[str | None, Query(max_length=64)] = None
    ) -> Response:
        """List all settings: their value, where it comes from, and whether they may be written here."""
        rows = [row for row in self._rows() if config_type in {None, row["config_type"]}]
        return json_answer(rows, headers=unknown_parameters(request, ["config_type"]))

    async def field_info(
        self,
        request: Request,
        _caller: AnyCaller,
        *,
        field_name: Annotated[str, Query(max_length=256)],
        config_type: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Show one setting."""
        name = whole_name(config_type, field_name)
        if not is_known(name):
            require_writable(self._settings, name)
        row = next(row for row in self._rows() if row["config_type"] + "." + row["field_name"] == name)
        return json_answer(row, headers=unknown_parameters(request, ["field_name", "config_type"]))

    async def field_update(self, body: FieldUpdate, caller: AnyCaller) -> Response:
        """Write one setting."""
        name = whole_name(body.config_type, body.field_name)
        ref, checked = self._writes.setting(name, body.field_value)
        if checked is None:
            raise BadRequest("'field_value' must not be null; /config/field/delete removes.", param="field_value")
        await self._write({ref: checked}, caller)
        answer = {"message": "Field updated successfully", "field_name": body.field_name, "field_value": checked}
        return json_answer(answer, headers=ignored_fields([*body.unknown_fields(), *_without_effect({ref: checked})]))

    async def field_delete(self, body: FieldDelete, caller: AnyCaller) -> Response:
        """Remove one setting from the database; its default holds again."""
        name = whole_name(body.config_type, body.field_name)
        require_writable(self._settings, name)
        require_store_model_in_db(self._snapshots, Kind.SETTING)
        ref = ObjectRef(Kind.SETTING, name)
        if await self._control.find(ref) is None:
            raise missing(ref)
        await self._write({ref: None}, caller)
        answer = {"message": "Field deleted successfully", "field_name": body.field_name}
        return json_answer(answer, headers=ignored_fields(body.unknown_fields()))

    async def discounts(self, request: Request, _caller: AnyCaller) -> Response:
        """Show the discounts by provider that are in force."""
        return self._costs("discounts", request)

    async def set_discounts(self, body: JSONObject, caller: AnyCaller) -> Response:
        """Replace the discounts by provider, as fractions."""
        return await self._set_costs(DISCOUNTS, body, caller)

    async def margins(self, request: Request, _caller: AnyCaller) -> Response:
        """Show the margins by provider that are in force."""
        return self._costs("margins", request)

    async def set_margins(self, body: JSONObject, caller: AnyCaller) -> Response:
        """Replace the margins by provider: a fraction, or `percentage` and `fixed_amount` (USD a call)."""
        return await self._set_costs(MARGINS, body, caller)

    async def callbacks(self, request: Request, _caller: AnyCaller) -> Response:
        """Show router settings and variables as LiteLLM's clients ask for them."""
        live = self._snapshots.current.settings
        variables = (*self._settings.environment_variables, *self._variables())
        answer = {
            "status": "success",
            "callbacks": [],
            "alerts": [],
            "router_settings": {
                **_router_settings(live.routing),
                "timeout": live.timeout_seconds,
                "stream_timeout": live.stream_timeout_seconds,
            },
            "environment_variables": dict.fromkeys(variables, MASK),
            "available_callbacks": {},
        }
        return json_answer(answer, headers=unknown_parameters(request, ()))

    async def _write(self, wanted: dict[ObjectRef, Any], caller: Caller) -> None:  # Any: JSON.
        require_store_model_in_db(self._snapshots, Kind.SETTING)
        await self._writes.write(wanted, author=caller.author)

    def _costs(self, field: str, request: Request) -> Response:
        values = getattr(self._snapshots.current.settings.costs, field)
        shown = {name: _number(each) for name, each in values.items()}
        return json_answer({"values": shown}, headers=unknown_parameters(request, ()))

    async def _set_costs(self, name: str, body: dict[str, Any], caller: Caller) -> Response:  # Any: JSON.
        ref, checked = self._writes.setting(name, body)
        await self._write({ref: checked}, caller)
        return json_answer({"message": "Config updated successfully", "status": "success", "values": checked})

    def _variables(self) -> list[str]:
        return [held.object_id for held in self._snapshots.objects(Kind.ENVIRONMENT_VARIABLE)]

    def _rows(self) -> Iterator[dict[str, Any]]:  # Any: JSON.
        stored = {held.object_id: held.spec for held in self._snapshots.objects(Kind.SETTING)}
        described = {
            place.name: entry
            for entry in SETTINGS
            for place in entry.file_places
            if place.name in LIVE or whole_name(None, entry.name) not in LIVE
        }
        for name in dict.fromkeys((*LIVE, *described)):
            section, _, key = name.partition(".")
            entry, live = described.get(name), LIVE.get(name)
            spec = stored.get(name, {}) if name not in self._settings.owned else {}
            value = spec.get("value", self._settings.file_values.get(name))
            yield {
                "config_type": section,
                "field_name": key,
                "field_type": live.type_name if live else entry.type_name if entry else "",
                "field_description": live.description if live else entry.description if entry else "",
                "field_value": masked(Kind.SETTING, name, {"value": value})["value"],
                "field_default_value": entry.default if entry else None,
                "stored_in_db": True if spec else False if name in self._settings.owned else None,
                "set_in": self._settings.owned.get(name),
                "writable": live is not None and name not in self._settings.owned,
            }
        for name in (*self._settings.environment_variables, *self._variables()):
            in_file = name in self._settings.environment_variables
            yield {
                "config_type": _VARIABLES,
                "field_name": name,
                "field_type": "String",
                "field_description": "",
                "field_value": MASK,
                "field_default_value": None,
                "stored_in_db": not in_file,
                "set_in": _VARIABLES if in_file else None,
                "writable": not in_file,
            }


def _router_settings(routing: RoutingSettings) -> dict[str, Any]:  # Any: JSON.
    """Show the settings of routing by their names in `router_settings`, fallbacks as the lists that LiteLLM has."""
    values = routing.model_dump()
    shown = {}
    for entry in ROUTING:
        name = next(place.name for place in entry.file_places if place.name.startswith("router_settings."))
        value = values[entry.field_path[-1]]
        if isinstance(value, dict) and name.endswith("fallbacks"):
            value = [{group: names} for group, names in value.items()]
        shown[name.removeprefix("router_settings.")] = value
    return shown


def _without_effect(wanted: dict[ObjectRef, Any]) -> list[str]:  # Any: JSON.
    settings = (ref.object_id for ref in wanted if ref.kind == Kind.SETTING)
    return [name for name in settings if not LIVE[name].has_effect]


def _number(value: Any) -> Any:  # Any: a Decimal, or a record of them.
    if hasattr(value, "model_dump"):
        return {name: float(each) for name, each in value.model_dump().items()}
    return float(value)

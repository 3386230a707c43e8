"""From request bodies to rows of settings and environment variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tallystick.config.settings import Settings
from tallystick.control.live_settings import LIVE
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.store import Author, Change, ControlStore
from tallystick.control.writable import SECTIONS, checked_value, require_own_variable, require_writable, variable_text
from tallystick.control.writer import ObjectWriter
from tallystick.runtime.clock import Clock

Wanted = Mapping[ObjectRef, Any]  # Any: JSON.
"""The value of each setting and variable; None removes it."""


class SettingWrites:
    """Writes all that is wanted, or nothing."""

    def __init__(self, settings: Settings, control: ControlStore, writer: ObjectWriter, clock: Clock) -> None:
        self._settings = settings
        self._control = control
        self._writer = writer
        self._clock = clock

    def setting(self, name: str, value: Any) -> tuple[ObjectRef, Any]:  # Any: JSON.
        """Return what a setting is to be. Raises BadRequest, Conflict."""
        require_writable(self._settings, name)
        return ObjectRef(Kind.SETTING, name), None if value is None else checked_value(name, value)

    def variable(self, name: str, value: Any) -> tuple[ObjectRef, Any]:  # Any: JSON.
        """Return what a variable is to be. Raises BadRequest, Conflict."""
        require_own_variable(self._settings, name)
        return ObjectRef(Kind.ENVIRONMENT_VARIABLE, name), None if value is None else variable_text(name, value)

    async def write(self, wanted: Wanted, *, author: Author) -> None:
        """Write it in one transaction."""

        async def plan() -> Sequence[Change]:
            found = {each.ref: each for each in await self._control.find_many(list(wanted))}
            changes = [_change(ref, value, found.get(ref), self._clock.now()) for ref, value in wanted.items()]
            return [change for change in changes if change is not None]

        await self._writer.write_planned(plan, author=author)


def whole_name(config_type: str | None, field_name: str) -> str:
    """Return the whole name of a setting: `litellm_settings.cost_margin_config`.

    Without a section, or in `general_settings` where clients look for everything, it is looked for in all of them.
    """
    section, _, key = field_name.partition(".")
    if section in SECTIONS and key:
        return field_name
    name = f"{config_type or SECTIONS[0]}.{field_name}"
    if name in LIVE or config_type not in {None, SECTIONS[0]}:
        return name
    return next((other for each in SECTIONS if (other := f"{each}.{field_name}") in LIVE), name)


def _change(ref: ObjectRef, value: Any, before: ControlObject | None, now: datetime) -> Change | None:  # Any: JSON.
    if value is None:
        return None if before is None else Change(action="deleted", before=before, after=None)
    if before is not None:
        after = msgspec.structs.replace(before, spec={"value": value})
        return Change(action="updated", before=before, after=after)
    made = ControlObject(
        kind=ref.kind,
        object_id=ref.object_id,
        name=ref.object_id,
        spec={"value": value},
        created_at=now,
        updated_at=now,
    )
    return Change(action="created", before=None, after=made)

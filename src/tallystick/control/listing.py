"""Reading every object that a filter matches, page by page."""

from __future__ import annotations

from typing import Final

from tallystick.control.objects import ControlObject, ObjectRef
from tallystick.control.store import ControlStore, ObjectFilter

_PAGE: Final = 1_000


async def list_all(store: ControlStore, where: ObjectFilter) -> list[ControlObject]:
    """Return all objects, the oldest first. Who needs them as of one moment writes under a condition (`NoneLeft`)."""
    found: dict[ObjectRef, ControlObject] = {}
    offset = 0
    while True:
        page = await store.list_objects(where, descending=False, offset=offset, limit=_PAGE)
        found |= {each.ref: each for each in page.objects}
        offset += len(page.objects)
        if len(page.objects) < _PAGE:
            return list(found.values())

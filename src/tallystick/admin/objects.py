"""Reading many control objects, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallystick.control.objects import ControlObject
from tallystick.control.store import ControlStore, ObjectFilter, SortField

_PAGE: Final = 1_000


async def list_all(
    control: ControlStore,
    where: ObjectFilter,
    *,
    sort_by: SortField = "created_at",
    descending: bool = False,
    keep: Callable[[ControlObject], bool] | None = None,
    at_most: int = 1_000_000,
) -> tuple[ControlObject, ...]:
    """Return every object that matches, for what no filter of the store can say (`keep`), or where all are needed."""
    found: list[ControlObject] = []
    offset = 0
    while len(found) < at_most:
        page = await control.list_objects(where, sort_by=sort_by, descending=descending, offset=offset, limit=_PAGE)
        found += [each for each in page.objects if keep is None or keep(each)]
        if len(page.objects) < _PAGE:
            break
        offset += _PAGE
    return tuple(found[:at_most])

"""Paging of lists: what is asked, and the numbers of the answer."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from tallystick.control.store import SortField
from tallystick.errors import BadRequest

PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
PageSize = Annotated[int, Query(ge=1, le=1_000)]
SortOrder = Annotated[str | None, Query(pattern="^(asc|desc)$")]

TOTAL_COUNT_HEADER: Final = "x-tallystick-total-count"
"""On bare arrays: how many there are in all, of which one page is shown."""

_SORT_FIELDS: Final[tuple[SortField, ...]] = ("created_at", "updated_at", "name", "object_id", "expires_at")


def total_pages(total_count: int, size: int) -> int:
    """Return how many pages of `size` hold so many."""
    return -(-total_count // size)


def sort_field(asked: str | None, names: dict[str, SortField]) -> SortField:
    """Return the field that a list's `sort_by` means; `names` are the list's own words for some of them."""
    if not asked:
        return "created_at"
    for field in _SORT_FIELDS:
        if asked == field:
            return field
    if asked in names:
        return names[asked]
    known = ", ".join(sorted({*_SORT_FIELDS, *names}))
    raise BadRequest(f"'sort_by' must be one of {known}, not {asked[:40]!r}.", param="sort_by")

"""Activity by day with its breakdowns, in LiteLLM's shape, folded from rows of the cube."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tallystick.admin.reports.names import Names
from tallystick.admin.reports.sums import Sums
from tallystick.ledger.store import SumRow

_AT_A_TIME: Final = 500
_COLUMNS: Final[Mapping[str, str]] = {
    "models": "model",
    "model_groups": "model_group",
    "providers": "provider",
    "endpoints": "endpoint",
}


class _Part:
    """One name of one breakdown."""

    def __init__(self) -> None:
        self.sums = Sums()
        self.by_key: dict[str, tuple[Sums, str]] = {}
        """By key: its sums here, and the team for which it called last."""

    def add(self, row: SumRow) -> None:
        self.sums.add(row)
        key_hash = row.group.get("key", "")
        if key_hash:
            sums, team_id = self.by_key.get(key_hash) or (Sums(), "")
            sums.add(row)
            self.by_key[key_hash] = sums, row.group["team"] or team_id


class _Day:
    """One day and its breakdowns: by kind, then by name."""

    def __init__(self) -> None:
        self.sums = Sums()
        self.parts: dict[str, dict[str, _Part]] = {kind: {} for kind in (*_COLUMNS, "api_keys", "entities")}

    def add(self, row: SumRow, entity: str) -> None:
        self.sums.add(row)
        for kind, name in _names_in(row, entity):
            if name:
                self.parts[kind].setdefault(name, _Part()).add(row)


def _names_in(row: SumRow, entity: str) -> Iterator[tuple[str, str]]:
    for kind, column in _COLUMNS.items():
        yield kind, row.group[column]
    yield "api_keys", row.group.get("key", "")
    yield "entities", row.group[entity]


class Activity:
    """Folds rows. `entity` is the column whose values are the entities of the report."""

    def __init__(self, entity: str) -> None:
        self._entity = entity
        self._days: dict[str, _Day] = {}
        self._whole = Sums()

    async def add(self, rows: Sequence[SumRow]) -> None:
        """Count rows, letting others run in between: there may be very many."""
        for start in range(0, len(rows), _AT_A_TIME):
            for row in rows[start : start + _AT_A_TIME]:
                self._whole.add(row)
                self._days.setdefault(row.group["day"], _Day()).add(row, self._entity)
            await asyncio.sleep(0)

    async def show(self, names: Names) -> list[dict[str, Any]]:  # Any: JSON.
        """Return the days, the newest first."""
        shown = []
        for day in sorted(self._days, reverse=True):
            shown.append(
                {
                    "date": day,
                    "metrics": self._days[day].sums.metrics(),
                    "breakdown": self._breakdown(self._days[day], names),
                }
            )
            await asyncio.sleep(0)
        return shown

    def totals(self) -> dict[str, Any]:  # Any: JSON.
        """Return the sums of all that was added."""
        return self._whole.totals()

    def _breakdown(self, day: _Day, names: Names) -> dict[str, Any]:  # Any: JSON.
        shown: dict[str, Any] = {"mcp_servers": {}}  # Any: JSON.
        for kind, parts in day.parts.items():
            shown[kind] = {name: self._part(kind, name, part, names) for name, part in parts.items()}
        return shown

    def _part(self, kind: str, name: str, part: _Part, names: Names) -> dict[str, Any]:  # Any: JSON.
        keys = {
            key_hash: {"metrics": sums.metrics(), "metadata": _key_metadata(key_hash, team_id, names)}
            for key_hash, (sums, team_id) in part.by_key.items()
        }
        if kind == "api_keys":
            return keys[name]
        metadata = names.entity(self._entity, name) if kind == "entities" else {}
        return {"metrics": part.sums.metrics(), "metadata": metadata, "api_key_breakdown": keys}


def _key_metadata(key_hash: str, team_id: str, names: Names) -> dict[str, str | None]:
    return {"key_alias": names.of_key(key_hash), "team_id": team_id or None}

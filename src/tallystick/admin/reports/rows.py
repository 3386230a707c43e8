"""Rows of `/global/spend/report`, and sums by some columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from tallystick.admin.limits import usd
from tallystick.admin.reports.names import Names
from tallystick.admin.reports.sums import Sums
from tallystick.ledger.store import SumRow


def by_columns(rows: Iterable[SumRow], *columns: str) -> dict[tuple[str, ...], Sums]:
    """Add rows up by the values of some columns, in the order in which they first come."""
    sums: dict[tuple[str, ...], Sums] = {}
    for row in rows:
        sums.setdefault(tuple(row.group[column] for column in columns), Sums()).add(row)
    return sums


def report_rows(
    rows: Iterable[SumRow], group_by: Literal["team", "customer", "api_key"], names: Names
) -> list[dict[str, Any]]:  # Any: JSON.
    """Return the report by day for teams and customers, in one for keys."""
    match group_by:
        case "team":
            return _teams(rows, names)
        case "customer":
            return _customers(rows)
        case "api_key":
            return _keys(rows)


def _teams(rows: Iterable[SumRow], names: Names) -> list[dict[str, Any]]:  # Any: JSON.
    days: dict[str, dict[str, dict[str, Any]]] = {}  # Any: JSON.
    costs: dict[tuple[str, str], int] = {}
    for (day, team_id, key_hash, model), sums in by_columns(rows, "day", "team", "key", "model").items():
        entry = days.setdefault(day, {}).setdefault(
            team_id, {"team_name": names.label_of_team(team_id), "total_spend": 0, "metadata": []}
        )
        costs[day, team_id] = costs.get((day, team_id), 0) + sums.cost_nano_usd
        entry["total_spend"] = usd(costs[day, team_id])
        entry["metadata"].append({"api_key": key_hash, **_model_of(model, sums)})
    return [{"group_by_day": day, "teams": list(teams.values())} for day, teams in days.items()]


def _customers(rows: Iterable[SumRow]) -> list[dict[str, Any]]:  # Any: JSON.
    days: dict[str, dict[str, dict[str, Any]]] = {}  # Any: JSON.
    costs: dict[tuple[str, str], int] = {}
    for (day, customer, model), sums in by_columns(rows, "day", "entity_id", "model").items():
        entry = days.setdefault(day, {}).setdefault(customer, {"customer": customer, "total_spend": 0, "metadata": []})
        costs[day, customer] = costs.get((day, customer), 0) + sums.cost_nano_usd
        entry["total_spend"] = usd(costs[day, customer])
        entry["metadata"].append(_model_of(model, sums))
    return [{"group_by_day": day, "customers": list(customers.values())} for day, customers in days.items()]


def _keys(rows: Iterable[SumRow]) -> list[dict[str, Any]]:  # Any: JSON.
    kept = tuple(rows)
    models: dict[str, list[dict[str, Any]]] = {}  # Any: JSON.
    for (key_hash, model), sums in by_columns(kept, "key", "model").items():
        detail = {"model": model, "total_cost": usd(sums.cost_nano_usd), **_tokens_of(sums)}
        models.setdefault(key_hash, []).append(detail)
    return [
        {
            "api_key": key_hash,
            "total_cost": usd(sums.cost_nano_usd),
            **_tokens_of(sums),
            "model_details": models[key_hash],
        }
        for (key_hash,), sums in by_columns(kept, "key").items()
    ]


def _model_of(model: str, sums: Sums) -> dict[str, Any]:  # Any: JSON.
    return {"model": model, "spend": usd(sums.cost_nano_usd), "total_tokens": sums.tokens}


def _tokens_of(sums: Sums) -> dict[str, int]:
    return {"total_input_tokens": sums.input_tokens, "total_output_tokens": sums.output_tokens}

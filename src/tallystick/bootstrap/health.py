"""The facts of the page `/health`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tallystick.control.deployment import Snapshot
from tallystick.control.feed import ChangeFeed
from tallystick.ledger.journal import Journal
from tallystick.runtime.service import ServiceHealth

_LEFT_OUT_SHOWN: Final = 100


def health_details(
    *,
    is_healthy: bool,
    journal: Journal,
    services: Sequence[ServiceHealth],
    feed: ChangeFeed,
    snapshot: Snapshot,
    outcomes: Mapping[str, str],
) -> Mapping[str, object]:
    """Return what an admin sees of a worker. `outcomes` are the last ones, by deployment id."""
    endpoints: dict[bool, list[dict[str, str]]] = {True: [], False: []}
    for deployment_id, deployment in snapshot.deployments().items():
        endpoints[outcomes.get(deployment_id) != "failure"].append(
            {
                "model": f"{deployment.target.provider}/{deployment.target.model}",
                "model_name": deployment.model_group,
                "model_id": deployment_id,
                "api_base": deployment.target.api_base,
            }
        )
    return {
        "status": "healthy" if is_healthy else "unhealthy",
        "journal": {
            "slot": journal.slot.name,
            "producer_id": journal.producer_id,
            "bytes": journal.size_bytes,
            "events_pending": journal.pending_events,
            "open_calls": journal.open_calls,
        },
        "control": {
            "revision": feed.revision,
            "feed": "away" if feed.is_away else "following",
            "snapshot_revision": snapshot.revision,
            "left_out_count": len(snapshot.left_out),
            "left_out": [
                {"kind": each.kind, "id": each.object_id, "name": each.name, "reason": each.reason}
                for each in snapshot.left_out[:_LEFT_OUT_SHOWN]
            ],
        },
        "services": [
            {"name": health.name, "state": health.state, "restarts": health.restarts, "error": health.last_error}
            for health in services
        ],
        "healthy_endpoints": endpoints[True],
        "unhealthy_endpoints": endpoints[False],
        "healthy_count": len(endpoints[True]),
        "unhealthy_count": len(endpoints[False]),
    }

"""The facts of the page `/health`, and the metric that goes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from tallystick.access.rates.shared import RateStatus
from tallystick.calls.health.check import CheckResult
from tallystick.control.deployment import Deployment
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import ObjectRef
from tallystick.control.snapshot import Snapshot
from tallystick.ledger.journal import Journal
from tallystick.runtime.service import ServiceHealth
from tallystick.runtime.telemetry import Metrics

_LEFT_OUT_SHOWN: Final = 100
_COOLDOWNS_SHOWN: Final = 1_000


class LeftOutGauge:
    """A `Follower`, to be told after the snapshot: shows how many control objects can't be used."""

    def __init__(self, snapshot: Callable[[], Snapshot], *, metrics: Metrics) -> None:
        self._snapshot = snapshot
        self._gauge = metrics.control_objects_left_out

    async def follow(self, _changed: Sequence[ObjectRef]) -> None:
        """`Follower`."""
        await self.start_over()

    async def start_over(self) -> None:
        """`Follower`."""
        self._gauge.set(len(self._snapshot().left_out))


def health_details(
    *,
    is_healthy: bool,
    read_only: bool,
    journal: Journal,
    services: Sequence[ServiceHealth],
    feed: ChangeFeed,
    snapshot: Snapshot,
    outcomes: Mapping[str, str],
    checks: Mapping[str, CheckResult],
    rates: RateStatus,
    cooling: Mapping[str, float],
    shared_work: Mapping[str, object],
) -> Mapping[str, object]:
    """Return what an admin sees of a worker. `outcomes` are the last ones, `checks` what was heard by asking, and
    `cooling` how long some are left alone, all by deployment id.
    """
    return {
        "status": "healthy" if is_healthy else "unhealthy",
        "mode": "read_only" if read_only else "read_write",
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
        "rate_limits": {"counted": rates.counted, "reason": rates.reason},
        "cooldowns": {name: round(seconds, 3) for name, seconds in islice(cooling.items(), _COOLDOWNS_SHOWN)},
        **shared_work,
        "services": [
            {"name": health.name, "state": health.state, "restarts": health.restarts, "error": health.last_error}
            for health in services
        ],
        **endpoint_details(snapshot.deployments().values(), outcomes, checks),
    }


def endpoint_details(
    deployments: Iterable[Deployment], outcomes: Mapping[str, str], checks: Mapping[str, CheckResult]
) -> dict[str, object]:
    """Return deployments as healthy and unhealthy: by their last check, else by how the last call to them ended."""
    endpoints: dict[bool, list[dict[str, object]]] = {True: [], False: []}
    for deployment in deployments:
        checked = checks.get(deployment.deployment_id)
        healthy = outcomes.get(deployment.deployment_id) != "failure"
        shown: dict[str, object] = {
            "model": f"{deployment.target.provider}/{deployment.target.model}",
            "model_name": deployment.model_group,
            "model_id": deployment.deployment_id,
            "api_base": deployment.target.api_base,
        }
        if checked is not None:
            healthy = healthy if checked.healthy is None else checked.healthy
            shown |= _of_check(checked)
        endpoints[healthy].append(shown)
    return {
        "healthy_endpoints": endpoints[True],
        "unhealthy_endpoints": endpoints[False],
        "healthy_count": len(endpoints[True]),
        "unhealthy_count": len(endpoints[False]),
    }


def _of_check(checked: CheckResult) -> dict[str, object]:
    if checked.healthy is None:
        return {"unchecked": checked.error}
    shown: dict[str, object] = {"checked_at": checked.at}
    if checked.seen:
        shown["answered_a_caller"] = True
    else:
        shown["response_time_ms"] = checked.milliseconds
    return shown | ({"error": checked.error} if checked.error else {})

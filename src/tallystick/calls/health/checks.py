"""The checks of all deployments: in the background, and when an admin asks.

Each worker makes its own, because whether it reaches a deployment is what only it can tell. A deployment that has
answered a caller since the last round is known to be well and is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from tallystick.calls.health.check import Checker, CheckResult
from tallystick.calls.settle import Settler
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import LedgerUnavailable, NotFound
from tallystick.runtime.clock import Clock
from tallystick.runtime.masking import mask_text
from tallystick.runtime.telemetry import Metrics

log = structlog.get_logger(__name__)

DISABLE: Final = "disable_background_health_check"
ASKED_MAX: Final = 100
"""Deployments that one request of an admin may have checked."""
_AT_ONCE: Final = 8
_FIRST_SECONDS: Final = 5.0


class HealthChecks:
    """What is known of deployments by asking them."""

    def __init__(
        self,
        checker: Checker,
        *,
        snapshot: Callable[[], Snapshot],
        settler: Settler,
        interval_seconds: float,
        clock: Clock,
        metrics: Metrics,
        draw: Callable[[], float],
    ) -> None:
        self.checker = checker
        self.results: dict[str, CheckResult] = {}
        """By deployment id."""
        self._snapshot = snapshot
        self._settler = settler
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._unhealthy = metrics.deployments_unhealthy
        self._draw = draw

    async def run(self) -> None:
        """Check all of them for ever. Workers that start together do not ask together."""
        await self._clock.sleep(self._draw() * min(_FIRST_SECONDS, self._interval_seconds))
        while True:
            await self.check_all()
            await self._clock.sleep(self._interval_seconds)

    async def check_all(self) -> None:
        """Check every deployment once, but those that answered a caller since the last round."""
        deployments = self._snapshot().deployments()
        answered = self._settler.take_answered()
        now = self._clock.now()
        due = []
        for name, deployment in deployments.items():
            if deployment.model_info.get(DISABLE):
                continue
            if name in answered:
                self.results[name] = CheckResult(healthy=True, at=now, seen=True)
            else:
                due.append(deployment)
        await self._check(due)
        self.results = {name: result for name, result in self.results.items() if name in deployments}
        self._count()

    async def check_some(self, model_group: str, deployment_id: str) -> Mapping[str, CheckResult]:
        """Check those of a model group, or one by its id. Raises NotFound, and LedgerUnavailable."""
        found = [
            each
            for each in self._snapshot().deployments().values()
            if deployment_id in ("", each.deployment_id) and model_group in ("", each.model_group)
        ]
        if not found:
            raise NotFound(f"There is no deployment of '{(model_group or deployment_id)[:256]}'.", param="model")
        found = found[:ASKED_MAX]
        await self._check(found, raises=True)
        self._count()
        return {each.deployment_id: self.results[each.deployment_id] for each in found}

    async def _check(self, deployments: Sequence[Deployment], *, raises: bool = False) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(deployment: Deployment) -> LedgerUnavailable | None:
            async with gate:
                try:
                    result = await self.checker.check(deployment)
                except LedgerUnavailable as error:  # No call is made without being written down.
                    log.warning("health_check_postponed", reason=mask_text(error.message))
                    return error
                self.results[deployment.deployment_id] = result
                if result.healthy is False:
                    log.warning(
                        "deployment_unhealthy", deployment_id=deployment.deployment_id, reason=mask_text(result.error)
                    )
                return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in deployments]
        failure = next((task.result() for task in tasks if task.result() is not None), None)
        if raises and failure is not None:
            raise failure

    def _count(self) -> None:
        self._unhealthy.set(sum(result.healthy is False for result in self.results.values()))

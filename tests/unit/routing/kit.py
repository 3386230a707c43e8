"""Deployments, and a whole road from a model's name to an answer, with an upstream that is made up and a clock that
stands still until it is moved.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tallystick.access.principal import Principal
from tallystick.calls.attempts import Attempts
from tallystick.calls.response_ids import ResponseIds
from tallystick.calls.route import Router
from tallystick.config.routing_settings import RoutingSettings
from tallystick.control.deployment import Deployment, DeploymentRates
from tallystick.control.key_ring import KeyRing, new_secret_key
from tallystick.control.live_settings import LiveSettings
from tallystick.control.snapshot import Snapshot
from tallystick.errors import UpstreamRefused
from tallystick.pricing.price import PriceSheet, Rate
from tallystick.providers.base import Answer, Target
from tallystick.routing.choice import Wanted
from tallystick.routing.tracker import Tracker
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock
from tallystick.wire.call_options import NO_OPTIONS, CallOptions
from tallystick.wire.openai.reading import USAGE_HIDDEN

BODY = b'{"id": "x", "usage": {"prompt_tokens": 10, "completion_tokens": 10}}'


def deployment(
    name: str, *, group: str = "group", price: int | None = None, rpm=None, tpm=None, **more: Any
) -> Deployment:
    sheet = None
    if price is not None:
        rate = Rate(nano_usd_per_million=price)
        sheet = PriceSheet(version="test", rates={"input": rate, "output": rate})
    rates = None
    if rpm is not None or tpm is not None:
        rates = DeploymentRates(requests_per_minute=rpm, tokens_per_minute=tpm)
    return Deployment(
        deployment_id=name,
        model_group=group,
        target=Target(provider="fake", model=name, api_base="http://h"),
        price=sheet,
        rates=rates,
        **more,
    )


def refused(status: int, *, body: bytes = b"{}", retry_after: str | None = None) -> UpstreamRefused:
    return UpstreamRefused(status=status, body=body, content_type="application/json", retry_after=retry_after)


class Road:
    """Router, tracker and attempts over one made-up upstream."""

    def __init__(self, *deployments: Deployment, seed: int = 7, **settings: Any) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.tracker = Tracker(clock=self.clock, metrics=self.metrics)
        self.draw = random.Random(seed).random
        self.pauses: list[float] = []
        self.sent: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.errors: dict[str, Callable[[], Exception | None]] = {}
        groups: dict[str, tuple[Deployment, ...]] = {}
        for each in deployments:
            groups[each.model_group] = (*groups.get(each.model_group, ()), each)
        live = LiveSettings(routing=RoutingSettings(**settings))
        self.snapshot = Snapshot(revision=1, model_groups=groups, settings=live)
        self.router = Router(snapshot=lambda: self.snapshot, tracker=self.tracker, draw=self.draw)
        self.attempts = Attempts(
            providers={"fake": self},
            tracker=self.tracker,
            settler=SimpleNamespace(count_attempt=lambda *_: None),
            now=self.clock.now,
            pause=self._pause,
            draw=self.draw,
            response_ids=ResponseIds(KeyRing([new_secret_key(self.clock.now())])),
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    async def send(self, request: Any, target: Target) -> Answer:
        """`Provider`."""
        name = target.model
        self.sent[name] += 1
        if name in self.seconds:
            await self.clock.sleep(self.seconds[name])
        error = self.errors[name]() if name in self.errors else None
        if error is not None:
            raise error
        self.answered[name] += 1
        return Answer(status=200, content_type="application/json", headers={}, reading=USAGE_HIDDEN, body=BODY)

    def begin(self, model: str = "group", *, options: CallOptions = NO_OPTIONS, **wanted: Any):
        return self.router.begin(Principal(key_hash="k"), model, options, Wanted(**wanted))

    async def call(self, model: str = "group", *, options: CallOptions = NO_OPTIONS, tokens: int = 20, **wanted: Any):
        """Make one call on its first model group and end it. Returns which deployment answered; raises its error."""
        route = self.begin(model, options=options, **wanted)
        failed: list[Exception] = []
        call = SimpleNamespace(
            request=SimpleNamespace(stream=False), failed_attempts=failed, note_failed_attempt=failed.append,
            deployment=None, upstream_seconds=0.0,
        )  # fmt: skip
        admitted = SimpleNamespace(deployments=route.deployments, attempt=None, current=None, may_try=_yes)
        await self.attempts.of_group(call, route, admitted)
        admitted.attempt.over(tokens=tokens, output_tokens=10, broke_off=False)
        return call.deployment.deployment_id

    async def load(self, calls: int, *, at_once: int) -> None:
        """Make calls, so many at a time, and let time pass while all of them wait."""
        left = iter(range(calls))

        async def caller() -> None:
            for _ in left:
                await self.call()

        tasks = [asyncio.create_task(caller()) for _ in range(at_once)]
        while not all(task.done() for task in tasks):
            for _ in range(10):
                await asyncio.sleep(0)
            self.clock.advance(0.01)
        await asyncio.gather(*tasks)


async def _yes(*_: Any, **__: Any) -> bool:
    return True

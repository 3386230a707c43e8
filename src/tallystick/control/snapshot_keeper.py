"""Keeps the snapshot that is in force, and follows the change feed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog

from tallystick.control.build import NOTHING_LOADED, SnapshotBuilder
from tallystick.control.deployment import Deployment
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.pass_through import PassThroughEndpoint
from tallystick.control.resolving import CannotServe
from tallystick.control.snapshot import Snapshot
from tallystick.control.store import ControlStore, Loaded

log = structlog.get_logger(__name__)

_AT_A_TIME: Final = 10


class SnapshotKeeper:
    """A `Follower`. `current` is one reference, swapped when a snapshot is whole; a failed read changes nothing."""

    def __init__(self, store: ControlStore, builder: SnapshotBuilder) -> None:
        """Begin with what the file alone says. Raises ConfigError that names the entry which is wrong."""
        builder.check()
        self.builder = builder
        self._store = store
        self._loaded = NOTHING_LOADED
        self._current = builder.build(NOTHING_LOADED)
        self._building = asyncio.Lock()

    @property
    def current(self) -> Snapshot:
        """The snapshot in force."""
        return self._current

    @property
    def prices_until(self) -> datetime | None:
        """When the first of the prices changes by the calendar; None when none does."""
        return self.builder.prices_until

    def objects(self, kind: Kind) -> tuple[ControlObject, ...]:
        """Return the database's objects of a kind as they were read for the snapshot in force."""
        return tuple(held for held in self._loaded.objects if held.kind == kind)

    def try_build(self, held: ControlObject) -> Deployment:
        """Return the deployment that a model would be with what is in force. Raises CannotServe."""
        return self.builder.try_build(held)

    def try_endpoint(self, held: ControlObject) -> PassThroughEndpoint:
        """Return the pass-through endpoint that an object would be with what is in force. Raises CannotServe."""
        return self.builder.try_endpoint(held)

    def try_credential(self, name: str, values: Mapping[str, Any]) -> None:  # Any: JSON.
        """Raise CannotServe when a model that is served now could not be served with these values of a credential."""
        served = self._current.deployments()
        for held in self.objects(Kind.MODEL):
            deployment = served.get(held.object_id)
            if deployment is not None and deployment.credential_name == name:
                try:
                    self.builder.try_build(held, credentials={name: values})
                except CannotServe as error:
                    raise CannotServe(error.field, f"the model '{held.object_id}' needs it: {error}") from error

    async def renew_prices(self) -> None:
        """Build anew with the prices as they are now."""
        async with self._building:
            self.builder.renew_prices()
            await self._build(self._loaded)

    async def follow(self, changed: Sequence[ObjectRef]) -> None:
        """`Follower`: read and build anew when one of the changes is of a kind that is loaded."""
        if any(ref.kind in self.builder.kinds for ref in changed):
            await self.start_over()

    async def start_over(self) -> None:
        """`Follower`."""
        async with self._building:
            await self._build(await self._store.load(self.builder.kinds))

    async def _build(self, loaded: Loaded) -> None:
        """Swap the snapshot when the next one is whole. Others run while it is made."""
        if loaded.objects:
            await asyncio.to_thread(self.builder.load_prices)
        building = self.builder.begin(loaded)
        more = True
        while more:
            more = building.advance(_AT_A_TIME)
            await asyncio.sleep(0)
        snapshot = building.finish()
        new = set(snapshot.left_out) - set(self._current.left_out)
        self._current, self._loaded = snapshot, loaded
        for each in new:
            log.warning("control_object_left_out", kind=each.kind, object_id=each.object_id, reason=each.reason)

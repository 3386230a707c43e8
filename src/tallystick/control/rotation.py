"""Bring every sealed value under the first key while gateways serve, and count which keys are still needed.

A rotation goes through all objects, the deleted ones too, page by page in the order of their numbers. It replaces a
spec only where the object is still at the revision that was read. It keeps no notes: a value under the first key is
done, so after a crash it simply runs again. Writers seal whatever they write under the first key, so none of them can
bring an older key back behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from tallystick.control.objects import ObjectRef
from tallystick.control.sealer import Sealer, SecretValue

PAGE_SIZE: Final = 500
UNREADABLE_SHOWN: Final = 100
_TRIES_MAX: Final = 10


class StoredSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The spec of one row, living or deleted."""

    object_no: int
    """Number of the row: larger than of any made before it, never used again."""
    ref: ObjectRef
    revision: int
    spec: dict[str, Any]  # Any: JSON.


class SpecStore(Protocol):
    """The specs of all rows, those of deleted objects too. Methods raise StoreUnavailable."""

    async def specs_after(self, object_no: int, *, limit: int) -> tuple[StoredSpec, ...]:
        """Return the next rows above `object_no`, in ascending order."""

    async def replace_specs(self, specs: Sequence[StoredSpec]) -> frozenset[int]:
        """Replace the spec of each row that is still at its revision; return the numbers of those.

        What the specs mean must be the same: revision, times, audit and feed stay as they are.
        """


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did so far."""

    objects: int = 0
    resealed: int = 0
    """Values that were brought under the first key."""
    contested: int = 0
    """Objects that others changed at each try; a further run takes care of them."""


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """Which keys the stored secrets need."""

    objects: int
    values: int
    by_key: Mapping[str, int]
    """How many values each key sealed."""
    first_key: str
    unsealed: int
    """Secrets that stand there as they are."""
    unreadable: tuple[SecretValue, ...]
    """The first of those that can't be opened."""
    unreadable_count: int

    @property
    def is_good(self) -> bool:
        """Whether every secret can be opened and is under the first key."""
        return not self.unreadable_count and not self.unsealed and set(self.by_key) <= {self.first_key}


async def rotate(
    store: SpecStore,
    sealer: Sealer,
    *,
    page_size: int = PAGE_SIZE,
    on_page: Callable[[Rotation], None] = lambda _: None,
) -> Rotation:
    """Seal under the first key what is not; may be stopped anywhere and run again, also several at once."""
    done = Rotation()
    position = 0
    while page := await store.specs_after(position, limit=page_size):
        position = page[-1].object_no
        resealed, contested = await _rotate_page(store, sealer, page)
        done = Rotation(
            objects=done.objects + len(page),
            resealed=done.resealed + resealed,
            contested=done.contested + contested,
        )
        on_page(done)
    return done


async def take_census(
    store: SpecStore,
    sealer: Sealer,
    *,
    page_size: int = PAGE_SIZE,
    on_page: Callable[[int], None] = lambda _: None,
) -> Census:
    """Open every secret once, and count. Nothing is changed."""
    objects = unsealed = unreadable_count = position = 0
    by_key: Counter[str] = Counter()
    unreadable: list[SecretValue] = []
    while page := await store.specs_after(position, limit=page_size):
        position = page[-1].object_no
        objects += len(page)
        for stored in page:
            for value in sealer.values(stored.ref.kind, stored.ref.object_id, stored.spec):
                if value.key_id is None:
                    unsealed += 1
                    continue
                by_key[value.key_id] += 1
                if value.problem is not None:
                    unreadable_count += 1
                    unreadable.extend([value] if unreadable_count <= UNREADABLE_SHOWN else [])
        on_page(objects)
    return Census(
        objects=objects,
        values=by_key.total() + unsealed,
        by_key=dict(sorted(by_key.items())),
        first_key=sealer.ring.first.key_id,
        unsealed=unsealed,
        unreadable=tuple(unreadable),
        unreadable_count=unreadable_count,
    )


async def _rotate_page(store: SpecStore, sealer: Sealer, page: Sequence[StoredSpec]) -> tuple[int, int]:
    """Return how many values were resealed, and how many objects others changed at each try."""
    resealed = 0
    for _ in range(_TRIES_MAX):
        fresh = {stored.object_no: _resealed(sealer, stored) for stored in page}
        wanted = {stored.object_no: stored for stored in page if fresh[stored.object_no].spec != stored.spec}
        if not wanted:
            return resealed, 0
        replaced = await store.replace_specs([fresh[object_no] for object_no in wanted])
        resealed += sum(len(_differing(sealer, wanted[object_no])) for object_no in replaced)
        # Somebody wrote these meanwhile. What was written may be under the first key already, or not.
        again = [object_no for object_no in wanted if object_no not in replaced]
        page = [stored for object_no in again for stored in await store.specs_after(object_no - 1, limit=1)]
    return resealed, len(page)


def _resealed(sealer: Sealer, stored: StoredSpec) -> StoredSpec:
    spec = sealer.reseal(stored.ref.kind, stored.ref.object_id, stored.spec)
    return msgspec.structs.replace(stored, spec=spec)


def _differing(sealer: Sealer, stored: StoredSpec) -> list[SecretValue]:
    """Return the values that a rotation brings under the first key."""
    first = sealer.ring.first.key_id
    values = sealer.values(stored.ref.kind, stored.ref.object_id, stored.spec)
    return [value for value in values if value.key_id != first and value.problem is None]

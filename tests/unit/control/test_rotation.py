from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tallystick.config.secret_keys import SecretKey
from tallystick.control.key_ring import KeyRing
from tallystick.control.objects import ControlObject, Kind, ObjectRef
from tallystick.control.rotation import UNREADABLE_SHOWN, Census, Rotation, StoredSpec, rotate, take_census
from tallystick.control.sealer import Sealer
from tallystick.control.store import AuditFilter, Author
from tallystick.control.writer import ObjectWriter
from tallystick.testing.clock import FakeClock
from tallystick.testing.control_store import MemoryControlStore
from unit.control.specs import SPECS_BY_KIND

OLD = SecretKey(key_id="old", key=bytes(range(32)))
NEW = SecretKey(key_id="new", key=bytes(range(32, 64)))
ONLY_OLD, BOTH, ONLY_NEW = Sealer(KeyRing([OLD])), Sealer(KeyRing([NEW, OLD])), Sealer(KeyRing([NEW]))
ADA = Author(key_hash="hash", user_id="ada")


class Stock:
    """Objects of every kind, sealed under the old key; one of each kind is deleted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryControlStore(clock=self.clock)
        self.writer = ObjectWriter(self.store, sealer=ONLY_OLD, clock=self.clock)
        self.specs: dict[ObjectRef, dict[str, Any]] = {}

    async def fill(self) -> Stock:
        for kind, (object_id, spec) in SPECS_BY_KIND.items():
            for number in range(3):
                made = await self.writer.create(self.new(kind, f"{object_id}/{number}", spec), author=ADA)
                self.specs[made.ref] = spec
            await self.writer.delete([ObjectRef(kind, f"{object_id}/0")], author=ADA)
        return self

    def new(self, kind: Kind, object_id: str, spec: dict[str, Any]) -> ControlObject:
        now = self.clock.now()
        return ControlObject(kind=kind, object_id=object_id, spec=spec, created_at=now, updated_at=now)

    async def assert_readable(self, sealer: Sealer) -> None:
        rows = await self.store.specs_after(0, limit=1_000)
        assert len(rows) == len(self.specs)
        for row in rows:
            assert sealer.open(row.ref.kind, row.ref.object_id, row.spec) == self.specs[row.ref]


@pytest.fixture
async def stock() -> Stock:
    return await Stock().fill()


@pytest.mark.parametrize("page_size", [1, 7, 500])
async def test_every_value_of_every_object_comes_under_the_first_key(stock: Stock, page_size: int) -> None:
    before = await take_census(stock.store, BOTH)
    seen: list[Rotation] = []

    done = await rotate(stock.store, BOTH, page_size=page_size, on_page=seen.append)

    after = await take_census(stock.store, BOTH)
    assert done == Rotation(objects=len(stock.specs), resealed=before.values)
    assert seen[-1] == done
    assert (before.by_key, before.is_good) == ({"old": before.values}, False)
    assert (after.by_key, after.is_good) == ({"new": before.values}, True)
    await stock.assert_readable(ONLY_NEW)


async def test_a_rotation_changes_nothing_but_the_seals(stock: Stock) -> None:
    before = await stock.store.load(list(Kind))
    audit = await stock.store.list_audit(AuditFilter(), offset=0, limit=1_000)

    await rotate(stock.store, BOTH)

    after = await stock.store.load(list(Kind))
    assert [msgspec.structs.replace(held, spec={}) for held in after.objects] == [
        msgspec.structs.replace(held, spec={}) for held in before.objects
    ]
    assert after.revision == before.revision
    assert await stock.store.list_audit(AuditFilter(), offset=0, limit=1_000) == audit


async def test_a_second_rotation_finds_nothing_to_do(stock: Stock) -> None:
    await rotate(stock.store, BOTH)
    rows = await stock.store.specs_after(0, limit=1_000)

    again = await rotate(stock.store, BOTH)

    assert again == Rotation(objects=len(stock.specs))
    assert await stock.store.specs_after(0, limit=1_000) == rows


async def test_a_rotation_that_was_cut_short_goes_on(stock: Stock) -> None:
    for pages in range(1, 12):
        await stock.assert_readable(BOTH)
        with pytest.raises(ZeroDivisionError):
            await rotate(
                stock.store, BOTH, page_size=3, on_page=lambda done, pages=pages: 1 / (3 * pages - done.objects)
            )

    await stock.assert_readable(BOTH)
    await rotate(stock.store, BOTH, page_size=3)
    await stock.assert_readable(ONLY_NEW)


class Contested:
    """A store whose objects are written by somebody else between a rotation's read and its write."""

    def __init__(self, stock: Stock, writer: ObjectWriter, *, times: int) -> None:
        self._stock = stock
        self._writer = writer
        self._left = times
        self.specs_after = stock.store.specs_after

    async def replace_specs(self, specs: Any) -> frozenset[int]:
        if self._left:
            self._left -= 1
            for stored in specs:
                spec = {**self._stock.specs[stored.ref], "note": str(self._left)}
                self._stock.specs[stored.ref] = spec
                await self._writer.update(
                    stored.ref, lambda held, s=spec: msgspec.structs.replace(held, spec=s), author=ADA
                )
        return await self._stock.store.replace_specs(specs)


@pytest.mark.parametrize("sealer", [ONLY_OLD, BOTH])
async def test_what_is_written_meanwhile_is_kept(sealer: Sealer) -> None:
    stock = Stock()
    object_id, spec = SPECS_BY_KIND[Kind.MODEL]
    made = await stock.writer.create(stock.new(Kind.MODEL, object_id, spec), author=ADA)
    stock.specs[made.ref] = spec
    writer = ObjectWriter(stock.store, sealer=sealer, clock=stock.clock)

    done = await rotate(Contested(stock, writer, times=3), BOTH)

    assert done.contested == 0
    assert stock.specs[made.ref]["note"] in {"0", "2"}, "the rival wrote"
    await stock.assert_readable(ONLY_NEW)


async def test_a_rotation_does_not_wait_for_a_rival_for_ever() -> None:
    stock = Stock()
    object_id, spec = SPECS_BY_KIND[Kind.MODEL]
    made = await stock.writer.create(stock.new(Kind.MODEL, object_id, spec), author=ADA)
    stock.specs[made.ref] = spec

    done = await rotate(Contested(stock, stock.writer, times=1_000), BOTH)

    assert (done.contested, done.resealed) == (1, 0)
    await stock.assert_readable(BOTH)


async def test_a_census_counts_what_can_not_be_opened_and_what_is_not_sealed(stock: Stock) -> None:
    total = (await take_census(stock.store, ONLY_OLD)).values
    (row,) = await stock.store.specs_after(0, limit=1)
    plain = stock.specs[row.ref]
    await stock.store.replace_specs(
        [StoredSpec(object_no=row.object_no, ref=row.ref, revision=row.revision, spec=plain)]
    )
    unsealed = len(ONLY_OLD.values(row.ref.kind, row.ref.object_id, plain))

    census = await take_census(stock.store, ONLY_NEW, page_size=5)

    assert census.unsealed == unsealed > 0
    assert census.by_key == {"old": total - unsealed}
    assert census.values == total
    assert census.unreadable_count == total - unsealed
    assert len(census.unreadable) == min(UNREADABLE_SHOWN, census.unreadable_count)
    assert census.unreadable[0].problem == "the key 'old' is not in secret_keys"
    assert not census.is_good
    assert (await rotate(stock.store, ONLY_NEW)).resealed == unsealed


async def test_nothing_is_good() -> None:
    census = await take_census(MemoryControlStore(), BOTH)

    assert census == Census(
        objects=0, values=0, by_key={}, first_key="new", unsealed=0, unreadable=(), unreadable_count=0
    )
    assert census.is_good

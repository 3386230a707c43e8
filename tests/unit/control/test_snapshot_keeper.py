"""The snapshot in force follows what is written, and outlives an absent database."""

from __future__ import annotations

import asyncio

import pytest

from models_kit import NOON, access_group, builder_of, credential, model, settings_of, variable
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.control.store import Author, Change
from tallystick.errors import ConfigError, StoreUnavailable
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock
from tallystick.testing.control_store import MemoryControlStore


class Gateway:
    """A store, a keeper that follows its feed, and writes."""

    def __init__(self, settings=None):
        self.clock = FakeClock()
        self.store = MemoryControlStore(clock=self.clock)
        self.keeper = SnapshotKeeper(self.store, builder_of(settings or settings_of(), clock=self.clock))
        self.feed = ChangeFeed(self.store, (self.keeper,), clock=self.clock, metrics=Metrics())

    async def write(self, *afters, deleted=()):
        changes = [Change(action="created", before=await self.store.find(each.ref), after=each) for each in afters]
        changes += [Change(action="deleted", before=await self.store.find(ref), after=None) for ref in deleted]
        return await self.store.apply(changes, author=Author(key_hash="k"), now=NOON)

    def headers(self, object_id):
        return self.keeper.current.deployments()[object_id].target.headers["authorization"]


@pytest.fixture
def gateway():
    return Gateway()


async def test_it_begins_with_the_file_and_follows_the_feed(gateway):
    assert gateway.keeper.current.model_groups == {}
    revision = await gateway.write(model("m-1"), access_group("g", "beta", "gpt"))
    await gateway.feed.catch_up(revision)
    assert set(gateway.keeper.current.model_groups) == {"gpt"}
    assert gateway.keeper.current.access_groups["beta"] == {"gpt"}
    assert gateway.keeper.current.revision == revision
    await gateway.feed.catch_up(await gateway.write(deleted=[ObjectRef(Kind.MODEL, "m-1")]))
    assert gateway.keeper.current.model_groups == {}


async def test_a_call_keeps_the_snapshot_it_began_with(gateway):
    await gateway.feed.catch_up(await gateway.write(model("m-1")))
    begun_with = gateway.keeper.current
    await gateway.feed.catch_up(await gateway.write(deleted=[ObjectRef(Kind.MODEL, "m-1")]))
    assert set(begun_with.model_groups) == {"gpt"}


@pytest.mark.parametrize(
    ("changed", "before", "after"),
    [
        (credential("c", api_key="sk-2"), "Bearer sk-1", "Bearer sk-2"),
        (variable("KEY", "v-2"), "Bearer v-1", "Bearer v-2"),
    ],
)
async def test_what_a_deployment_is_resolved_with_changes_it(gateway, changed, before, after):
    own = (
        {"api_key": None, "litellm_credential_name": "c"} if changed.object_id == "c" else {"api_key": "os.environ/KEY"}
    )
    first = credential("c", api_key="sk-1"), variable("KEY", "v-1")
    await gateway.feed.catch_up(await gateway.write(model("m", **own), *first))
    assert gateway.headers("m") == before
    await gateway.feed.catch_up(await gateway.write(changed))
    assert gateway.headers("m") == after


async def test_a_failed_read_changes_nothing_and_is_tried_again(gateway):
    await gateway.feed.catch_up(await gateway.write(model("m-1")))
    kept = gateway.keeper.current
    revision = await gateway.write(model("m-2", "other"))
    gateway.store.away = True
    with pytest.raises(StoreUnavailable):
        await gateway.keeper.start_over()
    await gateway.feed.poll()
    assert gateway.keeper.current is kept
    gateway.store.away = False
    await gateway.feed.poll()
    assert gateway.feed.revision == revision
    assert set(gateway.keeper.current.model_groups) == {"gpt", "other"}


async def test_changes_of_other_kinds_are_not_read(gateway):
    await gateway.feed.poll()
    gateway.store.away = True
    await gateway.keeper.follow([ObjectRef(Kind.KEY, "k"), ObjectRef(Kind.TEAM, "t")])
    with pytest.raises(StoreUnavailable):
        await gateway.keeper.follow([ObjectRef(Kind.KEY, "k"), ObjectRef(Kind.MODEL, "m")])


async def test_models_of_the_database_are_not_read_when_they_are_not_wanted(tmp_path):
    gateway = Gateway(settings_of(tmp_path, "general_settings: {store_model_in_db: false}"))
    await gateway.feed.catch_up(await gateway.write(model("m-1"), access_group("g", "beta", "gpt")))
    assert gateway.keeper.current.model_groups == {}
    assert set(gateway.keeper.current.access_groups) == {"beta", "g"}
    assert gateway.keeper.objects(Kind.MODEL) == ()


async def test_a_wrong_file_stops_the_start(tmp_path):
    text = "model_list: [{model_name: m, litellm_params: {model: nobody/x}}]"
    with pytest.raises(ConfigError, match="nobody"):
        Gateway(settings_of(tmp_path, text))


async def test_others_run_while_many_deployments_are_made(gateway):
    await gateway.write(*(model(f"m-{number}") for number in range(200)))
    building, turns = asyncio.ensure_future(gateway.keeper.start_over()), 0
    while not building.done():
        assert gateway.keeper.current.model_groups == {}, "no half of a snapshot is in force"
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 20
    assert len(gateway.keeper.current.model_groups["gpt"]) == 200


async def test_two_changes_at_once_end_with_the_newer_one(gateway):
    await gateway.write(model("m-1"))
    first = asyncio.ensure_future(gateway.keeper.start_over())
    await asyncio.sleep(0)
    await gateway.write(model("m-2", "other"))
    await asyncio.gather(first, gateway.keeper.start_over())
    assert set(gateway.keeper.current.model_groups) == {"gpt", "other"}


async def test_prices_are_renewed_without_the_database(gateway):
    await gateway.feed.catch_up(await gateway.write(model("m")))
    before = gateway.keeper.current.deployments()["m"].price.version
    gateway.store.away = True
    gateway.clock.advance(60)
    await gateway.keeper.renew_prices()
    assert gateway.keeper.current.deployments()["m"].price.version != before
    assert gateway.keeper.prices_until is None

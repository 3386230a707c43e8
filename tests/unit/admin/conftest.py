"""The admin API on a store in memory."""

from __future__ import annotations

import pytest

from asgi_client import ASGIClient
from models_kit import keeper_of
from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import hash_key
from tallystick.admin.app import create_admin_app
from tallystick.admin.services import AdminServices
from tallystick.config.secret_keys import SecretKey
from tallystick.control.feed import ChangeFeed
from tallystick.control.key_ring import KeyRing
from tallystick.control.sealer import Sealer
from tallystick.control.writer import ObjectWriter
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryStore
from tallystick.testing.control_store import MemoryControlStore

SEALER = Sealer(KeyRing([SecretKey(key_id="test", key=bytes(32))]))
MASTER = "sk-the-master-key-of-this-test"


class House:
    """The admin API on a store in memory, and a client who holds the master key."""

    master = MASTER

    def __init__(self):
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.control = MemoryControlStore(clock=self.clock)
        self.authenticator = Authenticator(
            self.control, master_key_hash=hash_key(MASTER), clock=self.clock, metrics=self.metrics
        )
        self.snapshots = keeper_of(self.control, clock=self.clock)
        followers = (self.authenticator, self.snapshots)
        self.feed = ChangeFeed(self.control, followers, clock=self.clock, metrics=self.metrics)
        self.services = AdminServices(
            authenticator=self.authenticator,
            control=self.control,
            writer=ObjectWriter(self.control, sealer=SEALER, clock=self.clock, on_applied=self.feed.catch_up),
            snapshots=self.snapshots,
            ledger_reader=self.store,
            budgets=MemoryBudgetStore(store=self.store, clock=self.clock),
            clock=self.clock,
            metrics=self.metrics,
            new_id=lambda: "error-1",
        )
        self.client = ASGIClient(create_admin_app(self.services), key=MASTER)

    async def make_key(self, **fields):
        answer = await self.client.post("/key/generate", fields)
        assert answer.status == 200, answer.body
        return answer.json()

    async def refused(self, status, path, body=None, *, key=None, **query):
        method = "POST" if body is not None else "GET"
        answer = await self.client.request(method, path, body, key=key, query=query)
        assert answer.status == status, answer.body
        assert answer.error["code"] == str(status)
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert answer.headers["content-type"] == "application/json"
        return answer.error


@pytest.fixture
def house():
    return House()

"""The admin API on a store in memory, with people who call it under their own keys."""

from __future__ import annotations

from datetime import UTC, datetime

from asgi_client import ASGIClient
from models_kit import SEALER, builder_of, settings_of
from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import KeySpec, hash_key, mask_key
from tallystick.access.users import Role, UserSpec
from tallystick.admin.app import create_admin_app
from tallystick.admin.services import AdminServices
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_from
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.control.store import AuditFilter, Author
from tallystick.control.writer import ObjectWriter
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryStore
from tallystick.testing.control_store import MemoryControlStore

MASTER = "sk-the-master-key-of-this-test"
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_MAKER = Author(key_hash="maker")


def plain_key(name):
    return f"sk-key-of-{name}-0123456789"


class Office:
    """Requests with the master key, unless `key` names whose."""

    def __init__(self, **settings):
        self.clock = FakeClock()
        self.ledger = MemoryStore()
        self.budgets = MemoryBudgetStore(store=self.ledger, clock=self.clock)
        self.metrics = Metrics()
        self.control = MemoryControlStore(clock=self.clock)
        self.authenticator = Authenticator(
            self.control, master_key_hash=hash_key(MASTER), clock=self.clock, metrics=self.metrics
        )
        snapshots = SnapshotKeeper(self.control, builder_of(settings_of(), clock=self.clock))
        feed = ChangeFeed(self.control, (self.authenticator, snapshots), clock=self.clock, metrics=self.metrics)
        self.writer = ObjectWriter(self.control, sealer=SEALER, clock=self.clock, on_applied=feed.catch_up)
        self.services = AdminServices(
            authenticator=self.authenticator,
            control=self.control,
            writer=self.writer,
            snapshots=snapshots,
            ledger_reader=self.ledger,
            budgets=self.budgets,
            clock=self.clock,
            metrics=self.metrics,
            new_id=lambda: "error-1",
            **settings,
        )
        self.client = ASGIClient(create_admin_app(self.services), key=MASTER)
        self._batches = 0

    async def make(self, kind, object_id, spec, **columns):
        made = ControlObject(
            kind=kind, object_id=object_id, spec=spec_from(spec), created_at=_BEGIN, updated_at=_BEGIN, **columns
        )
        return await self.writer.create(made, author=_MAKER)

    async def make_key(self, name, **columns):
        await self.make(Kind.KEY, hash_key(plain_key(name)), KeySpec(key_name=mask_key(plain_key(name))), **columns)
        return plain_key(name)

    async def make_person(self, name, *, role="internal_user"):
        """Make a user with a key and return the key."""
        await self.make(Kind.USER, name, UserSpec(role=Role(role)), name=f"{name}@example.org")
        return await self.make_key(name, user_id=name)

    async def good(self, method, path, body=None, *, key=None, headers=None, **query):
        """Send a request that must be answered with 200, and return the answer's JSON."""
        answer = await self.client.request(method, path, body, key=key, headers=headers, query=query)
        assert answer.status == 200, answer.body
        return answer.json()

    async def refused(self, status, method, path, body=None, *, key=None, **query):
        """Send a request that must be refused and change nothing; return the error."""
        before = await self.everything()
        answer = await self.client.request(method, path, body, key=key, query=query)
        assert answer.status == status, answer.body
        assert answer.error["code"] == str(status)
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert await self.everything() == before
        return answer.error

    async def everything(self):
        """Return all that lives, and how often anything was written."""
        loaded = await self.control.load(tuple(Kind))
        return loaded.revision, {each.ref: each for each in loaded.objects}

    async def find(self, kind, object_id):
        return await self.control.find(ObjectRef(kind, object_id))

    async def audit_since(self, revision):
        """Return the audit rows after so many, the oldest first."""
        page = await self.control.list_audit(AuditFilter(), offset=0, limit=1_000)
        return list(reversed(page.rows))[revision:]

    async def spend(self, nano_usd, **attribution):
        """Commit one event to the ledger."""
        now = self.clock.now()
        event = SpendEvent(
            event_id=new_event_id(now),
            call_type="chat",
            endpoint="/v1/chat/completions",
            status="success",
            started_at=now,
            ended_at=now,
            cost_nano_usd=nano_usd,
            **{"key_hash": "hash", **attribution},
        )
        self._batches += 1
        await self.ledger.commit(batch_of("producer", self._batches, [event]))

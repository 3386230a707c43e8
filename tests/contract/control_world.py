"""The admin API on a store in memory, with a configuration file, and callers of every role."""

from __future__ import annotations

from typing import Any

from asgi_client import Answer, ASGIClient
from models_kit import SEALER, FixedPrices, builder_of, settings_of
from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import KeySpec, hash_key
from tallystick.access.users import Role, UserSpec
from tallystick.admin.app import create_admin_app
from tallystick.admin.services import AdminServices
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import ControlObject, Kind, spec_from
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.control.store import AuditFilter, Author
from tallystick.control.writer import ObjectWriter
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryStore
from tallystick.testing.control_store import MemoryControlStore

MASTER = "sk-the-master-key-of-this-test"
BY = Author(key_hash="test")


class ControlWorld:
    """One instance; `client` has the master key."""

    def __init__(
        self, tmp_path: Any, text: str = "", *, environ: dict[str, str] | None = None, store: Any = None
    ) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.control = store or MemoryControlStore(clock=self.clock)
        self.authenticator = Authenticator(
            self.control, master_key_hash=hash_key(MASTER), clock=self.clock, metrics=self.metrics
        )
        builder = builder_of(settings_of(tmp_path, text), clock=self.clock, prices=FixedPrices(), environ=environ)
        self.snapshots = SnapshotKeeper(self.control, builder)
        followers = (self.authenticator, self.snapshots)
        self.feed = ChangeFeed(self.control, followers, clock=self.clock, metrics=self.metrics)
        self.writer = ObjectWriter(self.control, sealer=SEALER, clock=self.clock, on_applied=self.feed.catch_up)
        ledger = MemoryStore()
        services = AdminServices(
            authenticator=self.authenticator,
            control=self.control,
            writer=self.writer,
            snapshots=self.snapshots,
            ledger_reader=ledger,
            budgets=MemoryBudgetStore(store=ledger, clock=self.clock),
            clock=self.clock,
            metrics=self.metrics,
            new_id=lambda: "error-1",
        )
        self.client = ASGIClient(create_admin_app(services), key=MASTER)

    async def key(self, *, role: Role | None = None, team_id: str = "", **spec: Any) -> str:
        """Make a key, with a user of this role, and return it."""
        name = f"sk-{role or 'plain'}-{team_id}-{len(spec)}-{'-'.join(spec.get('models', ()))}-0123456789"
        now = self.clock.now()
        made = [
            ControlObject(
                kind=Kind.KEY,
                object_id=hash_key(name),
                team_id=team_id,
                user_id=f"user-{role}" if role else "",
                spec=spec_from(KeySpec(**spec)),
                created_at=now,
                updated_at=now,
            )
        ]
        if role is not None:
            user = spec_from(UserSpec(role=role))
            made.append(
                ControlObject(kind=Kind.USER, object_id=f"user-{role}", spec=user, created_at=now, updated_at=now)
            )
        await self.writer.apply([(None, each) for each in made], author=BY, action="created")
        return name

    async def team(self, team_id: str, **spec: Any) -> None:
        now = self.clock.now()
        team = ControlObject(kind=Kind.TEAM, object_id=team_id, spec=spec, created_at=now, updated_at=now)
        await self.writer.create(team, author=BY)

    async def ok(self, method: str, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> Any:
        """Send a request that must succeed, and return its JSON."""
        answer = await self.client.request(method, path, body, key=key, query=query)
        assert 200 <= answer.status < 300, answer.body
        return answer.json() if answer.body else None

    async def refused(
        self, status: int, method: str, path: str, body: Any = None, *, key: str | None = None, **query: Any
    ) -> dict[str, Any]:
        """Send a request that must be refused with this status, and return the error."""
        answer: Answer = await self.client.request(method, path, body, key=key, query=query)
        assert answer.status == status, answer.body
        assert answer.error["code"] == str(status)
        assert set(answer.error) == {"message", "type", "param", "code"}
        return answer.error

    async def everything_written(self) -> str:
        """Return all that is at rest: objects and audit."""
        loaded = await self.control.load(list(Kind))
        audit = await self.control.list_audit(AuditFilter(), offset=0, limit=1_000)
        return repr(loaded) + repr(audit)

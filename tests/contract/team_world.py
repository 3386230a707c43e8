"""The world of the authorization matrix: two organizations, three teams, and the callers, on a store in memory.

PA proxy admin, OA admin of organization A, TA admin of team alpha, IU, OW and UN members of alpha, XO member of beta, SA service
account of alpha, OB admin of organization B. alpha and gamma belong to organization A, beta to B.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import to_builtins
from msgspec.structs import replace

from asgi_client import ASGIClient
from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import KeySpec, hash_key, mask_key
from tallystick.access.teams import MemberSpec, OrganizationSpec, TeamSpec
from tallystick.access.users import Role, UserSpec
from tallystick.admin.app import create_admin_app
from tallystick.admin.services import AdminServices
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id
from tallystick.control.store import Author
from tallystick.control.writer import ObjectWriter
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryStore
from tallystick.testing.control_store import MemoryControlStore

MASTER = "sk-the-master-key-of-this-test"
CALLERS = ("PA", "OA", "TA", "IU", "OW", "UN", "XO", "SA", "OB")
ORGANIZATIONS = {"alpha": "org_a", "gamma": "org_a", "beta": "org_b"}
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_AUTHOR = Author(key_hash="test")


def plain_key(caller):
    """Return the key that a caller presents."""
    return f"sk-key-of-{caller}-0123456789"


class TeamWorld:
    """The admin API, and everybody who calls it."""

    def __init__(self):
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.metrics = Metrics()
        self.control = MemoryControlStore(clock=self.clock)
        self.authenticator = Authenticator(
            self.control, master_key_hash=hash_key(MASTER), clock=self.clock, metrics=self.metrics
        )
        self.feed = ChangeFeed(self.control, (self.authenticator,), clock=self.clock, metrics=self.metrics)
        self.writer = ObjectWriter(self.control, clock=self.clock, on_applied=self.feed.catch_up)
        self.services = AdminServices(
            authenticator=self.authenticator,
            control=self.control,
            writer=self.writer,
            ledger_reader=self.store,
            clock=self.clock,
            metrics=self.metrics,
            new_id=lambda: "error-1",
        )
        self.client = ASGIClient(create_admin_app(self.services), key=MASTER)
        self._batches = 0

    async def populate(self):
        for organization_id in ("org_a", "org_b"):
            await self.make(Kind.ORGANIZATION, organization_id, OrganizationSpec())
        for team_id, organization_id in ORGANIZATIONS.items():
            await self.make(Kind.TEAM, team_id, TeamSpec(), organization_id=organization_id)
        for caller in CALLERS:
            role = {"PA": Role.PROXY_ADMIN, "OA": Role.ORG_ADMIN, "OB": Role.ORG_ADMIN}.get(caller, Role.INTERNAL_USER)
            if caller != "SA":
                await self.make(Kind.USER, caller, UserSpec(role=role), name=f"{caller.lower()}@example.org")
            await self.make_key(caller, user_id="" if caller == "SA" else caller, team_id="alpha" * (caller == "SA"))
        await self.join_organization("OA", "org_a")
        await self.join_organization("OB", "org_b")
        await self.join("TA", "alpha", role="admin")
        for caller in ("IU", "OW", "UN"):
            await self.join(caller, "alpha")
        await self.join("XO", "beta")
        return self

    async def make(self, kind, object_id, spec, **columns):
        made = ControlObject(
            kind=kind, object_id=object_id, spec=to_builtins(spec), created_at=_BEGIN, updated_at=_BEGIN, **columns
        )
        return await self.writer.create(made, author=_AUTHOR)

    async def change(self, kind, object_id, **fields):
        await self.writer.update(ObjectRef(kind, object_id), lambda held: replace(held, **fields), author=_AUTHOR)

    async def make_key(self, caller, **columns):
        key = plain_key(caller)
        return await self.make(Kind.KEY, hash_key(key), KeySpec(key_name=mask_key(key)), **columns)

    async def make_user_with_key(self, name, *, role="internal_user"):
        await self.make(Kind.USER, name, UserSpec(role=Role(role)), name=f"{name.lower()}@example.org")
        await self.make_key(name, user_id=name)

    async def join(self, user_id, team_id, *, role="user", **spec):
        object_id = member_id(team_id, user_id)
        await self.make(Kind.TEAM_MEMBER, object_id, MemberSpec(role=role, **spec), team_id=team_id, user_id=user_id)

    async def join_organization(self, user_id, organization_id, *, role="org_admin"):
        object_id = member_id(organization_id, user_id)
        await self.make(
            Kind.ORGANIZATION_MEMBER,
            object_id,
            MemberSpec(role=role),
            organization_id=organization_id,
            user_id=user_id,
        )

    async def post(self, path, body=None, *, as_caller="PA", method="POST"):
        return await self.client.request(method, path, body, key=plain_key(as_caller))

    async def get(self, path, *, as_caller="PA", **query):
        return await self.client.get(path, key=plain_key(as_caller), **query)

    async def good(self, path, body=None, *, as_caller="PA", method="POST"):
        """Post, and return the answer's JSON."""
        answer = await self.post(path, body, as_caller=as_caller, method=method)
        assert answer.status == 200, answer.body
        return answer.json()

    async def refused(self, status, path, body=None, *, as_caller="PA", method="POST"):
        """Post, and return the error, when nothing has changed."""
        before = await self.everything()
        answer = await self.post(path, body, as_caller=as_caller, method=method)
        assert answer.status == status, answer.body
        assert answer.error["code"] == str(status)
        assert await self.everything() == before
        return answer.error

    async def info(self, team_id, *, as_caller="PA"):
        answer = await self.get("/team/info", as_caller=as_caller, team_id=team_id)
        assert answer.status == 200, answer.body
        return answer.json()

    async def find(self, kind, *parts):
        return await self.control.find(ObjectRef(kind, parts[0] if len(parts) == 1 else member_id(*parts)))

    async def everything(self):
        """Return all that lives, and how often anything was written."""
        loaded = await self.control.load(tuple(Kind))
        return loaded.revision, {each.ref: each for each in loaded.objects}

    async def spend(self, nano_usd, **attribution):
        """Commit one event to the ledger."""
        now = self.clock.now()
        event = SpendEvent(
            event_id=new_event_id(now), call_type="acompletion", endpoint="/v1/chat/completions", status="success",
            started_at=now, ended_at=now, cost_nano_usd=nano_usd, **attribution,
        )  # fmt: skip
        self._batches += 1
        await self.store.commit(batch_of("producer", self._batches, [event]))

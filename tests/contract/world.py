"""The world of the authorization matrix: organizations A and B, their teams, and a caller for each column."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from asgi_client import Answer, ASGIClient
from models_kit import SEALER, builder_of, settings_of
from tallystick.access.authenticator import Authenticator
from tallystick.access.keys import KeySpec, hash_key, mask_key
from tallystick.access.teams import MemberSpec, OrganizationSpec, TeamSpec
from tallystick.access.users import Role, UserSpec
from tallystick.admin.app import create_admin_app
from tallystick.admin.services import AdminServices
from tallystick.control.feed import ChangeFeed
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id, spec_as, spec_from
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.control.store import Author
from tallystick.control.writer import ObjectWriter
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryStore
from tallystick.testing.control_store import MemoryControlStore

MASTER = "sk-the-master-key-of-this-world"
ORG_A, ORG_B = "org-a", "org-b"
ALPHA, BETA, GAMMA = "alpha", "beta", "gamma"
TEAMS = {ALPHA: ORG_A, GAMMA: ORG_A, BETA: ORG_B}
COLUMNS = ("PA", "OA", "TA", "IU", "OW", "UN", "XO", "SA", "OB")
_ROLES = {"PA": Role.PROXY_ADMIN, "OA": Role.ORG_ADMIN, "OB": Role.ORG_ADMIN}
_MEMBERS = {"TA": (ALPHA, "admin"), "IU": (ALPHA, "user"), "OW": (ALPHA, "user"), "UN": (ALPHA, "user"),
            "XO": (BETA, "user")}  # fmt: skip
_ORG_ADMINS = {"OA": ORG_A, "OB": ORG_B}
_BY = Author(key_hash="litellm_proxy_master_key")


class World:
    """The admin API in memory, with everybody in their places. `await World.build()`."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryStore()
        self.budgets = MemoryBudgetStore(store=self.ledger, clock=self.clock)
        self.metrics = Metrics()
        self.control = MemoryControlStore(clock=self.clock)
        self.authenticator = Authenticator(
            self.control, master_key_hash=hash_key(MASTER), clock=self.clock, metrics=self.metrics
        )
        self.snapshots = SnapshotKeeper(self.control, builder_of(settings_of(), clock=self.clock))
        followers = (self.authenticator, self.snapshots)
        self.feed = ChangeFeed(self.control, followers, clock=self.clock, metrics=self.metrics)
        self.writer = ObjectWriter(self.control, sealer=SEALER, clock=self.clock, on_applied=self.feed.catch_up)
        _STAGE["world"] = self
        self.client = ASGIClient(_app(), key=MASTER)
        self.keys: dict[str, str] = {}
        """The key with which each column calls: of its user and without a team; SA's is one of alpha without a user."""
        self._commits = 0
        self.owner_key = ""
        """OW's key in alpha."""
        self.cross_key = ""
        """XO's key in beta."""

    @classmethod
    async def build(cls) -> World:
        world = cls()
        for organization_id in (ORG_A, ORG_B):
            await world.put(Kind.ORGANIZATION, organization_id, OrganizationSpec(), name=organization_id)
        for team_id, organization_id in TEAMS.items():
            await world.put(Kind.TEAM, team_id, TeamSpec(), name=team_id, organization_id=organization_id)
        for column in COLUMNS:
            if column == "SA":
                world.keys[column] = await world.put_key("sk-calling-key-of-sa", team_id=ALPHA)
            else:
                await world._put_user(column)
        world.owner_key = await world.put_key("sk-key-of-ow-in-alpha", user_id=user_of("OW"), team_id=ALPHA)
        world.cross_key = await world.put_key("sk-key-of-xo-in-beta", user_id=user_of("XO"), team_id=BETA)
        return world

    async def put(self, kind: Kind, object_id: str, spec: Any, **columns: Any) -> ControlObject:
        """Write an object as it is."""
        now = self.clock.now()
        made = ControlObject(
            kind=kind, object_id=object_id, spec=spec_from(spec), created_at=now, updated_at=now, **columns
        )
        return await self.writer.create(made, author=_BY)

    async def put_key(self, plain: str, *, spec: KeySpec | None = None, **columns: Any) -> str:
        """Write a key; return it."""
        spec = spec or KeySpec(key_name=mask_key(plain))
        await self.put(Kind.KEY, hash_key(plain), spec, **columns)
        return plain

    async def put_member(self, team_id: str, user_id: str, role: str) -> None:
        """Write a membership in a team."""
        await self.put(
            Kind.TEAM_MEMBER, member_id(team_id, user_id), MemberSpec(role=role), team_id=team_id, user_id=user_id
        )

    async def permit(self, team_id: str, *permissions: str) -> None:
        """Let the plain members of a team do this."""

        def patch(team: ControlObject) -> ControlObject:
            spec = msgspec.structs.replace(spec_as(TeamSpec, team.spec), member_permissions=permissions)
            return msgspec.structs.replace(team, spec=spec_from(spec))

        await self.writer.update(ObjectRef(Kind.TEAM, team_id), patch, author=_BY)

    async def call(self, column: str, method: str, path: str, body: Any = None, **query: Any) -> Answer:
        """Call the API as one of the columns."""
        return await self.client.request(method, path, body, key=self.keys[column], query=query)

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        """Call with the master key; return the answer's JSON, or the error when another status is expected."""
        answer = await self.client.request(method, path, body, query=query)
        assert answer.status == status, (answer.status, answer.body)
        return answer.json() if status == 200 else answer.error

    async def spend(self, cost_nano_usd: int, **ids: str) -> None:
        """Commit a call of this cost to the ledger."""
        self._commits += 1
        moment = self.clock.now()
        event = SpendEvent(
            event_id=new_event_id(moment),
            call_type="acompletion",
            endpoint="/v1/chat/completions",
            status="success",
            started_at=moment,
            ended_at=moment,
            cost_nano_usd=cost_nano_usd,
            cost_status="priced",
            **ids,
        )
        await self.ledger.commit(batch_of(f"producer-{self._commits}", 1, [event]))

    async def objects(self) -> dict[ObjectRef, ControlObject]:
        """Return everything that lives."""
        return {each.ref: each for each in (await self.control.load(tuple(Kind))).objects}

    async def _put_user(self, column: str) -> None:
        user_id = user_of(column)
        role = _ROLES.get(column, Role.INTERNAL_USER)
        await self.put(Kind.USER, user_id, UserSpec(role=role), name=f"{user_id}@example.com")
        if column in _MEMBERS:
            team_id, team_role = _MEMBERS[column]
            await self.put_member(team_id, user_id, team_role)
        if column in _ORG_ADMINS:
            organization_id = _ORG_ADMINS[column]
            await self.put(
                Kind.ORGANIZATION_MEMBER,
                member_id(organization_id, user_id),
                MemberSpec(role="org_admin"),
                organization_id=organization_id,
                user_id=user_id,
            )
        self.keys[column] = await self.put_key(f"sk-calling-key-of-{column.lower()}", user_id=user_id)


class _Lent:
    """A service of the world that was built last."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(_STAGE["world"], self._name), attribute)


_STAGE: dict[str, World] = {}


@cache
def _app() -> Any:
    """Return the application, which takes longer to make than a world: it serves the world that was built last."""
    lent: dict[str, Any] = {
        "ledger_reader": _Lent("ledger"),
        "budgets": _Lent("budgets"),
        **{name: _Lent(name) for name in ("authenticator", "control", "writer", "snapshots", "clock", "metrics")},
    }
    return create_admin_app(AdminServices(new_id=lambda: "error-1", **lent))


def user_of(column: str) -> str:
    """Return the id of a column's user."""
    return f"user-{column.lower()}"


def cells(matrix: str) -> list[tuple[str, str, str, int]]:
    """Return the pinned cells of a matrix: action, target, column, status."""
    head, *rows = [line.split() for line in matrix.strip().splitlines()]
    found = []
    for name, *statuses in rows:
        action, target = name.split("/")
        assert len(statuses) == len(head) - 1, name
        found += [(action, target, who, int(code)) for who, code in zip(head[1:], statuses, strict=True) if code != "-"]
    return found

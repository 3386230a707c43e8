"""The world of the authorization matrix, with the words of the tests about teams."""

from __future__ import annotations

from msgspec import to_builtins
from msgspec.structs import replace

from contract.world import _BY, TEAMS, World, user_of
from tallystick.access.teams import MemberSpec
from tallystick.access.users import Role, UserSpec
from tallystick.control.objects import ControlObject, Kind, ObjectRef, member_id
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import new_event_id

__all__ = ["TEAMS", "TeamWorld", "user_of"]


class TeamWorld(World):
    """`await TeamWorld.build()`."""

    batches = 0

    async def make(self, kind, object_id, spec, **columns):
        """Write an object as it is; `spec` may be plain JSON."""
        now = self.clock.now()
        made = ControlObject(
            kind=kind, object_id=object_id, spec=to_builtins(spec), created_at=now, updated_at=now, **columns
        )
        return await self.writer.create(made, author=_BY)

    async def change(self, kind, object_id, **fields):
        await self.writer.update(ObjectRef(kind, object_id), lambda held: replace(held, **fields), author=_BY)

    async def make_key(self, caller, **columns):
        """Write a key with which `caller` calls."""
        self.keys[caller] = await self.put_key(f"sk-calling-key-of-{caller}", **columns)

    async def make_user_with_key(self, name, *, role="internal_user"):
        await self.make(Kind.USER, name, UserSpec(role=Role(role)), name=f"{name}@example.com")
        await self.make_key(name, user_id=name)

    async def join_organization(self, user_id, organization_id, *, role="org_admin"):
        columns = {"organization_id": organization_id, "user_id": user_id}
        await self.make(Kind.ORGANIZATION_MEMBER, member_id(organization_id, user_id), MemberSpec(role=role), **columns)

    async def post(self, path, body=None, *, as_caller="PA", method="POST"):
        return await self.call(as_caller, method, path, body)

    async def get(self, path, *, as_caller="PA", **query):
        return await self.call(as_caller, "GET", path, **query)

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

    async def find(self, kind, object_id):
        return await self.control.find(ObjectRef(kind, object_id))

    async def everything(self):
        """Return all that lives, and how often anything was written."""
        return await self.control.revision(), await self.objects()

    async def spend(self, nano_usd, **attribution):
        """Commit one event to the ledger."""
        now = self.clock.now()
        event = SpendEvent(
            event_id=new_event_id(now), call_type="acompletion", endpoint="/v1/chat/completions", status="success",
            started_at=now, ended_at=now, cost_nano_usd=nano_usd, **attribution,
        )  # fmt: skip
        self.batches += 1
        await self.ledger.commit(batch_of("producer", self.batches, [event]))

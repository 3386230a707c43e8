"""Who spends a budget: for each kind of scope, what an admin makes for it and how calls are made that it bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from acceptance.budget_kit import Headers, Instances

DEFAULT_BUDGET = "budget-of-strangers"
"""The `max_end_user_budget_id` of the server."""
# Windows that end on the same days everywhere, years apart: none ends while a test runs.
SHORT, LONG = "700d", "900d"


@dataclass(kw_only=True)
class Spender:
    """Whose calls a budget bounds, how they are made, and what refusals call the budget."""

    headers: Headers
    names: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    budgets: int = 1
    """So many of them can be used up, one after the other."""


Makes = Callable[[Instances, str, float], Awaitable[Spender]]
"""Makes what spends a budget of this name and limit in USD."""


async def _key(instances: Instances, name: str, limit: float) -> Spender:
    return Spender(headers=await instances.key(key_alias=name, max_budget=limit), names=(f"Key={name}",))


async def _team(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/team/new", {"team_id": name, "max_budget": limit})
    return Spender(headers=await instances.key(team_id=name), names=(f"Team={name}",))


async def _team_member(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/team/new", {"team_id": name})
    member = {"member": {"role": "user", "user_id": "ada"}, "team_id": name, "max_budget_in_team": limit}
    await instances.write("/team/member_add", member)
    return Spender(headers=await instances.key(team_id=name, user_id="ada"), names=(f"User=ada in Team={name}",))


async def _member_by_default(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/team/new", {"team_id": name, "team_member_budget": limit})
    await instances.write("/team/member_add", {"member": {"role": "user", "user_id": "bob"}, "team_id": name})
    return Spender(headers=await instances.key(team_id=name, user_id="bob"), names=(f"User=bob in Team={name}",))


async def _user(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/user/new", {"user_id": name, "max_budget": limit, "auto_create_key": False})
    return Spender(headers=await instances.key(user_id=name), names=(f"ExceededBudget: User={name}",))


async def _organization(instances: Instances, name: str, limit: float) -> Spender:
    body = {"organization_id": name, "organization_alias": name, "max_budget": limit}
    await instances.write("/organization/new", body)
    return Spender(headers=await instances.key(organization_id=name), names=(f"Organization={name}",))


async def _organization_member(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/organization/new", {"organization_id": name, "organization_alias": name})
    member = {"member": {"role": "internal_user", "user_id": "cleo"}, "organization_id": name}
    await instances.write("/organization/member_add", {**member, "max_budget_in_organization": limit})
    headers = await instances.key(organization_id=name, user_id="cleo")
    return Spender(headers=headers, names=(f"User=cleo in Organization={name}",))


async def _end_user(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/customer/new", {"user_id": name, "max_budget": limit})
    return Spender(headers=await instances.key(), fields={"user": name}, names=(f"End User={name}",))


async def _stranger(instances: Instances, name: str, limit: float) -> Spender:
    """An end user whom nobody has seen before the first 64 calls name it."""
    await instances.write("/budget/new", {"budget_id": DEFAULT_BUDGET, "max_budget": limit})
    return Spender(headers=await instances.key(), fields={"user": name}, names=(f"End User={name}",))


async def _tag(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/tag/new", {"name": name, "max_budget": limit})
    headers = {**await instances.key(), "x-litellm-tags": f"other,{name}"}
    return Spender(headers=headers, names=(f"Tag={name}",))


async def _model_of_key(instances: Instances, name: str, limit: float) -> Spender:
    of_models = {"fixed": {"budget_limit": limit, "time_period": SHORT}}
    return Spender(
        headers=await instances.key(key_alias=name, model_max_budget=of_models), names=("the model 'fixed'",)
    )


async def _session(instances: Instances, name: str, limit: float) -> Spender:
    headers = {**await instances.key(metadata={"max_budget_per_session": limit}), "x-litellm-session-id": name}
    return Spender(headers=headers, names=(f"Session={name}",))


async def _providers(instances: Instances, name: str, limit: float) -> Spender:
    """Two providers, each with this limit in the file: calls go on to the other one, until that has spent its own."""
    names = ("Provider=groq", "Provider=deepseek")
    return Spender(headers=await instances.key(), fields={"model": "either"}, names=names, budgets=2)


async def _several(instances: Instances, name: str, limit: float) -> Spender:
    """Six scopes at once, of which the team's has least."""
    await instances.write("/user/new", {"user_id": name, "max_budget": 4 * limit, "auto_create_key": False})
    await instances.write("/team/new", {"team_id": name, "max_budget": limit})
    member = {"member": {"role": "user", "user_id": name}, "team_id": name, "max_budget_in_team": 3 * limit}
    await instances.write("/team/member_add", member)
    await instances.write("/customer/new", {"user_id": f"{name}-customer", "max_budget": 2 * limit})
    await instances.write("/tag/new", {"name": f"{name}-tag", "max_budget": 2 * limit})
    key = await instances.key(team_id=name, user_id=name, max_budget=1.5 * limit)
    headers = {**key, "x-litellm-tags": f"{name}-tag"}
    return Spender(headers=headers, fields={"user": f"{name}-customer"}, names=(f"Team={name}",))


async def _windows(instances: Instances, name: str, limit: float) -> Spender:
    """Three windows of one key, of which the one in the middle has least."""
    budgets = [{"budget_duration": SHORT, "max_budget": limit}, {"budget_duration": "1mo", "max_budget": 3 * limit}]
    headers = await instances.key(key_alias=name, max_budget=2 * limit, budget_duration=LONG, budget_limits=budgets)
    return Spender(headers=headers, names=(f"Key={name}",))


SPENDERS: dict[str, Makes] = {
    "key": _key,
    "team": _team,
    "team member": _team_member,
    "team member by default": _member_by_default,
    "user": _user,
    "organization": _organization,
    "organization member": _organization_member,
    "end user": _end_user,
    "end user never seen": _stranger,
    "tag": _tag,
    "model of a key": _model_of_key,
    "session": _session,
    "two providers": _providers,
    "several scopes": _several,
    "several windows": _windows,
}

"""Each kind of budget under many calls at once: a key's, a team's, an end user's, a provider's, everybody's …

pytest tests/acceptance/test_budget_scopes.py --budget-calls 1000 -s    makes 1,000 calls against 50 calls' money
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from acceptance.budget_kit import (
    CALL_NANO_USD,
    ESTIMATE_NANO_USD_MAX,
    MAX_TOKENS,
    MODELS,
    Headers,
    Instances,
    answered,
    assert_held,
    assert_refusals,
    started,
    usable,
    usd,
)
from server_kit import ServerProcess, UpstreamProcess, model_list, upstream_process

_CLIENTS = 64
_DEFAULT_BUDGET = "budget-of-strangers"
# Windows that end on the same days everywhere, years apart: none ends while a test runs.
_SHORT, _LONG = "700d", "900d"


@dataclass(kw_only=True)
class Spender:
    """Whose calls a budget bounds, how they are made, and what refusals call the budget."""

    headers: Headers
    names: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    budgets: int = 1
    """So many of them can be used up, one after the other."""


Makes = Callable[[Instances, str, float], Awaitable[Spender]]


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
    await instances.write("/budget/new", {"budget_id": _DEFAULT_BUDGET, "max_budget": limit})
    return Spender(headers=await instances.key(), fields={"user": name}, names=(f"End User={name}",))


async def _tag(instances: Instances, name: str, limit: float) -> Spender:
    await instances.write("/tag/new", {"name": name, "max_budget": limit})
    headers = {**await instances.key(), "x-litellm-tags": f"other,{name}"}
    return Spender(headers=headers, names=(f"Tag={name}",))


async def _model_of_key(instances: Instances, name: str, limit: float) -> Spender:
    of_models = {"fixed": {"budget_limit": limit, "time_period": _SHORT}}
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
    budgets = [{"budget_duration": _SHORT, "max_budget": limit}, {"budget_duration": "1mo", "max_budget": 3 * limit}]
    headers = await instances.key(key_alias=name, max_budget=2 * limit, budget_duration=_LONG, budget_limits=budgets)
    return Spender(headers=headers, names=(f"Key={name}",))


_SCOPES: dict[str, Makes] = {
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


@pytest.fixture(scope="module")
def module_upstream() -> Iterator[UpstreamProcess]:
    with upstream_process() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, module_upstream: UpstreamProcess
) -> Iterator[ServerProcess]:
    """One server for all scopes: none is in the other's way."""
    limit = usd(int(request.config.getoption("--budget-calls", 400)) // 20)
    either = [
        {
            "model_name": "either",
            "litellm_params": {**model["litellm_params"], "model": f"{provider}/fixed"},
            "model_info": {"id": provider},
        }
        for provider in ("groq", "deepseek")
        for model in model_list(module_upstream.url, ("fixed",))
    ]
    sections = {
        "model_list": [*model_list(module_upstream.url, MODELS), *either],
        "litellm_settings": {"max_end_user_budget_id": _DEFAULT_BUDGET},
        "router_settings": {
            "provider_budget_config": {
                "groq": {"budget_limit": limit, "time_period": _SHORT},
                "deepseek": {"budget_limit": limit},
            }
        },
    }
    path = tmp_path_factory.mktemp("scopes")
    with started(path, module_upstream, None, sections=sections) as servers:
        yield servers[0]


@pytest.mark.parametrize("scope", _SCOPES)
async def test_the_budget_of_each_scope_holds(
    server: ServerProcess,
    module_upstream: UpstreamProcess,
    session: aiohttp.ClientSession,
    budget_calls: int,
    scope: str,
) -> None:
    instances = Instances([server], session)
    await instances.ready()
    budget = budget_calls // 20
    spender = await _SCOPES[scope](instances, f"the-{scope.replace(' ', '-')}", usd(budget))
    told = await _spend(instances, module_upstream, spender, budget_calls)
    print(f"\n{scope}: {told}")


async def test_another_model_of_the_key_and_another_stranger_have_their_own(
    server: ServerProcess, module_upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> None:
    instances = Instances([server], session)
    await instances.ready()
    headers = await instances.key(model_max_budget={"fixed": {"budget_limit": usd(1) / 2, "time_period": _SHORT}})
    assert (await instances.call(0, headers, max_tokens=MAX_TOKENS)).status == 422
    assert (await instances.call(0, headers, max_tokens=MAX_TOKENS, model="fixed:5")).status == 200


async def test_keys_that_share_a_budget_row_spend_it_each_for_itself(
    server: ServerProcess, module_upstream: UpstreamProcess, session: aiohttp.ClientSession, budget_calls: int
) -> None:
    instances = Instances([server], session)
    await instances.ready()
    row = await instances.write("/budget/new", {"max_budget": usd(budget_calls // 20)})
    for name in ("first", "second"):
        headers = await instances.key(key_alias=name, budget_id=row["budget_id"])
        await _spend(instances, module_upstream, Spender(headers=headers, names=(f"Key={name}",)), budget_calls)


async def test_the_ledger_of_all_of_them_adds_up(server: ServerProcess, session: aiohttp.ClientSession) -> None:
    instances = Instances([server], session)
    await instances.ready()
    await instances.stop_and_verify()


async def test_the_budget_of_everything_holds(
    tmp_path: Path, upstream: UpstreamProcess, session: aiohttp.ClientSession, budget_calls: int
) -> None:
    budget = budget_calls // 20
    sections = {"litellm_settings": {"max_budget": usd(budget), "budget_duration": _LONG}}
    with started(tmp_path, upstream, None, sections=sections) as servers:
        instances = Instances(servers, session)
        await instances.ready()
        spender = Spender(headers=await instances.key(), names=("Proxy",))
        print(await _spend(instances, upstream, spender, budget_calls))
        other = await instances.call(0, await instances.key(), max_tokens=MAX_TOKENS)
        assert assert_refusals([other], "Proxy") == 1
        await instances.stop_and_verify()


async def _spend(instances: Instances, upstream: UpstreamProcess, spender: Spender, count: int) -> str:
    """Use a budget up by many calls at once, and check what came of it."""
    budget = count // 20
    fields = {"max_tokens": MAX_TOKENS, **spender.fields}
    calls = await instances.calls(spender.headers, count=count, clients=_CLIENTS, **fields)
    at_once = len(answered(calls))
    await instances.use_up(spender.headers, calls, wanted=spender.budgets * usable(budget), **fields)
    events = await assert_held(instances, upstream, calls, budget_calls=spender.budgets * budget)
    by_provider: dict[str, int] = {}
    for event in events:
        by_provider[event.provider] = by_provider.get(event.provider, 0) + event.cost_nano_usd
    assert len(by_provider) == spender.budgets
    for spent in by_provider.values():
        assert 0 <= budget * CALL_NANO_USD - spent < ESTIMATE_NANO_USD_MAX
    refused = assert_refusals(calls, *spender.names)
    return f"{at_once} of {spender.budgets * budget} at once, {len(events)} in all, {refused} refused"

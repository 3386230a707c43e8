"""Each kind of budget under many calls at once: a key's, a team's, an end user's, a provider's, everybody's …

pytest tests/acceptance/test_budget_scopes.py --budget-calls 1000 -s    makes 1,000 calls against 50 calls' money
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from acceptance.budget_fleet import MODELS, started
from acceptance.budget_kit import (
    CALL_NANO_USD,
    ESTIMATE_NANO_USD_MAX,
    MAX_TOKENS,
    Instances,
    answered,
    assert_held,
    assert_refusals,
    usable,
    usd,
)
from acceptance.budget_spenders import DEFAULT_BUDGET, LONG, SHORT, SPENDERS, Spender
from server_kit import ServerProcess, UpstreamProcess, model_list, upstream_process

_CLIENTS = 64


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
        "litellm_settings": {"max_end_user_budget_id": DEFAULT_BUDGET},
        "router_settings": {
            "provider_budget_config": {
                "groq": {"budget_limit": limit, "time_period": SHORT},
                "deepseek": {"budget_limit": limit},
            }
        },
    }
    path = tmp_path_factory.mktemp("scopes")
    with started(path, module_upstream, None, sections=sections) as servers:
        yield servers[0]


@pytest.mark.parametrize("scope", SPENDERS)
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
    spender = await SPENDERS[scope](instances, f"the-{scope.replace(' ', '-')}", usd(budget))
    told = await _spend(instances, module_upstream, spender, budget_calls)
    print(f"\n{scope}: {told}")


async def test_another_model_of_the_key_and_another_stranger_have_their_own(
    server: ServerProcess, module_upstream: UpstreamProcess, session: aiohttp.ClientSession
) -> None:
    instances = Instances([server], session)
    await instances.ready()
    headers = await instances.key(model_max_budget={"fixed": {"budget_limit": usd(1) / 2, "time_period": SHORT}})
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
    sections = {"litellm_settings": {"max_budget": usd(budget), "budget_duration": LONG}}
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

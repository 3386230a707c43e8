"""Reports of spend: their shapes, their sums, their pages, and the reads of the clients that show them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from asgi_client import ASGIClient
from contract.control_world import ControlWorld
from contract.team_world import TeamWorld
from contract.world import MASTER
from tallystick.access.keys import KeySpec
from tallystick.control.objects import Kind
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import new_event_id
from tallystick.wire.usage import Usage

DAY = timedelta(days=1)
METRICS = {
    "spend", "prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "total_tokens", "successful_requests", "failed_requests", "api_requests",
}  # fmt: skip
BREAKDOWN = {"models", "model_groups", "providers", "endpoints", "api_keys", "entities", "mcp_servers"}
MODELS = """
model_list:
  - model_name: ours
    litellm_params: {model: openai/gpt-4o, api_key: sk-upstream}
  - model_name: unpriced
    litellm_params: {model: groq/unknown, api_key: sk-upstream}
"""
DAILY = ("/user", "/team", "/organization", "/tag", "/customer", "/end_user")


class Reports(TeamWorld):
    """A world with twelve calls on three days."""

    events: list

    @classmethod
    async def with_spend(cls):
        world = await cls.build()
        world.events = []
        await world.put(Kind.KEY, "hash-one", KeySpec(key_name="sk-...1111"), name="one", team_id="alpha")
        await world.put(Kind.TEAM, "named", {}, name="The named team")
        for number in range(12):
            await world.call_made(number)
        return world

    async def call_made(self, number):
        now = self.clock.now() - DAY * (number % 3) - timedelta(seconds=number)
        event = SpendEvent(
            event_id=new_event_id(now),
            call_type="acompletion",
            endpoint="/v1/chat/completions",
            status="failure" if number == 5 else "interrupted" if number == 7 else "success",
            error_code="500" if number == 5 else "",
            started_at=now,
            ended_at=now + timedelta(seconds=1),
            key_hash=("hash-one", "hash-two")[number % 2],
            user_id=("user-iu", "")[number % 2],
            team_id=("alpha", "named", "")[number // 4],
            organization_id="org-a" if number < 4 else "",
            end_user_id="customer" if number % 3 == 0 else "",
            tags=("red", "blue")[: number % 3],
            session_id="session" if number > 8 else "",
            model_group="small" if number < 6 else "large",
            model="small-1" if number < 6 else "large-1",
            provider="demo",
            usage=Usage(input_tokens=10 + number, output_tokens=3, cache_read_tokens=1),
            usage_source="provider",
            cost_nano_usd=1_000_000 * 2**number,
            provider_response_id=f"answer-{number}",
        )
        self.events.append(event)
        await self.ledger.commit(batch_of("world", number + 1, [event]))

    async def read(self, path, *, as_caller="PA", **query):
        answer = await self.get(path, as_caller=as_caller, **query)
        assert answer.status == 200, answer.body
        assert "x-tallystick-ignored-fields" not in answer.headers
        return answer.json()

    def cost(self, keep=lambda _: True):
        return sum(event.cost_nano_usd for event in self.events if keep(event))


def nano(dollars):
    return round(dollars * 10**9)


@pytest.fixture
async def world():
    return await Reports.with_spend()


# Activity


@pytest.mark.parametrize("path", ["/user/daily/activity", "/team/daily/activity", "/user/daily/activity/aggregated",
                                  "/team/daily/activity/aggregated", "/organization/daily/activity"])  # fmt: skip
async def test_activity_has_its_shape_and_sums_to_the_events(world, path):
    report = await world.read(path)
    assert [day["date"] for day in report["results"]] == sorted(
        {day["date"] for day in report["results"]}, reverse=True
    )
    for day in report["results"]:
        events = [event for event in world.events if event.started_at.date().isoformat() == day["date"]]
        metrics = day["metrics"]
        assert set(metrics) == METRICS
        assert nano(metrics["spend"]) == sum(event.cost_nano_usd for event in events)
        assert metrics["api_requests"] == len(events)
        assert metrics["successful_requests"] == sum(event.status == "success" for event in events)
        assert metrics["failed_requests"] == sum(event.status != "success" for event in events)
        assert metrics["prompt_tokens"] == sum(event.usage.input_tokens for event in events)
        assert metrics["total_tokens"] == metrics["prompt_tokens"] + metrics["completion_tokens"]
        assert set(day["breakdown"]) == BREAKDOWN
        for kind in ("models", "model_groups", "providers", "endpoints", "api_keys"):
            parts = day["breakdown"][kind].values()
            assert sum(nano(part["metrics"]["spend"]) for part in parts) == nano(metrics["spend"])
            for part in parts if kind != "api_keys" else ():
                assert set(part) == {"metrics", "metadata", "api_key_breakdown"}
                keys = part["api_key_breakdown"].values()
                assert sum(nano(key["metrics"]["spend"]) for key in keys) == nano(part["metrics"]["spend"])
                assert all(set(key["metadata"]) == {"key_alias", "team_id"} for key in keys)
    metadata = report["metadata"]
    assert nano(metadata["total_spend"]) == world.cost()
    assert metadata["total_api_requests"] == 12
    assert metadata["total_successful_requests"] == 10
    assert metadata["total_failed_requests"] == 2
    assert metadata["total_prompt_tokens"] == sum(event.usage.input_tokens for event in world.events)
    assert metadata["total_completion_tokens"] == 36
    assert metadata["total_tokens"] == metadata["total_prompt_tokens"] + 36
    assert (metadata["page"], metadata["total_pages"], metadata["has_more"]) == (1, 1, False)


async def test_names_of_keys_and_teams(world):
    day = (await world.read("/team/daily/activity", team_ids="alpha"))["results"][0]
    assert day["breakdown"]["entities"]["alpha"]["metadata"] == {"team_alias": "alpha"}
    one = day["breakdown"]["models"]["small-1"]["api_key_breakdown"]["hash-one"]
    assert one["metadata"] == {"key_alias": "one", "team_id": "alpha"}
    assert day["breakdown"]["api_keys"]["hash-one"]["metadata"]["key_alias"] == "one"
    whole = await world.read("/team/daily/activity")
    named = [day["breakdown"]["entities"].get("named") for day in whole["results"]]
    assert {part["metadata"]["team_alias"] for part in named if part} == {"The named team"}
    gone = [day["breakdown"]["api_keys"].get("hash-two") for day in whole["results"]]
    assert {part["metadata"]["key_alias"] for part in gone if part} == {""}


async def test_days_are_paged_and_past_the_end_there_is_nothing(world):
    today = world.clock.now().date()
    dates = {"start_date": (today - 4 * DAY).isoformat(), "end_date": today.isoformat(), "page_size": 2}
    pages = [await world.read("/user/daily/activity", **dates, page=page) for page in (1, 2, 3, 4)]
    assert [len(page["results"]) for page in pages] == [2, 1, 0, 0]
    assert [page["metadata"]["has_more"] for page in pages] == [True, True, False, False]
    assert {page["metadata"]["total_pages"] for page in pages} == {3}
    assert sum(nano(page["metadata"]["total_spend"]) for page in pages) == world.cost()


async def test_dates_bound_activity(world):
    today = world.clock.now().date()
    yesterday = (today - DAY).isoformat()
    report = await world.read("/user/daily/activity", start_date=yesterday, end_date=yesterday)
    assert [day["date"] for day in report["results"]] == [yesterday]
    expected = world.cost(lambda event: event.started_at.date().isoformat() == yesterday)
    assert nano(report["metadata"]["total_spend"]) == expected
    late = await world.read("/user/daily/activity", start_date="2099-01-01", end_date="2099-12-31")
    assert late["results"] == []


async def test_activity_is_filtered(world):
    async def spent(path, **query):
        return nano((await world.read(path, **query))["metadata"]["total_spend"])

    assert await spent("/user/daily/activity", model="large") == world.cost(lambda e: e.model_group == "large")
    assert await spent("/user/daily/activity", model="large-1,small-1") == world.cost()
    assert await spent("/user/daily/activity", api_key="hash-two") == world.cost(lambda e: e.key_hash == "hash-two")
    assert await spent("/team/daily/activity", team_ids="alpha,named") == world.cost(lambda e: e.team_id)
    assert await spent("/team/daily/activity", team_ids="nobody") == 0
    assert await spent("/organization/daily/activity", organization_ids="org-a") == world.cost(
        lambda e: e.organization_id
    )
    assert await spent("/tag/daily/activity", tags="blue") == world.cost(lambda e: "blue" in e.tags)
    assert await spent("/tag/daily/activity", tags="red", model="small") == world.cost(
        lambda e: "red" in e.tags and e.model_group == "small"
    )
    for path, name in (("/customer", "customer_ids"), ("/end_user", "end_user_ids")):
        assert await spent(f"{path}/daily/activity", **{name: "customer"}) == world.cost(lambda e: e.end_user_id)
        assert await spent(f"{path}/daily/activity", **{name: "nobody"}) == 0


async def test_tags_and_customers_are_entities(world):
    for path, name in (("/tag", "red"), ("/customer", "customer"), ("/end_user", "customer")):
        report = await world.read(f"{path}/daily/activity")
        day = report["results"][-1]["breakdown"]
        assert set(day) == BREAKDOWN
        assert any(name in day["breakdown"]["entities"] for day in report["results"])
        assert day["api_keys"] == {}
        answer = await world.get(f"{path}/daily/activity", api_key="hash-one")
        assert (answer.status, answer.error["param"]) == (400, "api_key")


@pytest.mark.parametrize("path", [f"{noun}/daily/activity" for noun in DAILY])
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_date": "yesterday"}, "start_date"),
        ({"end_date": "2026-13-01"}, "end_date"),
        ({"start_date": "0001-01-01"}, "start_date"),
        ({"start_date": "2026-02-02", "end_date": "2026-02-01"}, "start_date"),
        ({"page": "0"}, "page"),
        ({"page_size": "many"}, "page_size"),
        ({"page_size": "1001"}, "page_size"),
    ],
)
async def test_bad_questions_are_refused_by_name(path, query, param):
    world = await Reports.build()
    answer = await world.get(path, **query)
    assert (answer.status, answer.error["param"]) == (400, param), answer.body


async def test_unknown_parameters_are_named(world):
    answer = await world.get("/user/daily/activity", timezone="60")
    assert answer.headers["x-tallystick-ignored-fields"] == "timezone"


# Logs


@pytest.mark.parametrize("path", ["/spend/logs/v2", "/spend/logs/ui"])
async def test_logs_come_in_pages(world, path):
    pages = [await world.read(path, page=page, page_size=5) for page in (1, 2, 3, 4)]
    assert [len(page["data"]) for page in pages] == [5, 5, 2, 0]
    assert {(page["total"], page["total_pages"], page["page_size"]) for page in pages} == {(12, 3, 5)}
    rows = [row for page in pages for row in page["data"]]
    assert [row["startTime"] for row in rows] == sorted((row["startTime"] for row in rows), reverse=True)
    assert sum(nano(row["spend"]) for row in rows) == world.cost()


@pytest.mark.parametrize(
    ("query", "keep"),
    [
        ({"api_key": "hash-one"}, lambda e: e.key_hash == "hash-one"),
        ({"user_id": "user-iu"}, lambda e: e.user_id == "user-iu"),
        ({"team_id": "named"}, lambda e: e.team_id == "named"),
        ({"session_id": "session"}, lambda e: e.session_id == "session"),
        ({"model": "small"}, lambda e: e.model_group == "small"),
        ({"end_user": "customer"}, lambda e: e.end_user_id == "customer"),
        ({"status_filter": "failure"}, lambda e: e.status != "success"),
        ({"status_filter": "success", "team_id": "alpha"}, lambda e: e.status == "success" and e.team_id == "alpha"),
        ({"min_spend": "0.004", "max_spend": "0.016"}, lambda e: 4_000_000 <= e.cost_nano_usd <= 16_000_000),
        ({"request_id": "answer-3"}, lambda e: e.provider_response_id == "answer-3"),
        ({"request_id": "nothing"}, lambda _: False),
    ],
)
async def test_logs_are_filtered(world, query, keep):
    page = await world.read("/spend/logs/v2", **query)
    assert {row["litellm_call_id"] for row in page["data"]} == {e.event_id for e in world.events if keep(e)}
    assert page["total"] == len(page["data"])


async def test_logs_between_times(world):
    now = world.clock.now()
    since, until = now - DAY - timedelta(hours=1), now - timedelta(hours=1)
    text = "%Y-%m-%d %H:%M:%S"
    page = await world.read("/spend/logs/v2", start_date=since.strftime(text), end_date=until.strftime(text))
    assert page["total"] == sum(since <= event.started_at < until for event in world.events) > 0
    raw = await world.read("/spend/logs/v2", api_key=world.owner_key)
    assert raw["data"] == []


async def test_logs_of_long_ago_need_a_date(world):
    world.clock.advance(timedelta(days=400).total_seconds())
    assert (await world.read("/spend/logs/v2"))["total"] == 0
    assert (await world.read("/spend/logs/v2", start_date="2020-01-01"))["total"] == 12
    assert (await world.read("/spend/logs/v2", request_id="answer-3"))["total"] == 1


async def test_one_call_and_one_session(world):
    row = await world.read("/spend/logs/ui/answer-3", start_date="2026-01-01 00:00:00")
    assert row["litellm_call_id"] == world.events[3].event_id
    assert (row["messages"], row["response"], row["proxy_server_request"]) == ({}, {}, {})
    assert (await world.read(f"/spend/logs/ui/{world.events[5].event_id}"))["status"] == "failure"
    assert (await world.get("/spend/logs/ui/nothing")).status == 404
    page = await world.read("/spend/logs/session/ui", session_id="session")
    assert page["total"] == 3
    assert {row["session_id"] for row in page["data"]} == {"session"}
    assert (await world.get("/spend/logs/session/ui")).status == 400


@pytest.mark.parametrize(
    ("query", "param"),
    [({"min_spend": "nan"}, "min_spend"), ({"max_spend": "1e300"}, "max_spend"), ({"start_date": "x"}, "start_date"),
     ({"status_filter": "odd"}, "status_filter"), ({"page": "-1"}, "page"),
     ({"start_date": "2026-02-02", "end_date": "2026-01-01"}, "start_date")],
)  # fmt: skip
async def test_bad_questions_to_logs(world, query, param):
    answer = await world.get("/spend/logs/v2", **query)
    assert (answer.status, answer.error["param"]) == (400, param), answer.body


# Sums


async def test_tags(world):
    expected = {
        tag: (sum(tag in e.tags for e in world.events), world.cost(lambda e, tag=tag: tag in e.tags))
        for tag in ("red", "blue")
    }
    today = world.clock.now().date().isoformat()
    for query in ({}, {"start_date": "2020-01-01", "end_date": today}):
        rows = await world.read("/spend/tags", **query)
        shown = {row["individual_request_tag"]: (row["log_count"], nano(row["total_spend"])) for row in rows}
        assert shown == expected
    assert await world.read("/spend/tags", start_date="2020-01-01", end_date="2020-01-02") == []
    per_tag = (await world.read("/global/spend/tags"))["spend_per_tag"]
    assert {row["name"]: (row["log_count"], nano(row["spend"])) for row in per_tag} == expected
    assert [row["name"] for row in (await world.read("/global/spend/tags", tags="red"))["spend_per_tag"]] == ["red"]
    assert set((await world.read("/global/spend/all_tag_names"))["tag_names"]) == {"red", "blue"}


async def test_keys_and_users(world):
    rows = {row["token"]: row for row in await world.read("/spend/keys")}
    assert nano(sum(row["spend"] for row in rows.values())) == world.cost()
    assert (rows["hash-one"]["key_alias"], rows["hash-one"]["key_name"]) == ("one", "sk-...1111")
    assert rows["hash-two"]["key_alias"] == ""
    (user,) = await world.read("/spend/users")
    assert (user["user_id"], user["user_role"]) == ("user-iu", "internal_user")
    assert nano(user["spend"]) == world.cost(lambda e: e.user_id == "user-iu")
    assert (await world.read("/spend/users", user_id="nobody"))[0]["spend"] == 0
    keys = await world.read("/global/spend/keys", limit=1)
    assert [row["api_key"] for row in keys] == ["hash-two"]


async def test_sums_of_the_whole(world):
    assert nano((await world.read("/global/spend"))["spend"]) == world.cost()
    for path, name in (
        ("/global/spend/logs", "spend"),
        ("/global/spend/keys", "total_spend"),
        ("/global/spend/models", "total_spend"),
        ("/global/spend/provider", "spend"),
    ):
        assert nano(sum(row[name] for row in await world.read(path))) == world.cost(), path
    one = await world.read("/global/spend/logs", api_key="hash-one")
    assert nano(sum(row["spend"] for row in one)) == world.cost(lambda e: e.key_hash == "hash-one")


async def test_teams_have_names(world):
    teams = await world.read("/global/spend/teams")
    assert set(teams["teams"]) == {"alpha", "The named team", "Unassigned"}
    assert nano(sum(row["total_spend"] for row in teams["total_spend_per_team"])) == world.cost()
    daily = [value for day in teams["daily_spend"] for name, value in day.items() if name != "date"]
    assert nano(sum(daily)) == world.cost()


async def test_the_report(world):
    days = await world.read("/global/spend/report")
    teams = [team for day in days for team in day["teams"]]
    assert {team["team_name"] for team in teams} == {"alpha", "The named team", "Unassigned"}
    assert nano(sum(team["total_spend"] for team in teams)) == world.cost()
    for team in teams:
        assert nano(sum(part["spend"] for part in team["metadata"])) == nano(team["total_spend"])
    one = await world.read("/global/spend/report", team_id="named")
    assert {team["team_name"] for day in one for team in day["teams"]} == {"The named team"}
    customers = [
        each for day in await world.read("/global/spend/report", group_by="customer") for each in day["customers"]
    ]
    assert nano(sum(each["total_spend"] for each in customers)) == world.cost(lambda e: e.end_user_id)
    keys = await world.read("/global/spend/report", group_by="api_key")
    assert nano(sum(each["total_cost"] for each in keys)) == world.cost()
    assert (await world.get("/global/spend/report", group_by="moon")).status == 400


async def test_activity_of_the_whole(world):
    whole = await world.read("/global/activity")
    assert (len(whole["daily_data"]), whole["sum_api_requests"]) == (3, 12)
    models = await world.read("/global/activity/model")
    assert {row["model"]: row["sum_api_requests"] for row in models} == {"small": 6, "large": 6}
    assert sum(row["sum_total_tokens"] for row in models) == whole["sum_total_tokens"]
    assert (await world.read("/global/activity/exceptions"))["sum_failed_requests"] == 2


# What it costs, and what there is


async def test_calculate(tmp_path):
    world = ControlWorld(tmp_path, MODELS)
    messages = [{"role": "user", "content": "Say hello."}]
    cost = (await world.ok("POST", "/spend/calculate", {"model": "ours", "messages": messages}))["cost"]
    assert 0 < cost < 0.001
    usage = {"prompt_tokens": 1_000, "completion_tokens": 10}
    for model in ("ours", "gpt-4o"):
        body = {"completion_response": {"model": model, "usage": usage}}
        assert await world.ok("POST", "/spend/calculate", body) == {"cost": 0.0026}
    for body, param in (
        ({"model": "ours"}, "messages"),
        ({"messages": messages}, "model"),
        ({"model": "nothing", "messages": messages}, "model"),
        ({"model": "unpriced", "messages": messages}, "model"),
        ({"model": "ours", "completion_response": {}}, "completion_response"),
        ({"model": "ours", "messages": messages, "completion_response": {"usage": usage}}, "messages"),
    ):
        assert (await world.refused(400, "POST", "/spend/calculate", body))["param"] == param, body


async def test_routes_and_callbacks(world):
    routes = (await world.read("/routes", as_caller="IU"))["routes"]
    paths = {route["path"]: route["methods"] for route in routes}
    assert paths["/v1/chat/completions"] == ["POST"]
    assert paths["/key/generate"] == ["POST"]
    assert paths["/spend/logs/ui/{request_id}"] == ["GET"]
    assert await world.read("/callbacks/list") == {"success": [], "failure": [], "success_and_failure": []}
    assert (await world.read("/active/callbacks"))["num_callbacks"] == 0


# Clients


async def test_backstage(world):
    """It reads spend by model and key with no dates, for a user and for a team."""
    for path, query in (
        ("/user/daily/activity", {"user_id": "user-iu"}),
        ("/team/daily/activity", {"team_ids": "alpha"}),
    ):
        report = await world.read(path, page_size=100, **query)
        keys = [
            key
            for day in report["results"]
            for model in day["breakdown"]["models"].values()
            for key in model["api_key_breakdown"].items()
        ]
        assert nano(sum(key["metrics"]["spend"] for _, key in keys)) == nano(report["metadata"]["total_spend"]) > 0
        assert {key["metadata"]["key_alias"] for key_hash, key in keys if key_hash == "hash-one"} == {"one"}
        assert all("team_id" in key["metadata"] for _, key in keys)


async def test_vs_code(world):
    """It reads its own activity with an ordinary key."""
    report = await world.read("/user/daily/activity", as_caller="IU")
    assert nano(report["metadata"]["total_spend"]) == world.cost(lambda e: e.user_id == "user-iu") > 0


async def test_without_a_database_reports_say_so(world):
    world.ledger.away = True
    for path in ("/user/daily/activity", "/spend/logs/v2", "/global/spend", "/spend/tags"):
        assert (await ASGIClient(world.client.app, key=MASTER).get(path)).status == 503

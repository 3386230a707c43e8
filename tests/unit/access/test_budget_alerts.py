"""Alerts of budgets reach a real HTTP server, once for each window and level."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from control_kit import make_key, make_object, make_team
from tallystick.access.alert_receivers import SlackWebhook, Webhook
from tallystick.access.budget_alerts import BudgetAlerts
from tallystick.access.scope_names import ScopeDirectory
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Budget, Correction, Scope, Window
from tallystick.control.objects import Kind
from tallystick.control.store import Author, Change
from tallystick.providers.transport import Transport
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import FakeClock, MemoryBudgetStore, MemoryControlStore, MemoryStore

USD = 10**9
HASH = "a1" * 32
DAY = datetime(2026, 1, 5, tzinfo=UTC)
KEY = Scope("key", HASH)
BUDGET = Budget(scope=KEY, limit_nano_usd=10 * USD, duration="1d")


def day(number, scope=KEY):
    start = DAY + timedelta(days=number)
    return Window(scope, start, start + timedelta(days=1))


class Receiver:
    """A webhook's server. `status` is what it answers; 0 breaks the connection."""

    def __init__(self):
        self.status = 200
        self.tries = 0
        self.taken = []
        self.url = ""

    async def handle(self, request):
        body = await request.json()
        self.tries += 1
        if not self.status:
            request.transport.abort()
            raise ConnectionResetError
        if self.status < 300:
            assert request.content_type == "application/json"
            self.taken.append(body)
        return web.Response(status=self.status)

    @asynccontextmanager
    async def serving(self):
        application = web.Application()
        application.router.add_post("/hook", self.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        try:
            yield self
        finally:
            await runner.cleanup()


class Yard:
    """Instances that share a store and a receiver."""

    def __init__(self, stack, receiver):
        self.stack = stack
        self.receiver = receiver
        self.clock = FakeClock(DAY + timedelta(hours=1))
        self.claims = MemoryBudgetStore(store=MemoryStore(), clock=self.clock)
        self.control = MemoryControlStore(clock=self.clock)
        self.metrics = Metrics()

    async def instance(self, *, kind=Webhook, receivers=None):
        transport = Transport()
        alerts = BudgetAlerts(
            store=self.claims,
            directory=ScopeDirectory(self.control),
            receivers=[kind(self.receiver.url, transport)] if receivers is None else receivers,
            clock=self.clock,
            metrics=self.metrics,
            jitter=lambda _least, most: most,
        )
        await alerts.start()
        self.stack.push_async_callback(transport.aclose)
        self.stack.push_async_callback(alerts.stop)
        return alerts

    async def pass_time(self, seconds=0.5, *, step=0.5):
        """Let time pass in small steps, and everything happen that then does."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            for _ in range(200):
                await asyncio.sleep(0)

    async def until(self, condition):
        for _ in range(5_000):
            if condition():
                return
            await self.pass_time()
        pytest.fail("it did not happen")

    async def put(self, *objects):
        changes = [Change(action="created", before=None, after=each, shown_after=each.spec) for each in objects]
        await self.control.apply(changes, author=Author(key_hash="k"), now=self.clock.now())

    def count(self, outcome):
        value = self.metrics.registry.get_sample_value("tallystick_budget_alerts_total", {"outcome": outcome})
        return int(value or 0)


@pytest.fixture
async def yard():
    receiver = Receiver()
    async with receiver.serving(), AsyncExitStack() as stack:
        with capture_logs():
            yield Yard(stack, receiver)
            await stack.aclose()


async def test_each_level_is_told_once(yard):
    alerts = await yard.instance()
    for cents in range(0, 1_200, 7):
        alerts.note(day(0), BUDGET, cents * USD // 100)
        await yard.pass_time()
    await yard.until(lambda: yard.count("sent") == 4)
    taken = yard.receiver.taken
    assert [each["threshold_percent"] for each in taken] == [50, 80, 95, 100]
    assert [each["event"] for each in taken] == [*["threshold_crossed"] * 3, "budget_crossed"]
    assert [each["spend"] for each in taken] == [5.04, 8.05, 9.52, 10.01]
    assert {each["max_budget"] for each in taken} == {10.0}
    assert len({each["alert_id"] for each in taken}) == 4


async def test_a_jump_is_told_by_the_highest_level(yard):
    alerts = await yard.instance()
    alerts.note(day(0), BUDGET, 96 * USD // 10)
    await yard.until(lambda: yard.receiver.taken)
    alerts.note(day(0), BUDGET, 6 * USD)
    await yard.pass_time(5)
    assert [each["threshold_percent"] for each in yard.receiver.taken] == [95]


async def test_a_budget_that_refuses_calls_is_told_of_as_used_up(yard):
    alerts = await yard.instance()
    alerts.note(day(0), BUDGET, 85 * USD // 10, refused=True)
    await yard.until(lambda: yard.receiver.taken)
    alerts.note(day(0), BUDGET, 92 * USD // 10, refused=True)
    await yard.until(lambda: len(yard.receiver.taken) == 2)
    assert [(each["event"], each["spend"]) for each in yard.receiver.taken] == [
        ("threshold_crossed", 8.5), ("budget_crossed", 9.2),
    ]  # fmt: skip


async def test_two_instances_and_a_restart_tell_once_and_a_new_window_again(yard):
    first, second = await yard.instance(), await yard.instance()
    for alerts in (first, second):
        alerts.note(day(0), BUDGET, 8 * USD)
    await yard.until(lambda: yard.receiver.taken)
    await first.stop()
    again = await yard.instance()
    for alerts in (again, second):
        alerts.note(day(0), BUDGET, 9 * USD)
    await yard.pass_time(5)
    assert len(yard.receiver.taken) == 1
    yard.clock.advance(86_400)
    again.note(day(1), BUDGET, 5 * USD)
    await yard.until(lambda: len(yard.receiver.taken) == 2)
    assert yard.receiver.taken[1]["budget_reset_at"] == (DAY + timedelta(days=2)).isoformat()


async def test_a_receiver_that_is_away_is_tried_until_it_is_back(yard):
    alerts = await yard.instance()
    for status in (503, 0, 404):
        yard.receiver.status, before = status, yard.receiver.tries
        alerts.note(day(0), BUDGET, 10 * USD)
        await yard.until(lambda before=before: yard.receiver.tries > before)
    yard.receiver.status = 204
    await yard.until(lambda: yard.receiver.taken)
    await yard.pass_time(600, step=100)
    assert len(yard.receiver.taken) == 1
    assert yard.count("retried") == yard.receiver.tries - 1 >= 3
    assert (yard.count("sent"), yard.count("failed")) == (1, 0)


async def test_trying_ends(yard):
    alerts = await yard.instance()
    yard.receiver.status = 500
    alerts.note(day(0), BUDGET, 10 * USD)
    await yard.until(lambda: yard.receiver.tries)
    for _ in range(200):
        await yard.pass_time(60, step=60)
    assert (yard.receiver.tries, yard.count("failed"), yard.count("retried")) == (10, 1, 9)


async def test_one_receiver_that_fails_does_not_keep_alerts_from_another(yard):
    other = Receiver()
    async with other.serving():
        transport = Transport()
        yard.stack.push_async_callback(transport.aclose)
        receivers = [Webhook(yard.receiver.url, transport), SlackWebhook(other.url, transport)]
        alerts = await yard.instance(receivers=receivers)
        yard.receiver.status = 500
        alerts.note(day(0), BUDGET, 10 * USD)
        await yard.until(lambda: other.taken)
        assert other.taken == [{"text": other.taken[0]["text"]}]
        assert "$10.00 of $10.00; resets 2026-01-06 00:00:00 UTC" in other.taken[0]["text"]


async def test_what_is_noted_waits_for_the_store(yard):
    alerts = await yard.instance()
    yard.claims.away = True
    alerts.note(day(0), BUDGET, 8 * USD)
    await yard.pass_time(5)
    assert not yard.receiver.tries
    yard.claims.away = False
    await yard.until(lambda: yard.receiver.taken)


async def test_what_is_on_its_way_is_tried_once_more_at_the_end(yard):
    alerts = await yard.instance()
    yard.receiver.status = 500
    alerts.note(day(0), BUDGET, 10 * USD)
    await yard.until(lambda: yard.receiver.tries)
    yard.receiver.status = 200
    await alerts.stop()
    assert len(yard.receiver.taken) == 1


@pytest.mark.parametrize(
    ("spent", "soft", "limit", "expected"),
    [
        (7, 6, 10, [("threshold_crossed", 50), ("soft_budget_crossed", None)]),
        (9, 8, 10, [("threshold_crossed", 80), ("soft_budget_crossed", None)]),
        (9, 6, 10, [("soft_budget_crossed", None), ("threshold_crossed", 80)]),
        (3, 2, None, [("soft_budget_crossed", None)]),
        (13, 12, 10, [("budget_crossed", 100), ("soft_budget_crossed", None)]),
        (0, 0, 10, []),
        (1, None, 0, []),
    ],
)
async def test_soft_limits_stand_between_the_levels(yard, spent, soft, limit, expected):
    alerts = await yard.instance()
    budget = Budget(
        scope=KEY,
        limit_nano_usd=None if limit is None else limit * USD,
        soft_limit_nano_usd=None if soft is None else soft * USD,
    )
    alerts.note(day(0), budget, spent * USD)
    await yard.until(lambda: len(yard.receiver.taken) == len(expected))
    await yard.pass_time(3)
    assert [(each["event"], each["threshold_percent"]) for each in yard.receiver.taken] == expected


async def test_a_soft_limit_below_a_level_is_told_before_it(yard):
    alerts = await yard.instance()
    budget = Budget(scope=KEY, limit_nano_usd=10 * USD, soft_limit_nano_usd=6 * USD)
    for dollars in (5, 6, 7, 8):
        alerts.note(day(0), budget, dollars * USD)
        await yard.pass_time(2)
    await yard.until(lambda: len(yard.receiver.taken) == 3)
    assert [each["threshold_percent"] for each in yard.receiver.taken] == [50, None, 80]
    assert yard.receiver.taken[1]["soft_budget"] == 6.0


async def test_corrections_and_increases_count(yard):
    alerts = await yard.instance()
    window = day(0)
    budget = Budget(
        scope=KEY,
        limit_nano_usd=5 * USD,
        corrections=(Correction(starts_at=window.starts_at, ends_at=window.ends_at, nano_usd=-6 * USD),),
        increase_nano_usd=5 * USD,
        increase_until=yard.clock.now() + timedelta(hours=1),
    )
    alerts.note(window, budget, 10 * USD)
    await yard.pass_time(3)
    assert not yard.receiver.tries
    alerts.note(window, budget, 11 * USD)
    await yard.until(lambda: yard.receiver.taken)
    (told,) = yard.receiver.taken
    assert (told["spend"], told["max_budget"], told["threshold_percent"]) == (5.0, 10.0, 50)


async def test_nobody_is_told_who_does_not_want_it(yard):
    silent = await yard.instance(receivers=[])
    loud = await yard.instance()
    silent.note(day(0), BUDGET, 10 * USD)
    loud.note(day(0), Budget(scope=KEY, limit_nano_usd=USD, alerts=False), 10 * USD)
    await yard.pass_time(3)
    assert not yard.claims.calls
    assert silent.health().healthy


async def test_what_is_noted_is_bounded(yard, monkeypatch):
    monkeypatch.setattr("tallystick.access.budget_alerts._NOTED_MAX", 3)
    alerts = await yard.instance()
    for number in range(5):
        alerts.note(day(number), BUDGET, 10 * USD)
    await yard.until(lambda: yard.count("sent") == 3)
    assert yard.count("dropped") == 2
    alerts.note(day(4), BUDGET, 10 * USD)
    await yard.until(lambda: yard.count("sent") == 4)


async def test_webhooks_name_who_is_meant_and_no_key(yard):
    former = "0f" * 32
    await yard.put(
        make_key(HASH, name="ci", user_id="ann", team_id="t1", organization_id="o1"),
        make_team("t1", name="Research", organization_id="o1"),
        make_object(Kind.USER, "ann", name="ann@example.org"),
    )
    alerts = await yard.instance()
    scopes = [
        (Scope("key", former), (HASH,)),
        (Scope("user", "ann"), ()),
        (Scope("team", "t1", "", "gpt-4o"), ()),
        (Scope("team_member", "t1", "ann"), ()),
        (Scope("end_user", "acme"), ()),
        (Scope("global"), ()),
        (Scope("tag", "nightly"), ()),
        (Scope("provider", "openai"), ()),
        (Scope("organization", "o1"), ()),
    ]
    for scope, entity_ids in scopes:
        budget = Budget(scope=scope, limit_nano_usd=USD, entity_ids=entity_ids)
        alerts.note(Window(scope, LIFETIME_START, LIFETIME_END), budget, 2 * USD)
    await yard.until(lambda: len(yard.receiver.taken) == len(scopes))
    by_group = {}
    for each in yard.receiver.taken:
        by_group.setdefault(each["event_group"], each)
    key = by_group["key"]
    assert (key["token"], key["key_alias"], key["user_id"], key["team_id"]) == (HASH, "ci", "ann", "t1")
    assert key["event_message"] == "Key Budget: Budget Crossed. Key 'ci' has spent $2.00 of $1.00."
    assert key["budget_reset_at"] is None
    user = by_group["internal_user"]
    assert (user["user_id"], user["user_email"], user["token"]) == ("ann", "ann@example.org", None)
    team = by_group["team"]
    assert (team["team_id"], team["team_alias"], team["organization_id"], team["model"]) == (
        "t1", "Research", "o1", "gpt-4o",
    )  # fmt: skip
    assert "Team 'Research' with model 'gpt-4o' has spent" in team["event_message"]
    member = by_group["team_member"]
    assert (member["team_id"], member["user_id"]) == ("t1", "ann")
    assert "User 'ann' in team 'Research' has" in member["event_message"]
    assert by_group["customer"]["customer_id"] == "acme"
    assert "The gateway has spent" in by_group["proxy"]["event_message"]
    assert {"tag", "provider", "organization"} <= by_group.keys()
    assert "sk-" not in json.dumps(yard.receiver.taken)


async def test_slack_is_not_given_links(yard):
    alerts = await yard.instance(kind=SlackWebhook)
    scope = Scope("tag", "<!channel> & <https://example.org|x>")
    alerts.note(day(0, scope), Budget(scope=scope, limit_nano_usd=USD), USD)
    await yard.until(lambda: yard.receiver.taken)
    text = yard.receiver.taken[0]["text"]
    assert "&lt;!channel&gt; &amp; &lt;https" in text
    assert "<" not in text

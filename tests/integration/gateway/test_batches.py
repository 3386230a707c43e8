"""Files and batches with the official client: whose they are, what goes to the upstream, and what is charged."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import openai
import pytest
from aiohttp import web

from file_upstream import calls, running_file_upstream
from gateway_kit import MASTER_KEY, running_gateway
from tallystick.bootstrap import batches as bootstrap_batches

PRICES = {"input_cost_per_token": 0.000002, "output_cost_per_token": 0.000008}
COST = 2 * (100 * 2_000 + 50 * 8_000) // 2
"""Two calls at half the price, in nano-USD."""


def config(url: str, **more: Any) -> dict[str, Any]:
    def model(name: str, model_id: str, **info: Any) -> dict[str, Any]:
        params = {"model": f"openai/{model_id}", "api_base": url, "api_key": f"up-{model_id}"}
        return {"model_name": name, "litellm_params": params, "model_info": {"id": model_id, **PRICES, **info}}

    own = {"input_cost_per_token_batches": 0.000001, "output_cost_per_token_batches": 0.000003}
    return {"model_list": [model("house", "house-1"), model("other", "other-1", **own)], **more}


def client_of(gateway: Any, key: str = MASTER_KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=gateway.url + "/v1", max_retries=0)


async def make_key(gateway: Any, **fields: Any) -> str:
    status, body, _ = await gateway.post("/key/generate", fields)
    assert status == 200, body
    return json.loads(body)["key"]


async def make_batch(client: openai.AsyncOpenAI, content: bytes | None = None, **fields: Any) -> Any:
    file = await client.files.create(file=("calls.jsonl", content or calls("house", "house")), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **fields
    )


async def charge(gateway: Any) -> None:
    """Do what the leader does, now: all that is open is due."""
    services = gateway.services
    charger = services.upstream_objects._charger
    now = services.clock.now() + timedelta(days=1)
    for job in await services.store.batch_jobs.take_due(now=now, until=now, limit=100):
        await charger.look(job)


async def close(gateway: Any) -> int:
    async with asyncio.timeout(20):
        while not (closed := await gateway.services.store.batch_jobs.close_charged()):
            await asyncio.sleep(0.01)
    return closed


@pytest.fixture(autouse=True)
def _no_leaders_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do it themselves, when they want it."""

    async def nothing(_watch: object) -> bool:
        return False

    monkeypatch.setattr(bootstrap_batches.BatchWatch, "tick", nothing)


async def test_a_batch_goes_in_comes_out_and_is_charged_once(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        key = await make_key(gateway, user_id="anne", metadata={"tags": ["night"]})
        async with client_of(gateway, key) as client:
            batch = await make_batch(client, metadata={"job": "nightly"}, extra_headers={"x-litellm-customer-id": "c1"})
            (sent,) = upstream.batches.values()
            lines = [json.loads(line) for line in upstream.contents[sent["input_file_id"]].splitlines()]
            assert [line["body"]["model"] for line in lines] == ["house-1", "house-1"]
            assert batch.id.startswith("batch_")
            assert sent["id"] not in batch.id
            assert batch.metadata == {"job": "nightly"}
            assert upstream.headers[0]["authorization"] == "Bearer up-house-1"
            await charge(gateway)  # Not ended: nothing is charged.
            upstream.work_off(sent["id"])
            done = await client.batches.retrieve(batch.id)
            assert done.status == "completed"
            assert (done.id, done.input_file_id) == (batch.id, batch.input_file_id)
            output = (await client.files.content(done.output_file_id)).content
            assert len(output.splitlines()) == 2
            for _ in range(3):
                await charge(gateway)
            assert await close(gateway) == 1
            await charge(gateway)
        events = await gateway.events(1)
        counted = [each.event for each in events]
        assert len(counted) == 1
        (event,) = counted
        assert (event.cost_nano_usd, event.cost_status, event.status) == (COST, "priced", "success")
        assert event.price_version.endswith(";batch_factor=0.5")
        assert (event.usage.input_tokens, event.usage.output_tokens) == (200, 100)
        assert (event.user_id, event.end_user_id, event.call_type) == ("anne", "c1", "batch")
        assert event.metadata["job"] == "nightly"
        assert event.metadata["batch"]["succeeded"] == 2
        assert event.provider_response_id == sent["id"]
        audit = await gateway.services.store.auditor.audit()
        assert audit.dead_letter_cost_nano_usd == 0


async def test_the_prices_for_batches_go_before_the_factor(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            await make_batch(client, calls("other"))
            upstream.work_off("batch_up0")
            await charge(gateway)
        event = await gateway.event()
        assert event.cost_nano_usd == 100 * 1_000 + 50 * 3_000
        assert "batch_prices=input:" in event.price_version


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
async def test_what_was_done_of_a_batch_that_did_not_complete_is_charged(tmp_path, status) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            await make_batch(client)
            upstream.work_off("batch_up0", status=status, done=1)
            await charge(gateway)
        event = await gateway.event()
        assert event.cost_nano_usd == COST // 2
        assert event.status == ("failure" if status == "failed" else "interrupted")
        assert (event.metadata["batch"]["succeeded"], event.metadata["batch"]["failed"]) == (1, 1)


async def test_two_who_charge_at_once_charge_once(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            await make_batch(client)
        upstream.work_off("batch_up0")
        jobs = gateway.services.store.batch_jobs
        now = gateway.services.clock.now() + timedelta(days=1)
        (job,) = await jobs.take_due(now=now, until=now, limit=9)
        charger = gateway.services.upstream_objects._charger
        await charger.look(job)
        # As one that took the job before that one's event had an id: it knows nothing of it.
        await charger.look(job)
        await charger.look(job)
        assert await close(gateway) == 1
        async with asyncio.timeout(20):
            while gateway.services.ledger.journal.pending_events:
                await asyncio.sleep(0.01)
        audit = await gateway.services.store.auditor.audit()
        assert (audit.events, audit.dead_letters) == (1, 2)
        assert (audit.cost_nano_usd, audit.dead_letter_cost_nano_usd) == (COST, 0)
        assert audit.differences == ()


async def test_another_tenant_sees_nothing_and_a_team_mate_all(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        keys = [await make_key(gateway, user_id=user) for user in ("anne", "anne", "ben")]
        anne, annes_other, ben = [client_of(gateway, key) for key in keys]
        batch = await make_batch(anne)
        assert [each.id async for each in annes_other.batches.list()] == [batch.id]
        assert [each.id async for each in annes_other.files.list(purpose="batch")] == [batch.input_file_id]
        assert [each.id async for each in ben.batches.list()] == []
        assert [each.id async for each in ben.files.list()] == []
        assert (await annes_other.files.content(batch.input_file_id)).content.count(b"\n") == 2
        before = len(upstream.asked)
        with pytest.raises(openai.PermissionDeniedError):
            await ben.batches.retrieve(batch.id)
        with pytest.raises(openai.PermissionDeniedError):
            await ben.batches.cancel(batch.id)
        with pytest.raises(openai.PermissionDeniedError):
            await ben.files.content(batch.input_file_id)
        with pytest.raises(openai.PermissionDeniedError):
            await ben.files.delete(batch.input_file_id)
        with pytest.raises(openai.PermissionDeniedError):
            await ben.batches.create(
                input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        for made_up in ("file-up1x0", batch.id.replace("batch_", "file-")):
            with pytest.raises(openai.NotFoundError):
                await anne.files.retrieve(made_up)
        assert len(upstream.asked) == before
        await annes_other.batches.cancel(batch.id)
        assert upstream.batches["batch_up0"]["status"] == "cancelling"
        for client in (anne, annes_other, ben):
            await client.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (calls("house", "other"), "line 2, 'body.model'"),
        (calls("house") + b"{", "line 2: it is no JSON object"),
        (calls("house", "nobody"), "line 2, 'body.model'"),
        (b"\n\n", "no lines"),
        (calls("house").replace(b"/v1/chat/completions", b"/v1/secrets"), "line 1, 'url'"),
        (calls("house", previous_response_id="resp_1"), "line 1, 'body.previous_response_id'"),
        (calls("house").replace(b"custom_id", b"custom"), "line 1, 'custom_id'"),
        (calls("house", max_tokens="many"), "line 1, 'body.max_tokens'"),
    ],
)
async def test_a_file_that_is_wrong_is_refused_with_line_and_field(tmp_path, content, message) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.files.create(file=("calls.jsonl", content), purpose="batch")
        assert message in refused.value.message
        assert upstream.asked == []


async def test_a_key_may_put_only_its_models_into_a_batch(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        key = await make_key(gateway, models=["other"])
        async with client_of(gateway, key) as client:
            with pytest.raises(openai.PermissionDeniedError) as refused:
                await client.files.create(file=("calls.jsonl", calls("house")), purpose="batch")
            assert "line 1, 'body.model'" in refused.value.message
            with pytest.raises(openai.PermissionDeniedError):
                await client.files.create(
                    file=("calls.jsonl", calls("other")), purpose="batch", extra_body={"target_model_names": "house"}
                )
        assert upstream.asked == []


async def test_the_upstream_of_a_file_is_named_or_the_only_one(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            with pytest.raises(openai.BadRequestError, match="2 upstreams take files here"):
                await client.files.create(file=("a.txt", b"text"), purpose="user_data")
            for extra in (
                {"extra_body": {"target_model_names": "other"}},
                {"extra_body": {"model": "other"}},
                {"extra_headers": {"x-litellm-model": "other"}},
            ):
                file = await client.files.create(
                    file=("a.txt", b"text"),
                    purpose="user_data",
                    expires_after={"anchor": "created_at", "seconds": 7200},
                    **extra,
                )
                assert upstream.headers[-1]["authorization"] == "Bearer up-other-1"
                assert set(upstream.forms[-1]) == {"purpose", "file", "expires_after[anchor]", "expires_after[seconds]"}
                assert (file.filename, file.bytes) == ("a.txt", 4)
                assert (await client.files.content(file.id)).content == b"text"
            assert (await client.files.delete(file.id)).deleted
            assert file.id not in [each.id async for each in client.files.list()]
            with pytest.raises(openai.NotFoundError):
                await client.files.retrieve(file.id)
        key = await make_key(gateway, models=["house"])
        async with client_of(gateway, key) as client:
            await client.files.create(file=("a.txt", b"text"), purpose="user_data")
        assert upstream.headers[-1]["authorization"] == "Bearer up-house-1"


async def test_the_answers_of_a_batch_are_charged_before_they_are_deleted(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            batch = await make_batch(client)
            upstream.work_off("batch_up0")
            done = await client.batches.retrieve(batch.id)
            await client.files.delete(done.output_file_id)
        assert (await gateway.event()).cost_nano_usd == COST


async def test_a_caller_over_its_budget_makes_no_batch(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        key = await make_key(gateway, max_budget=0.0000001)
        async with client_of(gateway, key) as client:
            with pytest.raises(openai.APIStatusError) as refused:
                await make_batch(client)
        assert refused.value.type == "budget_exceeded"
        assert upstream.batches == {}
        assert await gateway.services.store.batch_jobs.count() == {}


async def test_a_batch_whose_creation_was_not_heard_of_is_found_and_charged(tmp_path) -> None:
    def broken() -> web.StreamResponse:
        return web.Response(status=502, text="gone")

    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        upstream.after_create = broken
        async with client_of(gateway) as client:
            with pytest.raises(openai.APIStatusError):
                await make_batch(client)
        assert await gateway.services.store.batch_jobs.count() == {"creating": 1}
        upstream.work_off("batch_up0")
        await charge(gateway)
        await charge(gateway)
        assert (await gateway.event()).cost_nano_usd == COST


async def test_a_batch_that_the_upstream_refuses_is_nobodys(tmp_path) -> None:
    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            file = await client.files.create(file=("calls.jsonl", calls("house")), purpose="batch")
            upstream.files.clear()
            with pytest.raises(openai.BadRequestError, match="no such file"):
                await client.batches.create(
                    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
        assert await gateway.services.store.batch_jobs.count() == {}


async def test_an_answer_that_breaks_off_charges_nothing_yet(tmp_path) -> None:
    def broken(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=500) if request.path.endswith("/content") else None

    async with running_file_upstream() as upstream, running_gateway(tmp_path, config(upstream.url)) as gateway:
        async with client_of(gateway) as client:
            await make_batch(client)
        upstream.work_off("batch_up0")
        upstream.on_request = broken
        with pytest.raises(Exception, match="500"):
            await charge(gateway)
        found = await gateway.services.store.batch_jobs.find("house-1", "batch_up0")
        assert (found.state, found.event_id) == ("open", "")
        upstream.on_request = lambda _: None
        await charge(gateway)
        assert (await gateway.event()).cost_nano_usd == COST


async def test_azure_is_asked_by_its_own_paths(tmp_path) -> None:
    async with running_file_upstream() as upstream:
        application_url = upstream.url.removesuffix("/v1")
        azure = config(upstream.url)
        azure["model_list"][0]["litellm_params"] = {
            "model": "azure/house-1",
            "api_base": application_url + "/v1",
            "api_key": "azure-key",
            "api_version": "2025-03-01-preview",
        }
        seen: list[tuple[str, str]] = []

        def answer(request: web.Request) -> web.StreamResponse | None:
            seen.append((request.path_qs, request.headers["api-key"]))
            return web.json_response(
                {"id": "file-1", "object": "file", "bytes": 1, "filename": "a", "purpose": "batch"}
            )

        upstream.on_request = answer
        async with running_gateway(tmp_path, azure) as gateway, client_of(gateway) as client:
            await client.files.create(file=("calls.jsonl", calls("house")), purpose="batch")
        assert seen == [("/v1/openai/files?api-version=2025-03-01-preview", "azure-key")]

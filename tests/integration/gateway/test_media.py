"""Images, sound, moderations and ranks through the gateway, with the official SDK; and what the ledger holds."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web

from gateway_kit import AUTHORIZATION, MASTER_KEY, RunningGateway, running_gateway

WAV = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00" + (16_000).to_bytes(4, "little")
WAV += (32_000).to_bytes(4, "little") + b"\x02\x00\x10\x00data\x00\x00\x00\x00" + bytes(64_000)
"""Two seconds of silence."""
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PICTURE = base64.b64encode(PNG).decode()
IMAGE_USAGE = {
    "total_tokens": 4190,
    "input_tokens": 30,
    "output_tokens": 4160,
    "input_tokens_details": {"text_tokens": 20, "image_tokens": 10},
}
TRANSCRIPT_USAGE = {
    "type": "tokens",
    "input_tokens": 20,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 20},
    "output_tokens": 6,
    "total_tokens": 26,
}
Respond = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


class World:
    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.openai = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=MASTER_KEY, max_retries=0)
        self.requests: list[tuple[str, str, bytes]] = []
        """Path, content type and body of what the upstream was asked."""


@asynccontextmanager
async def world(home: Path, respond: Respond, *, provider: str = "openai", **params: Any) -> AsyncIterator[World]:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        made.requests.append((request.path, request.headers["content-type"], body))
        return await respond(request, body)

    application = web.Application(client_max_size=1 << 28)
    application.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    base = f"http://127.0.0.1:{port}" + ("" if provider == "cohere" else "/v1")
    params = {"model": f"{provider}/real", "api_base": base, "api_key": "k", **params}
    config = {"model_list": [{"model_name": "public", "litellm_params": params}]}
    try:
        async with running_gateway(home, config) as gateway:
            made = World(gateway)
            async with made.openai:
                yield made
    finally:
        await runner.cleanup()


def say(value: Any, content_type: str = "application/json", status: int = 200) -> Respond:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    async def respond(_request: web.Request, _body: bytes) -> web.Response:
        return web.Response(body=body, status=status, headers={"content-type": content_type})

    return respond


def sound_form(**fields: str) -> tuple[str, bytes]:
    """Return the content type and the body of a form with a file of sound."""
    head = b'--cut\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    parts = [head % (name.encode(), b"", value.encode()) for name, value in fields.items()]
    parts.append(head % (b"file", b'; filename="a.wav"', WAV))
    return "multipart/form-data; boundary=cut", b"".join(parts) + b"--cut--\r\n"


def events(*told: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in told)


async def test_images_are_billed_by_their_tokens(tmp_path: Path) -> None:
    answer = {"created": 1, "data": [{"b64_json": PICTURE}], "size": "1024x1024", "usage": IMAGE_USAGE}
    async with world(tmp_path, say(answer), base_model="gpt-image-1.5") as at:
        made = await at.openai.images.generate(model="public", prompt="A stick with notches", user="ada")
        assert made.data is not None
        assert made.data[0].b64_json == PICTURE
        path, _, body = at.requests[0]
        event = await at.gateway.event()
    assert path == "/v1/images/generations"
    assert json.loads(body) == {"model": "real", "prompt": "A stick with notches", "user": "ada"}
    assert (event.call_type, event.endpoint, event.end_user_id) == ("image_generation", "/v1/images/generations", "ada")
    assert (event.usage.images, event.usage.pixels, event.usage_source) == (1, 1024 * 1024, "provider")
    # 20 words at $5, 10 of the image at $8, 4,160 generated at $32 a million.
    assert (event.cost_nano_usd, event.cost_status) == (20 * 5_000 + 10 * 8_000 + 4160 * 32_000, "priced")


@pytest.mark.parametrize(
    ("params", "cost"),
    [
        ({"output_cost_per_image": 0.04}, 80_000_000),
        ({"input_cost_per_image": 0.04}, 80_000_000),
        ({"input_cost_per_pixel": 2e-8}, 2 * 1024 * 1792 * 20),
    ],
)
async def test_images_are_billed_by_number_and_size(tmp_path: Path, params: dict[str, float], cost: int) -> None:
    answer = {"created": 1, "data": [{"url": "https://a.test/1"}, {"url": "https://a.test/2"}]}
    async with world(tmp_path, say(answer), **params) as at:
        status, _, headers = await at.gateway.post(
            "/v1/images/generations", {"model": "public", "prompt": "A stick", "n": 2, "size": "1024x1792"}
        )
        event = await at.gateway.event()
    assert status == 200
    assert (event.usage.images, event.cost_nano_usd) == (2, cost)
    assert headers["x-litellm-response-cost"] == f"0.{cost:09d}"


async def test_an_image_stream_is_billed_by_its_last_event(tmp_path: Path) -> None:
    told = events(
        {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": PICTURE, "size": "1024x1024", "usage": IMAGE_USAGE},
    )
    async with world(tmp_path, say(told, "text/event-stream"), base_model="gpt-image-1.5") as at:
        stream = await at.openai.images.generate(model="public", prompt="A stick", stream=True, partial_images=1)
        seen = [event.type async for event in stream]
        event = await at.gateway.event()
    assert seen == ["image_generation.partial_image", "image_generation.completed"]
    assert (event.status, event.usage.images, event.usage.image_output_tokens) == ("success", 1, 4160)
    assert event.usage_source == "provider"


async def test_an_edit_passes_as_the_form_that_it_is(tmp_path: Path) -> None:
    answer = {"created": 1, "data": [{"b64_json": PICTURE}], "usage": IMAGE_USAGE}
    async with world(tmp_path, say(answer), base_model="gpt-image-1.5") as at:
        await at.openai.images.edit(
            model="public",
            image=[("a.png", PNG, "image/png"), ("b.png", PNG, "image/png")],
            prompt="More notches",
            extra_body={"litellm_metadata": json.dumps({"tags": ["wood"]})},
        )
        path, content_type, body = at.requests[0]
        event = await at.gateway.event()
    assert path == "/v1/images/edits"
    assert content_type.startswith("multipart/form-data; boundary=")
    assert body.count(PNG) == 2
    assert b'name="model"\r\n\r\nreal\r\n' in body
    assert b"litellm_metadata" not in body
    assert (event.call_type, event.tags) == ("image_edit", ("wood",))


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/openai/deployments/public/audio/transcriptions"])
async def test_only_the_models_name_changes_in_a_form(tmp_path: Path, path: str) -> None:
    before = b'--x y\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n\r\n--x yes\r\n--x\r\n'
    model = b"\r\n--x y\r\ncontent-disposition: form-data; name=model\r\n\r\n"
    after = b'\r\n--x y\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{"timeout": 0}\r\n--x y--\r\nand more'
    headers = {"content-type": 'multipart/form-data; boundary="x y"'}
    async with world(tmp_path, say({"text": "", "usage": {"type": "duration", "seconds": 1}})) as at:
        status, _, _ = await at.gateway.post(path, before + model + b"public" + after, **headers)
        assert (status, at.requests[0][2]) == (200, before + model + b"real" + after)


@pytest.mark.parametrize("seconds", [7, 7.0])
async def test_a_transcript_is_billed_by_seconds(tmp_path: Path, seconds: float) -> None:
    answer = {"text": "Who owes whom?", "usage": {"type": "duration", "seconds": seconds}}
    async with world(tmp_path, say(answer), input_cost_per_second=0.0001) as at:
        made = await at.openai.audio.transcriptions.create(model="public", file=("a.wav", WAV, "audio/wav"))
        assert made.text == "Who owes whom?"
        assert at.requests[0][0] == "/v1/audio/transcriptions"
        event = await at.gateway.event()
    assert (event.call_type, event.usage.milliseconds, event.cost_nano_usd) == ("transcription", 7000, 700_000)


async def test_a_verbose_translation_is_billed_by_its_duration(tmp_path: Path) -> None:
    answer = {"text": "Who owes whom?", "duration": 8.47, "language": "english", "segments": []}
    async with world(tmp_path, say(answer), base_model="whisper-1") as at:
        kind, form = sound_form(model="public", response_format="verbose_json")
        status, body, _ = await at.gateway.post("/v1/audio/translations", form, **{"content-type": kind})
        assert (status, json.loads(body), at.requests[0][0]) == (200, answer, "/v1/audio/translations")
        event = await at.gateway.event()
    assert (event.call_type, event.usage.milliseconds, event.usage_source) == ("translation", 8470, "provider")
    assert event.cost_nano_usd == 847_000  # 36 cents an hour.


async def test_a_transcript_without_facts_is_billed_by_the_sound(tmp_path: Path) -> None:
    async with world(tmp_path, say(b"Who owes whom?\n", "text/plain"), base_model="whisper-1") as at:
        made = await at.openai.audio.transcriptions.create(
            model="public", file=("a.wav", WAV, "audio/wav"), response_format="text"
        )
        assert str(made).strip() == "Who owes whom?"
        event = await at.gateway.event()
    assert (event.usage.milliseconds, event.usage_source, event.cost_nano_usd) == (2000, "estimated", 200_000)


async def test_a_streamed_transcript(tmp_path: Path) -> None:
    told = events(
        {"type": "transcript.text.delta", "delta": "Who owes"},
        {"type": "transcript.text.delta", "delta": " whom?"},
        {"type": "transcript.text.done", "text": "Who owes whom?", "usage": TRANSCRIPT_USAGE},
    )
    async with world(tmp_path, say(told, "text/event-stream"), base_model="gpt-4o-transcribe") as at:
        stream = await at.openai.audio.transcriptions.create(
            model="public", file=("a.wav", WAV, "audio/wav"), stream=True
        )
        seen = [event.type async for event in stream]
        event = await at.gateway.event()
    assert seen == ["transcript.text.delta", "transcript.text.delta", "transcript.text.done"]
    assert (event.usage.audio_input_tokens, event.usage.output_tokens) == (20, 6)
    assert event.cost_nano_usd == 20 * 6_000 + 6 * 10_000


async def test_speech_is_passed_on_as_it_comes(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def speak(request: web.Request, _body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "audio/mpeg"})
        await response.prepare(request)
        await response.write(b"\xff\xf3first")
        await go_on.wait()
        await response.write(b"last")
        return response

    async with world(tmp_path, speak, base_model="tts-1") as at:
        create = at.openai.audio.speech.with_streaming_response.create
        async with create(model="public", voice="alloy", input="Wer schuldet wém?") as answer:
            pieces = answer.iter_bytes()
            first = await anext(pieces)
            go_on.set()
            rest = b"".join([piece async for piece in pieces])
            assert answer.headers["content-type"] == "audio/mpeg"
        event = await at.gateway.event()
    assert first + rest == b"\xff\xf3firstlast"
    assert (event.call_type, event.status, event.usage.characters) == ("speech", "success", 17)
    assert event.cost_nano_usd == 17 * 15_000
    assert event.first_token_at is not None


async def test_speech_that_breaks_off_is_no_whole_answer(tmp_path: Path) -> None:
    async def speak(request: web.Request, _body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "audio/mpeg"})
        await response.prepare(request)
        await response.write(b"first")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with world(tmp_path, speak, input_cost_per_character=0.000015) as at:
        body = {"model": "public", "voice": "alloy", "input": "Who?"}
        with pytest.raises(aiohttp.ClientPayloadError):
            await at.gateway.post("/v1/audio/speech", body)
        event = await at.gateway.event()
    assert (event.status, event.cost_nano_usd, event.usage_source) == ("failure", 60_000, "estimated")


async def test_speech_whose_caller_leaves_is_billed(tmp_path: Path) -> None:
    async def speak(request: web.Request, _body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "audio/mpeg"})
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.sleep(3600)
        return response

    async with world(tmp_path, speak, input_cost_per_character=0.000015) as at:
        body = {"model": "public", "voice": "alloy", "input": "Who?"}
        url = at.gateway.url + "/v1/audio/speech"
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.post(url, json=body, headers=AUTHORIZATION) as answer,
        ):
            assert await answer.content.readany()
        event = await at.gateway.event()
    assert (event.status, event.cost_nano_usd) == ("interrupted", 60_000)


@pytest.mark.parametrize(
    ("path", "body", "event", "base_model", "cost"),
    [
        (
            "/v1/images/generations",
            {"prompt": "A stick", "size": "1024x1024", "quality": "low"},
            {"type": "image_generation.partial_image", "b64_json": PICTURE},
            "gpt-image-1.5",
            272 * 32_000,
        ),
        (
            "/v1/audio/speech",
            {"input": "Who? " * 20, "voice": "alloy", "stream_format": "sse"},
            {"type": "speech.audio.delta", "audio": PICTURE},
            "gpt-4o-mini-tts",
            147 * 12_000,
        ),
    ],
)
async def test_a_stream_of_events_whose_caller_leaves_is_billed_as_a_whole(
    tmp_path: Path, path: str, body: dict[str, Any], event: dict[str, Any], base_model: str, cost: int
) -> None:
    async def begin(request: web.Request, _body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(events(event))
        await asyncio.sleep(3600)
        return response

    async with world(tmp_path, begin, base_model=base_model) as at:
        url = at.gateway.url + path
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.post(url, json={"model": "public", "stream": True, **body}, headers=AUTHORIZATION) as answer,
        ):
            assert await answer.content.readany()
        found = await at.gateway.event()
    assert (found.status, found.usage_source) == ("interrupted", "estimated")
    assert cost < found.cost_nano_usd < cost + 50 * 5_000  # And the words that were sent.


async def test_a_form_is_tried_again_as_a_whole(tmp_path: Path) -> None:
    async def fail_once(_request: web.Request, _body: bytes) -> web.Response:
        tries.append(1)
        if len(tries) == 1:
            return web.json_response({"error": {"message": "busy"}}, status=500)
        return web.json_response({"text": "Who?", "usage": {"type": "duration", "seconds": 2}})

    tries: list[int] = []
    async with world(tmp_path, fail_once, base_model="whisper-1", num_retries=1) as at:
        await at.openai.audio.transcriptions.create(model="public", file=("a.wav", WAV, "audio/wav"))
        event = await at.gateway.event()
        assert at.requests[0][1:] == at.requests[1][1:]
    assert (event.status, event.cost_nano_usd, len(event.attempts)) == ("success", 200_000, 2)


async def test_speech_as_events_tells_its_usage(tmp_path: Path) -> None:
    usage = {"input_tokens": 5, "output_tokens": 40, "total_tokens": 45}
    told = events({"type": "speech.audio.delta", "audio": PICTURE}, {"type": "speech.audio.done", "usage": usage})
    async with world(tmp_path, say(told, "text/event-stream"), base_model="gpt-4o-mini-tts") as at:
        body = {"model": "public", "voice": "alloy", "input": "Who?", "stream_format": "sse"}
        status, heard, _ = await at.gateway.post("/v1/audio/speech", body)
        event = await at.gateway.event()
    assert (status, heard) == (200, told)
    assert (event.usage_source, event.cost_nano_usd) == ("provider", 5 * 600 + 40 * 12_000)


async def test_moderations_cost_nothing_unless_they_are_counted(tmp_path: Path) -> None:
    answer = {"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": False}]}
    async with world(tmp_path, say(answer), input_cost_per_token=0.001) as at:
        made = await at.openai.moderations.create(model="public", input=["Who owes whom?"])
        assert made.results[0].flagged is False
        event = await at.gateway.event()
    assert (event.call_type, event.cost_nano_usd, event.cost_status) == ("moderation", 0, "free")
    assert event.provider_response_id == "modr-1"


async def test_counted_moderations(tmp_path: Path) -> None:
    answer = {"id": "m", "results": [], "usage": {"prompt_tokens": 12, "total_tokens": 12}}
    async with world(tmp_path, say(answer), input_cost_per_token=0.001) as at:
        await at.openai.moderations.create(model="public", input="Who owes whom?")
        event = await at.gateway.event()
    assert (event.usage.input_tokens, event.cost_nano_usd) == (12, 12_000_000)


RANKS = {
    "id": "r",
    "results": [{"index": 1, "relevance_score": 0.9}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_cohere_ranks_by_search_units(tmp_path: Path, path: str) -> None:
    async with world(tmp_path, say(RANKS), provider="cohere", input_cost_per_query=0.002) as at:
        asked = {"model": "public", "query": "Who?", "documents": ["a", "b"], "top_n": 1}
        status, body, _ = await at.gateway.post(path, asked)
        event = await at.gateway.event()
        assert at.requests[0][0] == "/v2/rerank"
    assert (status, json.loads(body)) == (200, RANKS)
    assert (event.call_type, event.endpoint, event.usage.searches) == ("rerank", "/v1/rerank", 1)
    assert event.cost_nano_usd == 2_000_000


async def test_what_only_coheres_first_version_knows_goes_there(tmp_path: Path) -> None:
    async with world(tmp_path, say(RANKS), provider="cohere") as at:
        asked = {"model": "public", "query": "Who?", "documents": ["a"], "return_documents": True}
        await at.gateway.post("/v1/rerank", asked)
        assert at.requests[0][0] == "/v1/rerank"


@pytest.mark.parametrize(
    ("provider", "answer", "top"),
    [
        ("jina_ai", {"results": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 815}}, "top_n"),
        ("voyage", {"data": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 815}}, "top_k"),
    ],
)
async def test_others_rank_by_tokens(tmp_path: Path, provider: str, answer: dict[str, Any], top: str) -> None:
    async with world(tmp_path, say(answer), provider=provider, input_cost_per_token=0.000001) as at:
        asked = {"model": "public", "query": "Who?", "documents": ["a", "b"], "top_n": 1}
        _, body, _ = await at.gateway.post("/v1/rerank", asked)
        event = await at.gateway.event()
        assert json.loads(at.requests[0][2])[top] == 1
    assert json.loads(body)["results"] == [{"index": 1, "relevance_score": 0.9}]
    assert (event.usage.input_tokens, event.cost_nano_usd) == (815, 815_000)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/images/generations", {"model": "public"}, "prompt"),
        ("/v1/images/generations", {"model": "public", "prompt": "a", "n": 0}, "n"),
        ("/v1/images/edits", {"model": "public"}, "prompt"),
        ("/v1/audio/speech", {"model": "public"}, "input"),
        ("/v1/audio/transcriptions", {"model": "public"}, "file"),
        ("/v1/moderations", {"model": "public"}, "input"),
        ("/v1/rerank", {"model": "public", "query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"model": "public", "documents": ["a"]}, "query"),
    ],
)
async def test_a_wrong_request_is_named(tmp_path: Path, path: str, body: dict[str, Any], param: str) -> None:
    async with world(tmp_path, say({})) as at:
        status, answer, _ = await at.gateway.post(path, body)
        assert (status, json.loads(answer)["error"]["param"], at.requests) == (400, param, [])


async def test_an_upstreams_refusal_reaches_the_caller(tmp_path: Path) -> None:
    error = {"error": {"message": "no such voice", "type": "invalid_request_error", "param": "voice", "code": None}}
    async with world(tmp_path, say(error, status=400)) as at:
        with pytest.raises(openai.BadRequestError, match="no such voice"):
            await at.openai.audio.speech.create(model="public", voice="none", input="Who?")
        event = await at.gateway.event()
    assert (event.status, event.cost_nano_usd, event.usage_source) == ("failure", 0, "none")


@pytest.mark.parametrize("provider", ["anthropic", "cohere", "gemini", "mock"])
async def test_providers_without_such_an_endpoint_say_so(tmp_path: Path, provider: str) -> None:
    async with world(tmp_path, say({}), provider=provider) as at:
        status, body, _ = await at.gateway.post("/v1/images/generations", {"model": "public", "prompt": "a"})
        assert (status, at.requests) == (400, [])
        assert "/v1/images/generations" in json.loads(body)["error"]["message"]
        kind, form = sound_form(model="public")
        status, _, _ = await at.gateway.post("/v1/audio/transcriptions", form, **{"content-type": kind})
        assert status == 400


async def test_a_cost_that_the_upstream_reports_wins(tmp_path: Path) -> None:
    answer = {"created": 1, "data": [{"url": "https://a.test/1"}], "usage": {"cost": 0.07}}
    async with world(tmp_path, say(answer), output_cost_per_image=0.04) as at:
        await at.openai.images.generate(model="public", prompt="A stick")
        event = await at.gateway.event()
    assert (event.cost_nano_usd, event.cost_status) == (70_000_000, "reported")

"""The contract of `Sink`, against the real thing behind each: PostgREST, moto's S3 and DynamoDB, files, a webhook."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from ledger_kit import make_event
from sink_services import AWS, HTTPProcess, Receiver, supabase_key
from tallystick.bootstrap.sinks import Sinks
from tallystick.config.sink_settings import DynamoDBEntry, FileEntry, S3Entry, SinkEntry, SupabaseEntry, WebhookEntry
from tallystick.errors import SinkRefused, SinkUnavailable
from tallystick.ledger.event import SpendEvent
from tallystick.ledger.sinks.sink import NumberedEvent, Parcel, Sink
from tallystick.runtime.clock import SystemClock
from tallystick.stores.sinks.dynamodb import DynamoDB

Opener = Callable[[SinkEntry], Any]
KINDS = ("webhook", "supabase", "dynamodb", "s3", "file")


@dataclass(kw_only=True)
class Subject:
    """A sink, and how to see what is behind it: each event's id, as often as it is there."""

    sink: Sink
    ids: Callable[[], Awaitable[list[str]]]


def parcel_of(*events: SpendEvent) -> Parcel:
    return Parcel(events=tuple(NumberedEvent(event, "p1", number) for number, event in enumerate(events, 1)))


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens sinks, and closes them at the end."""
    all_of_them: list[Sinks] = []

    def open_one(entry: SinkEntry) -> Sink:
        all_of_them.append(Sinks((entry,), environ={}, clock=SystemClock()))
        return all_of_them[-1].plans[0].sink

    yield open_one
    for sinks in all_of_them:
        await sinks.aclose()


@pytest.fixture(params=KINDS)
async def subject(opened: Opener, request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[Subject]:
    kind = request.param
    if kind == "webhook":
        async with Receiver() as receiver:
            entry = WebhookEntry(name="w", type="webhook", url=receiver.url)

            async def taken() -> list[str]:
                keyed = dict(zip((each["idempotency-key"] for each in receiver.headers), receiver.bodies, strict=True))
                return [event["event_id"] for body in keyed.values() for event in json.loads(body)["events"]]

            yield Subject(sink=opened(entry), ids=taken)
    elif kind == "supabase":
        server, url = request.getfixturevalue("supabase"), request.getfixturevalue("empty_postgres_url")
        yield Subject(sink=opened(supabase_entry(server)), ids=lambda: rows_of(url))
    elif kind == "dynamodb":
        moto = request.getfixturevalue("moto")
        sink = opened(dynamodb_entry(moto))
        assert isinstance(sink, DynamoDB)
        assert await sink.create_table() is True
        assert await sink.create_table() is False
        yield Subject(sink=sink, ids=lambda: scan(sink))
    elif kind == "s3":
        entry, moto = s3_entry(request.getfixturevalue("moto")), request.getfixturevalue("moto")
        await make_bucket(moto, entry.bucket)
        yield Subject(sink=opened(entry), ids=lambda: lines_in_bucket(opened(entry)))
    else:
        entry = FileEntry(name="f", type="file", directory=tmp_path)

        async def lines() -> list[str]:
            paths = sorted(tmp_path.glob("*/*/*/*/*.jsonl"))
            return [json.loads(line)["event_id"] for path in paths for line in path.read_text().splitlines()]

        yield Subject(sink=opened(entry), ids=lines)


def supabase_entry(server: HTTPProcess, **fields: Any) -> SupabaseEntry:
    return SupabaseEntry(name="s", type="supabase", url=server.url, key=supabase_key(), rest_path="", **fields)


def dynamodb_entry(moto: HTTPProcess) -> DynamoDBEntry:
    return DynamoDBEntry(name="d", type="dynamodb", table=f"t-{uuid.uuid4().hex[:12]}", endpoint_url=moto.url, **AWS)


def s3_entry(moto: HTTPProcess) -> S3Entry:
    return S3Entry(name="o", type="s3", bucket=f"b-{uuid.uuid4().hex[:12]}", path="calls", endpoint_url=moto.url, **AWS)


async def make_bucket(moto: HTTPProcess, bucket: str) -> None:
    async with aiohttp.ClientSession() as session, session.put(f"{moto.url}/{bucket}") as response:
        assert response.status == 200


async def rows_of(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT litellm_call_id, status FROM request_logs")
    finally:
        await connection.close()
    return [row["litellm_call_id"] for row in rows]


async def scan(sink: DynamoDB) -> list[str]:
    answer = await sink._ask("Scan", {"TableName": sink._table})
    return [item["id"]["S"] for item in json.loads(answer.body)["Items"]]


async def lines_in_bucket(sink: Any) -> list[str]:
    names = await sink._place.names("")
    contents = [await sink._place.get(name) for name in names]
    return [json.loads(line)["litellm_call_id"] for content in contents for line in content.splitlines()]


async def test_what_is_sent_is_there_once_however_often_it_is_sent(subject: Subject) -> None:
    events = [make_event(tags=("a", "ü"), metadata={"x": [1, {"y": "z"}]}) for _ in range(60)]
    await subject.sink.send(parcel_of(*events))
    await subject.sink.send(parcel_of(*events))
    await subject.sink.send(parcel_of(*events))

    assert sorted(await subject.ids()) == sorted(event.event_id for event in events)


async def test_an_empty_parcel_is_nothing(subject: Subject) -> None:
    await subject.sink.send(Parcel())
    assert await subject.ids() == []


async def test_what_is_missing_is_told_or_sent_again_without_harm(subject: Subject) -> None:
    events = [make_event() for _ in range(6)]
    await subject.sink.send(parcel_of(*events[:4]))

    missing = await subject.sink.missing(parcel_of(*events).events)
    assert {each.event.event_id for each in missing} >= {event.event_id for event in events[4:]}
    if subject.sink.kind in ("s3", "file"):
        assert [each.event for each in missing] == events[4:]


@pytest.mark.parametrize("kind", ["webhook", "supabase", "dynamodb", "s3"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: web.Response(status=503, text="<html>down</html>"), "status 503"),
        (lambda: web.Response(status=429, headers={"retry-after": "7"}), "status 429"),
        (lambda: web.Response(status=401, text="no"), "status 401"),
        (lambda: web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}), "status 302"),
    ],
    ids=["down", "throttled", "unauthorized", "elsewhere"],
)
async def test_what_is_no_yes_is_sent_again(
    opened: Opener, kind: str, answer: Callable[[], web.Response], reason: str
) -> None:
    async with Receiver() as receiver:
        sink = opened(entry_at(kind, receiver))
        receiver.answers = [answer()]
        with pytest.raises(SinkUnavailable, match=reason) as caught:
            await sink.send(parcel_of(make_event()))
        assert caught.value.retry_after_seconds == (7 if "429" in reason else None)


@pytest.mark.parametrize("kind", ["supabase", "dynamodb", "s3"])
async def test_garbage_that_says_200_is_not_believed(opened: Opener, kind: str) -> None:
    async with Receiver() as receiver:
        sink = opened(entry_at(kind, receiver))
        receiver.answers = [web.Response(status=200, text="<html>Welcome to the hotel's network</html>")]
        with pytest.raises(SinkUnavailable):
            await sink.send(parcel_of(make_event()))


@pytest.mark.parametrize("kind", ["webhook", "supabase", "dynamodb", "s3"])
async def test_nobody_there_is_away(opened: Opener, kind: str) -> None:
    receiver = Receiver()
    with pytest.raises(SinkUnavailable, match="could not be reached"):
        await opened(entry_at(kind, receiver)).send(parcel_of(make_event()))


def entry_at(kind: str, receiver: Receiver) -> SinkEntry:
    url = receiver.url
    return {
        "webhook": WebhookEntry(name="w", type="webhook", url=url),
        "supabase": SupabaseEntry(name="s", type="supabase", url=url, key="the-key"),
        "dynamodb": DynamoDBEntry(name="d", type="dynamodb", table="calls", endpoint_url=url, **AWS),
        "s3": S3Entry(name="o", type="s3", bucket="logs", endpoint_url=url, **AWS),
    }[kind]


# Each by itself


async def test_a_webhook_is_signed_and_in_order(opened: Opener) -> None:
    from tallystick.stores.sinks.webhook import sign

    secret = "a-secret-of-twenty-and-more"
    async with Receiver() as receiver:
        entry = WebhookEntry(name="audit", type="webhook", url=receiver.url, secret=secret, headers={"x-mine": "1"})
        events = [make_event() for _ in range(5)]
        await opened(entry).send(parcel_of(*events))

    (headers,), (body,) = receiver.headers, receiver.bodies
    signature = sign(secret.encode(), headers["x-tallystick-timestamp"], body)
    assert headers["x-tallystick-signature"] == signature
    assert headers["x-mine"] == "1"
    told = json.loads(body)
    assert told["sink"] == "audit"
    assert [(each["event_id"], each["seq"]) for each in told["events"]] == [
        (event.event_id, number) for number, event in enumerate(events, 1)
    ]
    assert told["events"][0]["cost_nano_usd"] == 75_000


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_webhook_may_refuse(opened: Opener, status: int) -> None:
    async with Receiver() as receiver:
        receiver.answers = [web.Response(status=status)]
        with pytest.raises(SinkRefused):
            await opened(entry_at("webhook", receiver)).send(parcel_of(make_event()))


async def test_a_row_begins_with_the_call_and_ends_with_it(
    opened: Opener, supabase: HTTPProcess, empty_postgres_url: str
) -> None:
    sink = opened(supabase_entry(supabase))
    assert sink.wants_starts
    intent = make_event(status="interrupted")
    await sink.send(Parcel(starts=(intent,)))
    assert await row_of(empty_postgres_url, intent) == ("initiated", None)

    end = make_event(event_id=intent.event_id, cost_nano_usd=1_500_000_000)
    await sink.send(parcel_of(end))
    await sink.send(Parcel(starts=(intent,)))
    assert await row_of(empty_postgres_url, intent) == ("success", 1.5), "a late start changes nothing"

    failed = make_event(status="failure", error_class="RateLimited", error_message="too 'many'")
    await sink.send(parcel_of(failed))
    assert await row_of(empty_postgres_url, failed) == ("failure", 0.000075)


async def row_of(url: str, event: SpendEvent) -> tuple[str, float | None]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            "SELECT status, total_cost FROM request_logs WHERE litellm_call_id = $1", event.event_id
        )
    finally:
        await connection.close()
    assert row is not None
    return row["status"], row["total_cost"]


async def test_a_row_that_the_database_refuses_is_refused(
    opened: Opener, supabase: HTTPProcess, empty_postgres_url: str
) -> None:
    connection = await asyncpg.connect(empty_postgres_url)
    await connection.execute("ALTER TABLE request_logs ADD CONSTRAINT short CHECK (length(end_user) < 5)")
    await connection.close()
    sink = opened(supabase_entry(supabase))
    with pytest.raises(SinkRefused, match="23514"):
        await sink.send(parcel_of(make_event(), make_event(end_user_id="too-long")))
    await sink.send(parcel_of(make_event()))


async def test_a_table_that_is_not_there_is_no_refusal(opened: Opener, supabase: HTTPProcess) -> None:
    sink = opened(supabase_entry(supabase, table="elsewhere"))
    with pytest.raises(SinkUnavailable, match="is there such a table"):
        await sink.send(parcel_of(make_event()))


async def test_a_bucket_that_is_not_there_is_named_by_its_code(opened: Opener, moto: HTTPProcess) -> None:
    with pytest.raises(SinkUnavailable, match="NoSuchBucket"):
        await opened(s3_entry(moto)).send(parcel_of(make_event()))


async def test_a_throttled_table_is_asked_again_for_what_it_did_not_take(opened: Opener) -> None:
    async with Receiver() as receiver:
        sink = opened(entry_at("dynamodb", receiver))
        event = make_event()
        item = {"PutRequest": {"Item": {"id": {"S": event.event_id}}}}
        receiver.answers = [
            web.json_response({"UnprocessedItems": {"calls": [item]}}),
            web.json_response({"UnprocessedItems": {}}),
        ]
        await sink.send(parcel_of(event))
        assert receiver.answers == []
        receiver.answers = [web.json_response({"UnprocessedItems": {"calls": [item]}}) for _ in range(5)]
        with pytest.raises(SinkUnavailable, match="throttled"):
            await sink.send(parcel_of(event))


async def test_an_item_that_is_too_large_is_refused(opened: Opener) -> None:
    async with Receiver() as receiver:
        words = "Item size has exceeded the maximum allowed size"
        told = {"__type": "com.amazon.coral.validate#ValidationException", "message": words}
        receiver.answers = [web.json_response(told, status=400)]
        with pytest.raises(SinkRefused, match="Item size"):
            await opened(entry_at("dynamodb", receiver)).send(parcel_of(make_event()))


async def test_objects_are_by_hour_and_pages_of_names_are_followed(opened: Opener, moto: HTTPProcess) -> None:
    from datetime import timedelta

    entry = s3_entry(moto)
    await make_bucket(moto, entry.bucket)
    sink: Any = opened(entry)
    events = [make_event(started_at=make_event().started_at + timedelta(minutes=25 * number)) for number in range(12)]
    await sink.send(parcel_of(*events))
    names = await sink._place.names("")
    assert len(names) == 5
    assert all(name.startswith("2026/11/23/1") for name in names)
    assert sorted(await lines_in_bucket(sink)) == sorted(event.event_id for event in events)
    await asyncio.sleep(0)

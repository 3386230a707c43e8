"""The key endpoints: what they make, show and refuse."""

from __future__ import annotations

import json

import pytest

from tallystick.access.keys import hash_key
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.store import Author
from tallystick.ledger.batch import batch_of
from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import new_event_id


async def test_a_key_is_made_with_what_was_sent(house):
    now = house.clock.now()
    for kind, object_id in ((Kind.TEAM, "t1"), (Kind.ORGANIZATION, "o1")):
        made = ControlObject(kind=kind, object_id=object_id, created_at=now, updated_at=now)
        await house.services.writer.create(made, author=Author(key_hash="test"))
    sent = {
        "key_alias": "ci",
        "models": ["gpt-4o-mini", "openai/*"],
        "user_id": "u1",
        "team_id": "t1",
        "organization_id": "o1",
        "tags": ["a", "b"],
        "metadata": {"cost_center": 7, "nested": {"x": [1, None]}},
        "duration": "30d",
        "blocked": False,
    }
    made = await house.make_key(**sent)
    assert {name: made[name] for name in sent} == sent
    assert made["key"].startswith("sk-")
    assert made["token"] == made["token_id"] == hash_key(made["key"]) != made["key"]
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    assert made["expires"] == "2026-02-04T12:00:00+00:00"
    assert made["created_at"] == made["updated_at"] == "2026-01-05T12:00:00+00:00"
    principal = await house.authenticator.authenticate(made["key"])
    assert (principal.user_id, principal.team_id, principal.tags) == ("u1", "t1", ("a", "b"))


async def test_a_key_needs_nothing(house):
    answer = await house.client.post("/key/generate")
    assert answer.status == 200
    made = answer.json()
    assert made["expires"] is None
    assert made["user_id"] is None
    assert made["models"] == []


async def test_no_answer_but_the_first_shows_the_key(house):
    made = await house.make_key(key_alias="ci")
    for answer in (
        await house.client.get("/key/info", key=made["key"]),
        await house.client.get("/key/list", return_full_object="true"),
        await house.client.post("/key/block", {"key": made["key"]}),
    ):
        assert answer.status == 200
        assert made["key"].encode() not in answer.body


async def test_an_own_key(house):
    own = "sk-my-own-key-of-16+"
    assert (await house.make_key(key=own))["key"] == own
    for bad in ("sk-short", "my-own-key-of-16+", "sk-my own key of 16 chars", "sk-" + "x" * 501, "sk-café-café-café"):
        error = await house.refused(400, "/key/generate", {"key": bad})
        assert error["param"] == "key"
        assert bad not in error["message"]
    assert "already exists" in (await house.refused(400, "/key/generate", {"key": own}))["message"]
    assert "master key" in (await house.refused(400, "/key/generate", {"key": house.master}))["message"]


async def test_a_key_that_was_tried_before_it_existed_works_at_once(house):
    own = "sk-my-own-key-of-16+"
    await house.refused(401, "/key/info", key=own)
    await house.make_key(key=own)
    assert (await house.client.get("/key/info", key=own)).status == 200


async def test_an_alias_belongs_to_one_key(house):
    await house.make_key(key_alias="ci")
    error = await house.refused(400, "/key/generate", {"key_alias": "ci"})
    assert error["param"] == "key_alias"
    assert "already exists" in error["message"]


async def test_fields_without_effect_are_named(house):
    answer = await house.client.post("/key/generate", {"max_budget": 3, "send_invite_email": True, "café\r\n": 1})
    assert answer.status == 200
    assert answer.headers["x-tallystick-ignored-fields"] == "caf???, send_invite_email"
    listed = await house.client.get("/key/list", expand="user")
    assert listed.headers["x-tallystick-ignored-fields"] == "expand"
    assert "x-tallystick-ignored-fields" not in (await house.client.post("/key/generate", {})).headers


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("models", "gpt-4o", "models"),
        ("models", ["a", 3], "models[1]"),
        ("user_id", 3, "user_id"),
        ("user_id", "x" * 257, "user_id"),
        ("user_id", "nul\0", "user_id"),
        ("metadata", [], "metadata"),
        ("metadata", {"a": {"b": "nul\0"}}, "metadata"),
        ("metadata", {"a": "x" * 70_000}, "metadata"),
        ("metadata", {"n": 2**63}, "metadata"),
        ("blocked", "yes", "blocked"),
        ("tags", {"a": 1}, "tags"),
        ("duration", "soon", "duration"),
        ("duration", 30, "duration"),
        ("key", 5, "key"),
    ],
)
async def test_wrong_values_are_named(house, field, value, param):
    error = await house.refused(400, "/key/generate", {field: value})
    assert error["param"] == param
    assert field in error["message"]
    assert len(error["message"]) < 400


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"3", b'"x"', b"\xff", b'{"metadata": {"a": NaN}}', b'{"user_id": "\\ud800"}', b"[" * 100_000],
)
async def test_bodies_that_are_no_request(house, body):
    await house.refused(400, "/key/generate", body)


async def test_a_deeply_nested_object_is_refused(house):
    nested: dict = {}
    for _ in range(40):
        nested = {"a": nested}
    assert "nested" in (await house.refused(400, "/key/generate", {"metadata": nested}))["message"]


async def test_a_huge_body_is_refused(house):
    await house.refused(413, "/key/generate", json.dumps({"metadata": {"a": "x" * 2_000_000}}).encode())


@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "text/plain", "garbage"])
async def test_a_body_is_json_whatever_it_is_called(house, content_type):
    answer = await house.client.post("/key/generate", {"user_id": "u"}, headers={"content-type": content_type})
    assert answer.status == 200
    assert answer.json()["user_id"] == "u"


async def test_info_shows_spend_in_dollars(house):
    made = await house.make_key(user_id="u1", key_alias="ci")
    now = house.clock.now()
    event = SpendEvent(
        event_id=new_event_id(now), call_type="acompletion", endpoint="/v1/chat/completions", status="success",
        started_at=now, ended_at=now, key_hash=made["token"], cost_nano_usd=1_234_567_891,
    )  # fmt: skip
    await house.store.commit(batch_of("p", 1, [event]))
    for query in ({"key": made["key"]}, {"key": made["token"]}):
        shown = (await house.client.request("GET", "/key/info", query=query)).json()
        assert shown["key"] == query["key"]
        assert shown["info"]["spend"] == 1.234567891
        assert shown["info"]["key_alias"] == "ci"
        assert shown["info"]["blocked"] is False
        assert {"max_budget", "budget_reset_at", "litellm_budget_table", "expires"} <= shown["info"].keys()
    own = (await house.client.get("/key/info", key=made["key"])).json()
    assert own["key"] == made["token"]
    assert own["info"]["user_id"] == "u1"
    (listed,) = (await house.client.get("/key/list", return_full_object="true")).json()["keys"]
    assert (listed["token"], listed["spend"]) == (made["token"], 1.234567891)


async def test_info_of_the_master_key(house):
    shown = (await house.client.get("/key/info")).json()
    assert shown["key"] == "litellm_proxy_master_key"
    assert shown["info"]["key_alias"] == "master"
    assert hash_key(house.master).encode() not in (await house.client.get("/key/info", key=house.master)).body


async def test_info_of_what_is_not_there(house):
    for unknown in ("sk-nobody-has-this-key", "0" * 64):
        answer = await house.client.request("GET", "/key/info", query={"key": unknown})
        assert answer.status == 404
        assert "not found" in answer.error["message"]


async def test_list_pages_and_filters(house):
    for number in range(25):
        house.clock.advance(1)
        await house.make_key(key_alias=f"k{number}", user_id="even" if number % 2 == 0 else "odd")
    first = (await house.client.get("/key/list")).json()
    assert (len(first["keys"]), first["total_count"], first["current_page"], first["total_pages"]) == (10, 25, 1, 3)
    last = (await house.client.get("/key/list", page=3, size=10)).json()
    assert len(last["keys"]) == 5
    beyond = (await house.client.get("/key/list", page=9)).json()
    assert (beyond["keys"], beyond["total_count"]) == ([], 25)
    assert (await house.client.get("/key/list", user_id="odd")).json()["total_count"] == 12
    assert (await house.client.get("/key/list", key_alias="k7")).json()["total_count"] == 1
    assert (await house.client.get("/key/list", user_id="")).json()["total_count"] == 25
    for wrong in ({"page": 0}, {"size": 101}, {"size": "many"}, {"user_id": "a\0"}):
        assert (await house.refused(400, "/key/list", **wrong))["param"] == next(iter(wrong))


async def test_block_and_unblock(house):
    made = await house.make_key()
    assert (await house.client.get("/key/info", key=made["key"])).status == 200
    blocked = await house.client.post("/key/block", {"key": made["key"]})
    assert blocked.json()["blocked"] is True
    assert "blocked" in (await house.refused(401, "/key/info", key=made["key"]))["message"]
    assert (await house.client.post("/key/unblock", {"key": made["token"]})).json()["blocked"] is False
    assert (await house.client.get("/key/info", key=made["key"])).status == 200
    assert "not found" in (await house.refused(404, "/key/block", {"key": "sk-nobody-has-this-key"}))["message"]
    assert (await house.refused(400, "/key/block", {}))["param"] == "key"


async def test_delete(house):
    first, second = await house.make_key(key_alias="one"), await house.make_key()
    assert (await house.client.get("/key/info", key=first["key"])).status == 200
    missing = {"keys": [second["key"], "sk-nobody-has-this-key"]}
    assert "not found" in (await house.refused(404, "/key/delete", missing))["message"]
    assert (await house.client.get("/key/info", key=second["key"])).status == 200
    answer = await house.client.post("/key/delete", {"keys": [second["token"]], "key_aliases": ["one"]})
    assert answer.json() == {"deleted_keys": [second["token"], "one"]}
    await house.refused(401, "/key/info", key=first["key"])
    await house.refused(401, "/key/info", key=second["key"])
    assert (await house.client.request("GET", "/key/info", query={"key": first["token"]})).status == 404
    assert "not found" in (await house.refused(404, "/key/delete", {"key_aliases": ["one"]}))["message"]
    await house.refused(400, "/key/delete", {})


KEYED = [
    ("POST", "/key/generate"), ("POST", "/key/delete"), ("POST", "/key/block"), ("POST", "/key/unblock"),
    ("GET", "/key/list"), ("GET", "/ledger/events"),
]  # fmt: skip


@pytest.mark.parametrize("path", ["/key/block", "/key/unblock", "/key/update"])
async def test_what_a_key_may_not_do_with_itself(house, path):
    made = await house.make_key()
    error = await house.refused(403, path, {"key": made["key"]}, key=made["key"])
    assert "not allowed" in error["message"]
    assert (await house.client.get("/key/info", key=made["key"])).json()["info"]["blocked"] is False


async def test_a_key_sees_itself_only(house):
    made, other = await house.make_key(), await house.make_key()
    for query, status in ((other["key"], 403), (other["token"], 403), ("sk-nobody-has-this-key", 404)):
        answer = await house.client.request("GET", "/key/info", key=made["key"], query={"key": query})
        assert answer.status == status
    answer = await house.client.request("GET", "/key/info", key=made["key"], query={"key": made["key"]})
    assert answer.status == 200


@pytest.mark.parametrize(("method", "path"), [*KEYED, ("GET", "/key/info"), ("GET", "/spend/logs")])
async def test_without_a_key_nothing(house, method, path):
    house.client.key = None
    answer = await house.client.request(method, path, {} if method == "POST" else None)
    assert answer.status == 401
    assert answer.error["code"] == "401"


async def test_the_database_away_is_503(house):
    made = await house.make_key()
    await house.client.get("/key/info", key=made["key"])
    house.store.away = house.control.away = True
    await house.refused(503, "/key/generate", {})
    await house.refused(503, "/key/info", key=made["key"])
    await house.refused(503, "/spend/logs")
    await house.refused(503, "/spend/logs", key="sk-never-seen-before")
    answer = await house.client.post("/key/generate", {})
    assert "retry-after" in answer.headers

"""What the admin API does with the unexpected, and what it says about itself."""

from __future__ import annotations

import re
from dataclasses import replace

from structlog.testing import capture_logs

from asgi_client import ASGIClient
from tallystick.admin.app import create_admin_app


async def test_unknown_paths_are_answered_in_the_envelope(house):
    for path in ("/nothing", "/key", "/key/generate/", "/docs/x"):
        error = (await house.client.get(path)).error
        assert (error["code"], error["type"]) == ("404", "not_found_error")
        assert "ot found" in error["message"]


async def test_a_wrong_method_is_405(house):
    answer = await house.client.get("/key/generate")
    assert (answer.status, answer.error["code"]) == (405, "405")
    assert answer.headers["allow"] == "POST"


async def test_an_unexpected_error_shows_an_id_and_no_traceback(house):
    house.store.fail_next(1, ValueError("sk-secret-secret in the code"))
    with capture_logs() as logs:
        answer = await house.client.get("/spend/logs")
    assert answer.status == 500
    assert [(line["event"], line["error_id"]) for line in logs] == [("admin_request_crashed", "error-1")]
    assert "error-1" in answer.error["message"]
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert b"tallystick_internal_errors_total 1.0" in house.metrics.render()


async def test_openapi_lists_calls_and_admin(house):
    document = (await house.client.get("/openapi.json")).json()
    assert {"/v1/chat/completions", "/v1/models", "/key/generate", "/spend/logs", "/ledger/events"} <= set(
        document["paths"]
    )
    generate = document["paths"]["/key/generate"]["post"]
    assert generate["security"] == [{"HTTPBearer": []}]
    assert "key_alias" in document["components"]["schemas"]["GenerateKey"]["properties"]


async def test_the_docs_page_lists_everything_and_loads_nothing(house):
    answer = await house.client.get("/docs")
    page = answer.body.decode()
    document = (await house.client.get("/openapi.json")).json()
    assert answer.status == 200
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    for name in ("key_alias", "request_id", "start_date", "messages", "return_full_object"):
        assert f"<code>{name}</code>" in page
    assert "curl http://gateway.test/v1/chat/completions" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=.(https?:)?//", page)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_host_header_can_not_write_into_the_page(house):
    answer = await house.client.get("/docs", headers={"host": "x<script>alert(1)</script>"})
    assert b"<script" not in answer.body


async def test_a_header_of_the_settings_carries_the_key(house):
    client = ASGIClient(create_admin_app(replace(house.services, key_header=b"x-company-key")))
    assert (await client.get("/key/list", headers={"x-company-key": house.master})).status == 200
    assert (await client.get("/key/list", headers={"x-api-key": house.master})).status == 200
    assert (await client.get("/key/list")).status == 401

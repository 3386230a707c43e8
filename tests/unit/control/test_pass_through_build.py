"""From pass-through endpoints as they are written to ones that can be called."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models_kit import builder_of, row, settings_of
from tallystick.admin.routes import RULES
from tallystick.config.pass_through_settings import RESERVED
from tallystick.control.objects import Kind
from tallystick.control.store import Loaded
from tallystick.errors import ConfigError


def text_of(**entry: Any) -> str:
    whole = {"path": "/svc", "target": "https://service.example/v1/", **entry}
    return json.dumps({"general_settings": {"pass_through_endpoints": [whole]}})


def built(tmp_path: Any, *objects: Any, environ: dict[str, str] | None = None, text: str = "") -> Any:
    builder = builder_of(settings_of(tmp_path, text), environ=environ)
    builder.check()
    return builder.build(Loaded(revision=1, objects=objects))


def endpoint(object_id: str = "p-1", path: str = "/svc", **spec: Any) -> Any:
    return row(Kind.PASS_THROUGH_ENDPOINT, object_id, {"target": "https://service.example/v1", **spec}, name=path)


def test_references_stand_alone_or_behind_other_text(tmp_path: Any) -> None:
    headers = {"authorization": "Bearer os.environ/TOKEN", "x-key": "os.environ/TOKEN"}
    found = built(tmp_path, endpoint(headers=headers), environ={"TOKEN": "t-1"}).pass_through.endpoints[0]
    assert found.target.headers == {"authorization": "Bearer t-1", "x-key": "t-1"}
    assert (found.auth, found.include_subpath, found.price) == (True, False, None)


def test_an_object_that_can_not_be_called_is_left_out_and_takes_no_other_with_it(tmp_path: Any) -> None:
    snapshot = built(
        tmp_path,
        endpoint("p-1", "/good"),
        endpoint("p-2", "/lost", headers={"a": "os.environ/GONE"}),
        endpoint("p-3", "/strange", target="ftp://x"),
        endpoint("p-4", "/good"),
        endpoint("p-5", "/garbled", headers={"a": "x\r\ny: z"}),
    )
    assert [each.path for each in snapshot.pass_through.endpoints] == ["/good"]
    reasons = {each.object_id: each.reason for each in snapshot.left_out}
    assert reasons.keys() == {"p-2", "p-3", "p-4", "p-5"}
    assert reasons["p-2"] == "headers: the environment variable GONE is not set"
    assert reasons["p-4"] == "path: there is another endpoint with the path /good"


def test_the_files_endpoint_goes_before_the_databases(tmp_path: Any) -> None:
    snapshot = built(tmp_path, endpoint(target="https://other.example"), text=text_of())
    assert [each.target.api_base for each in snapshot.pass_through.endpoints] == ["https://service.example/v1"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"path": "svc"}, "path"),
        ({"path": "/"}, "path"),
        ({"path": "/v1"}, "paths of its own"),
        ({"path": "/key/anything"}, "paths of its own"),
        ({"path": "/a/../key"}, "path"),
        ({"path": "/a b"}, "path"),
        ({"target": "service.example"}, "address"),
        ({"target": "https://user:secret@host/"}, "login"),
        ({"target": "file:///etc/passwd"}, "address"),
        ({"target": "https:///x"}, "address"),
        ({"methods": ["CONNECT"]}, "methods"),
        ({"methods": []}, "methods"),
        ({"cost_per_request": -1}, "cost_per_request"),
        ({"guardrails": {}}, "guardrails"),
        ({"headers": {"a": "os.environ/GONE"}}, "GONE"),
    ],
)
def test_a_wrong_entry_of_the_file_stops_the_start(tmp_path: Any, entry: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        built(tmp_path, text=text_of(**entry))
    assert "secret" not in str(raised.value)


def test_the_environment_and_credentials_sign_in_where_no_deployment_is(tmp_path: Any) -> None:
    text = (
        "credential_list: [{credential_name: c, credential_values: {api_key: from-the-credential},"
        " credential_info: {custom_llm_provider: cohere}}]"
    )
    environ = {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a", "COHERE_API_KEY": "sk-c"}
    accounts = built(tmp_path, environ=environ, text=text).pass_through.accounts
    assert accounts.keys() == {"openai", "anthropic", "cohere"}
    assert accounts["openai"].headers == {"authorization": "Bearer sk-o"}
    assert accounts["cohere"].headers == {"authorization": "Bearer from-the-credential"}


def test_every_path_of_the_admin_api_is_reserved() -> None:
    first = {path.split("/")[1] for _, path in RULES}
    assert {each for each in first if each not in ("v1", "v2")} <= RESERVED

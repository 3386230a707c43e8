from __future__ import annotations

import json
from typing import Any

import pytest

from tallystick.providers import aws_target
from tallystick.providers.aws_identity import AWSIdentity
from tallystick.providers.aws_target import AWS_IDENTITY
from tallystick.providers.base import InvalidTarget, Target
from tallystick.providers.bedrock import Bedrock
from tallystick.providers.catalog import build_target
from tallystick.providers.translator import Translator
from tallystick.providers.transport import RawAnswer
from tallystick.wire.openai.request import parse_request

ARN = "arn:aws:bedrock:us-west-2:1:inference-profile/p"
SAID = {"messages": [{"role": "user", "content": [{"text": "x"}]}]}
REGION = {"aws_region_name": "eu-west-1"}
KEYS = {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s"}


def identity(target: Target) -> AWSIdentity:
    found = target.options[AWS_IDENTITY]
    assert isinstance(found, AWSIdentity)
    return found


def test_keys_of_the_deployment() -> None:
    target = build_target("bedrock/anthropic.claude-x", aws={**REGION, **KEYS, "aws_session_token": "t"})
    assert (target.model, target.api_base) == (
        "anthropic.claude-x",
        "https://bedrock-runtime.eu-west-1.amazonaws.com",
    )
    assert identity(target) == AWSIdentity(
        access_key_id="AKIA1", secret_access_key="s", session_token="t", region="eu-west-1"
    )
    assert "authorization" not in target.headers


@pytest.mark.parametrize(
    ("model", "named", "region"),
    [
        ("converse/us.amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1:0", "eu-west-1"),
        ("invoke/us-east-1/anthropic.claude-x", "anthropic.claude-x", "us-east-1"),
        ("us-gov-west-1/anthropic.claude-x", "anthropic.claude-x", "us-gov-west-1"),
        (
            "arn:aws:bedrock:us-west-2:1:inference-profile/p",
            "arn:aws:bedrock:us-west-2:1:inference-profile/p",
            "us-west-2",
        ),
    ],
)
def test_what_a_name_tells(model: str, named: str, region: str) -> None:
    target = build_target(f"bedrock/{model}", aws=KEYS, environment={"AWS_REGION": "eu-west-1"})
    assert (target.model, identity(target).region) == (named, region)


def test_addresses() -> None:
    china = build_target("bedrock/m", aws={"aws_region_name": "cn-north-1", **KEYS})
    assert china.api_base == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"
    own = build_target("bedrock/m", aws={**REGION, "aws_bedrock_runtime_endpoint": "http://h:1/"})
    assert own.api_base == "http://h:1"


def test_the_environment() -> None:
    variables = {"AWS_ACCESS_KEY_ID": "AKIA2", "AWS_SECRET_ACCESS_KEY": "e", "AWS_DEFAULT_REGION": "us-east-1"}
    assert identity(build_target("bedrock/m", environment=variables)) == AWSIdentity(
        access_key_id="AKIA2", secret_access_key="e", region="us-east-1"
    )
    profile = build_target("bedrock/m", aws={"aws_profile_name": "work"}, environment=variables)
    assert identity(profile) == AWSIdentity(profile_name="work", region="us-east-1")
    role = build_target("bedrock/m", aws={"aws_role_name": "arn:r", "aws_session_name": "s"}, environment=variables)
    assert (identity(role).role_arn, identity(role).access_key_id) == ("arn:r", "AKIA2")
    assert identity(build_target("bedrock/m", aws=REGION)) == AWSIdentity(region="eu-west-1")


def test_bearer_tokens() -> None:
    variables = {"AWS_BEARER_TOKEN_BEDROCK": "tok", "AWS_REGION": "us-east-1"}
    by_variable = build_target("bedrock/m", environment=variables)
    assert (by_variable.headers, AWS_IDENTITY in by_variable.options) == ({"authorization": "Bearer tok"}, False)
    own = build_target("bedrock/m", api_key="own", aws=KEYS, environment=variables)
    assert own.headers == {"authorization": "Bearer own"}
    assert AWS_IDENTITY in build_target("bedrock/m", aws=KEYS, environment=variables).options


@pytest.mark.parametrize(
    ("aws", "field"),
    [
        ({}, "aws_region_name"),
        ({"aws_region_name": "mars"}, "aws_region_name"),
        ({"aws_region_name": "evil.example/x"}, "aws_region_name"),
        ({**REGION, "aws_access_key_id": "a"}, "aws_secret_access_key"),
        ({**REGION, "aws_secret_access_key": "a"}, "aws_access_key_id"),
    ],
)
def test_what_is_missing(aws: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        build_target("bedrock/m", aws=aws)
    assert caught.value.field == field


def test_parameters_of_aws_elsewhere() -> None:
    with pytest.raises(InvalidTarget, match="no effect on openai"):
        build_target("openai/m", api_key="k", aws=REGION)


def test_without_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_target, "find_spec", lambda _name: None)
    with pytest.raises(InvalidTarget, match=r"tallystick\[aws\]"):
        build_target("bedrock/m", aws={**REGION, **KEYS})
    assert build_target("bedrock/m", api_key="t", aws=REGION).headers == {"authorization": "Bearer t"}


class OneAnswer:
    """A transport that keeps what it was given and gives one answer."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, bytes, dict[str, Any]]] = []

    async def send(self, method: str, to: Any, body: bytes, **options: Any) -> RawAnswer:
        self.sent.append((to, body, options))
        return RawAnswer(status=200, headers={}, body=b"{}", chunks=None)


class Signer:
    def __init__(self) -> None:
        self.signed: list[tuple[str, str, dict[str, str], bytes]] = []

    async def sign(self, identity: AWSIdentity, *, service: str, url: str, headers: Any, body: bytes) -> dict[str, str]:
        self.signed.append((service, url, dict(headers), body))
        return {**headers, "Authorization": f"signed {len(self.signed)}"}


@pytest.mark.parametrize(("stream", "operation"), [(False, "converse"), (True, "converse-stream")])
async def test_calls_are_signed_one_by_one(*, stream: bool, operation: str) -> None:
    transport, signer, loads = OneAnswer(), Signer(), []

    def load() -> Signer:
        loads.append(1)
        return signer

    provider = Bedrock(transport, Translator(now_seconds=lambda: 7), load_signer=load)  # type: ignore[arg-type]
    target = build_target("bedrock/a.b:0", aws={**REGION, **KEYS}, extra_headers={"x-amzn-bedrock-trace": "on"})
    body = {"model": "group", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
    for _ in range(2):
        await provider.send(parse_request("chat/completions", json.dumps(body).encode()), target)
    assert loads == [1]
    for number, (to, sent, options) in enumerate(transport.sent, 1):
        assert to.url == f"https://bedrock-runtime.eu-west-1.amazonaws.com/model/a.b%3A0/{operation}"
        assert to.headers["authorization"] == f"signed {number}"
        assert (options["stream"], json.loads(sent)) == (
            stream,
            {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        )
        told = {"content-type": "application/json", "x-amzn-bedrock-trace": "on"}
        assert signer.signed[number - 1] == ("bedrock", to.url, told, sent)


async def test_a_bearer_token_needs_no_signature() -> None:
    transport = OneAnswer()
    provider = Bedrock(transport, Translator(now_seconds=lambda: 7), load_signer=Signer)  # type: ignore[arg-type]
    target = build_target("bedrock/a.b", api_key="tok", aws=REGION)
    request = parse_request("chat/completions", b'{"model":"g","messages":[{"role":"user","content":"x"}]}')
    await provider.send(request, target)
    await provider.send(request, target)
    assert [to.headers["authorization"] for to, _, _ in transport.sent] == ["Bearer tok"] * 2
    assert transport.sent[0][0] is transport.sent[1][0]

"""Signatures checked by SigV4 as AWS' documentation has it, written here anew."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from aiohttp import web
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError

from tallystick.errors import UpstreamUnreachable
from tallystick.providers import aws_signing
from tallystick.providers.aws_identity import AWSIdentity
from tallystick.providers.aws_signing import AWSSigning

URL = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/eu.anthropic.claude%3A0/converse"
KEYS = AWSIdentity(access_key_id="AKIA1", secret_access_key="s3cr3t", region="eu-west-1")


@pytest.fixture(autouse=True)
def _no_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


async def sign(signing: AWSSigning, identity: AWSIdentity = KEYS, **headers: str) -> dict[str, str]:
    signed = await signing.sign(identity, service="bedrock", url=URL, headers=headers, body=b"{}")
    return {name.lower(): value for name, value in signed.items()}


def signature(headers: dict[str, str], secret: str) -> str:
    """Return the signature that these headers should have."""
    parts = urlsplit(URL)
    names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    told = {**headers, "host": parts.netloc}
    lines = "".join(f"{name}:{told[name].strip()}\n" for name in names.split(";"))
    body = hashlib.sha256(b"{}").hexdigest()
    # Every segment of the path is encoded twice, but for S3.
    request = f"POST\n{quote(parts.path)}\n\n{lines}\n{names}\n{body}"
    moment = headers["x-amz-date"]
    scope = f"{moment[:8]}/eu-west-1/bedrock/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


async def test_a_signature_is_right() -> None:
    headers = await sign(AWSSigning(), **{"content-type": "application/json", "x-amz-trace": "t"})
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA1/")
    assert headers["authorization"].endswith(f"Signature={signature(headers, 's3cr3t')}")
    assert "x-amz-trace" in headers["authorization"]
    assert "x-amz-security-token" not in headers


async def test_a_session_token_is_signed_too() -> None:
    identity = AWSIdentity(access_key_id="AKIA1", secret_access_key="s3cr3t", session_token="tok", region="eu-west-1")
    headers = await sign(AWSSigning(), identity)
    assert headers["x-amz-security-token"] == "tok"
    assert headers["authorization"].endswith(f"Signature={signature(headers, 's3cr3t')}")


async def test_a_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = AKIA2\naws_secret_access_key = other\n")
    headers = await sign(AWSSigning(), AWSIdentity(profile_name="work", region="eu-west-1"))
    assert "Credential=AKIA2/" in headers["authorization"]
    assert headers["authorization"].endswith(f"Signature={signature(headers, 'other')}")


@pytest.mark.parametrize(("profile", "reason"), [("", "none are configured"), ("nobody", "ProfileNotFound")])
async def test_no_credentials(profile: str, reason: str) -> None:
    with pytest.raises(UpstreamUnreachable, match=reason):
        await sign(AWSSigning(), AWSIdentity(profile_name=profile, region="eu-west-1"))


STS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>rolesecret</SecretAccessKey><SessionToken>roletoken</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
REFUSED = """<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User arn:aws:iam::123:user/x
is not allowed</Message></Error></ErrorResponse>"""


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_role_is_assumed(monkeypatch: pytest.MonkeyPatch, *, allowed: bool) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(await request.post()))
        return web.Response(text=STS if allowed else REFUSED, status=200 if allowed else 403, content_type="text/xml")

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "*")
    role = AWSIdentity(
        access_key_id="AKIA1",
        secret_access_key="s3cr3t",
        role_arn="arn:aws:iam::123:role/gateway",
        role_session_name="mine",
        region="eu-west-1",
    )
    signing = AWSSigning()
    try:
        if not allowed:
            with pytest.raises(UpstreamUnreachable, match="answered AccessDenied") as caught:
                await sign(signing, role)
            assert "arn:" not in str(caught.value)
            return
        headers = await sign(signing, role)
        await sign(signing, role)
    finally:
        await runner.cleanup()
    assert [(each["RoleArn"], each["RoleSessionName"]) for each in asked] == [(role.role_arn, "mine")]
    assert (headers["x-amz-security-token"], "Credential=ASIAROLE/" in headers["authorization"]) == ("roletoken", True)
    assert headers["authorization"].endswith(f"Signature={signature(headers, 'rolesecret')}")


class Source:
    """Credentials that end: each time they are asked for they are others, and a test says when they come."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.asked += 1
        assert self.may_answer.wait(10)
        if self.fails:
            raise CredentialRetrievalError(provider="process", error_msg="a secret")
        return ReadOnlyCredentials(f"AKIA{self.asked}", "s", None, None)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    made = Source()
    monkeypatch.setattr(aws_signing, "_find", lambda _identity: made)
    return made


async def used(signing: AWSSigning) -> str:
    return (await sign(signing))["authorization"].partition("Credential=")[2].partition("/")[0]


async def renewed(signing: AWSSigning) -> None:
    renewal = next(iter(signing._sources.values()))._renewal
    assert renewal is not None
    await renewal


async def test_credentials_are_renewed_beside_the_calls(source: Source) -> None:
    time = Time()
    signing = AWSSigning(monotonic=time)
    assert await asyncio.gather(*(used(signing) for _ in range(5))) == ["AKIA1"] * 5
    time.now = 59.0
    assert await used(signing) == "AKIA1"
    assert source.asked == 1
    time.now = 61.0
    source.may_answer.clear()
    assert [await used(signing) for _ in range(3)] == ["AKIA1"] * 3  # Nobody waits.
    source.may_answer.set()
    await renewed(signing)
    assert await used(signing) == "AKIA2"
    assert source.asked == 2


async def test_old_credentials_are_waited_for(source: Source) -> None:
    time = Time()
    signing = AWSSigning(monotonic=time)
    await used(signing)
    time.now = 301.0
    assert await used(signing) == "AKIA2"


async def test_while_the_source_is_away(source: Source) -> None:
    time = Time()
    signing = AWSSigning(monotonic=time)
    await used(signing)
    source.fails = True
    time.now = 200.0
    assert await used(signing) == "AKIA1"
    await renewed(signing)
    time.now = 301.0
    with pytest.raises(UpstreamUnreachable, match="CredentialRetrievalError") as caught:
        await used(signing)
    assert "a secret" not in str(caught.value)
    source.fails = False
    assert (await used(signing)).startswith("AKIA")


async def test_a_source_that_hangs(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_signing, "_WAIT_SECONDS", 0.01)
    source.may_answer.clear()
    try:
        with pytest.raises(UpstreamUnreachable, match="none after"):
            await used(AWSSigning())
    finally:
        source.may_answer.set()


async def test_identities_are_bounded(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_signing, "_IDENTITIES_MAX", 2)
    signing = AWSSigning()
    for number in range(5):
        await sign(signing, AWSIdentity(access_key_id=str(number), secret_access_key="s", region="eu-west-1"))
    assert len(signing._sources) <= 2

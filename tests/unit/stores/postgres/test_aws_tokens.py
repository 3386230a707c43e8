"""IAM tokens of RDS, recomputed by hand from the published rules of Signature Version 4."""

from __future__ import annotations

import hashlib
import hmac
import threading
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import ClientError, EndpointConnectionError

from tallystick.errors import ConfigError, StoreUnavailable
from tallystick.stores.postgres.aws_tokens import RDSTokens

HOST = "db.abc.eu-central-1.rds.amazonaws.com"


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def signature_of(token: str, region: str) -> str:
    parts = urlsplit(f"https://{token}")
    values = dict(parse_qsl(parts.query))
    del values["X-Amz-Signature"]
    query = "&".join(f"{quote(name, safe='')}={quote(values[name], safe='')}" for name in sorted(values))
    nothing = hashlib.sha256(b"").hexdigest()
    request = f"GET\n/\n{query}\nhost:{parts.netloc}\n\nhost\n{nothing}"
    moment = values["X-Amz-Date"]
    scope = f"{moment[:8]}/{region}/rds-db/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4the-secret"
    for part in (moment[:8], region, "rds-db", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


@pytest.mark.parametrize(("given", "region"), [(None, "eu-central-1"), ("us-west-2", "us-west-2")])
async def test_a_token_is_a_signed_request(given, region) -> None:
    token = await RDSTokens(host=HOST, port=5433, user="tally stick@x", region=given).issue()
    assert token.text.startswith(f"{HOST}:5433/?")
    values = dict(parse_qsl(urlsplit(f"https://{token.text}").query))
    assert (values["Action"], values["DBUser"], values["X-Amz-Expires"]) == ("connect", "tally stick@x", "900")
    assert values["X-Amz-Credential"].startswith("AKIDEXAMPLE/")
    assert values["X-Amz-Signature"] == signature_of(token.text, region)
    assert token.lifetime_seconds == 900


async def test_without_credentials_the_database_is_not_available(monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreUnavailable, match="credentials"):
        await RDSTokens(host=HOST, port=5432, user="u", region=None).issue()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            ClientError(
                {"Error": {"Code": "AccessDenied", "Message": "arn:aws:iam::123456789012:role/x may not"}}, "AssumeRole"
            ),
            "AccessDenied",
        ),
        (ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "AssumeRole"), "Throttling"),
        (EndpointConnectionError(endpoint_url="https://sts.internal"), "EndpointConnectionError"),
    ],
)
async def test_what_aws_refuses_is_an_outage_and_told_by_its_code_alone(error, code) -> None:
    threads = set()

    def refresh() -> None:
        threads.add(threading.current_thread())
        raise error

    tokens = RDSTokens(host=HOST, port=5432, user="u", region=None)
    tokens._session._credentials = DeferredRefreshableCredentials(refresh, "assume-role")
    with pytest.raises(StoreUnavailable) as failed:
        await tokens.issue()
    assert str(failed.value) == f"AWS gives no credentials for PostgreSQL: {code}."
    assert threads, "nothing was asked"
    assert threading.current_thread() not in threads, "it would block every call"


def test_a_region_that_nobody_tells() -> None:
    with pytest.raises(ConfigError, match="region"):
        RDSTokens(host="db.internal", port=5432, user="u", region=None)

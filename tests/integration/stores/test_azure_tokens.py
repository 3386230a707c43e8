"""Entra tokens, from an endpoint that answers as Azure's do."""

from __future__ import annotations

import pytest

from azure import TokenEndpoint
from tallystick.errors import StoreUnavailable
from tallystick.providers.transport import Transport
from tallystick.stores.postgres.azure_tokens import AzureIdentity, EntraTokens

RESOURCE = "https://ossrdbms-aad.database.windows.net"


@pytest.fixture
async def endpoint():
    async with TokenEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def tokens():
    transport = Transport()
    yield lambda **identity: EntraTokens(AzureIdentity(**identity), transport=transport)
    await transport.aclose()


async def test_a_managed_identity(endpoint, tokens) -> None:
    given = {"identity_endpoint": f"{endpoint.url}/identity", "identity_header": "h", "client_id": "c"}
    token = await tokens(**given).issue()
    assert (token.text, token.lifetime_seconds) == ("token-1", 3600)
    (asked,) = endpoint.asked
    assert asked["query"] == {"api-version": "2019-08-01", "resource": RESOURCE, "client_id": "c"}
    assert asked["headers"]["x-identity-header"] == "h"
    endpoint.expires_in = None
    assert 0 < (await tokens(**given).issue()).lifetime_seconds <= 300


async def test_an_application_with_a_secret(endpoint, tokens) -> None:
    await tokens(tenant_id="t", client_id="c", client_secret="s&=", authority_host=f"{endpoint.url}/").issue()
    (asked,) = endpoint.asked
    assert asked["path"] == "/t/oauth2/v2.0/token"
    assert asked["form"] == {
        "grant_type": "client_credentials",
        "client_id": "c",
        "client_secret": "s&=",
        "scope": f"{RESOURCE}/.default",
    }


async def test_a_workload_s_federated_token_goes_first(endpoint, tokens, tmp_path) -> None:
    file = tmp_path / "token"
    given = {"tenant_id": "t", "client_id": "c", "client_secret": "s", "authority_host": endpoint.url}
    with pytest.raises(StoreUnavailable, match="token"):
        await tokens(**given, federated_token_file=file).issue()
    file.write_text("signed\n")
    await tokens(**given, federated_token_file=file).issue()
    (asked,) = endpoint.asked
    assert asked["form"]["client_assertion"] == "signed"
    assert "client_secret" not in asked["form"]


async def test_a_refusal_and_an_endpoint_that_is_away(endpoint, tokens) -> None:
    given = {"tenant_id": "t", "client_id": "c", "client_secret": "hidden"}
    endpoint.status = 401
    with pytest.raises(StoreUnavailable, match="401") as refused:
        await tokens(**given, authority_host=endpoint.url).issue()
    assert "hidden" not in str(refused.value)
    with pytest.raises(StoreUnavailable, match="Azure"):
        await tokens(**given, authority_host="http://127.0.0.1:1").issue()

from __future__ import annotations

import pytest

from tallystick.control.secret_names import holds_secret, looks_secret, may_be_secret


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "API-KEY", "x-api-key", "aws_access_key_id", "aws_secret_access_key",
     "aws_session_token", "client_secret", "password", "redis_password", "dbPassword", "passphrase",
     "vertex_credentials", "Authorization", "authorization", "bearer_token", "token", "refreshToken",
     "private_key", "privateKey", "master_key", "cookie", "Set-Cookie", "slack_webhook_url",
     "alert_to_webhook_url", "dsn", "sentry_dsn", "database_url", "redis_url", "connection_string",
     "langfuse_secret_key", "langfuseSecretKey", "salt", "azure_ad_token", "secret_id", "HF_TOKEN",
     "OPENAI_API_KEY"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert looks_secret(name)
    assert may_be_secret(name)


@pytest.mark.parametrize("name", ["langfuse_public_key", "signing-keys", "basic_auth"])
def test_names_that_may_be_secret_where_operators_write(name: str) -> None:
    assert may_be_secret(name)
    assert not looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["key", "keys", "auth", "team", "project", "cost_center", "service_account_id", "input_cost_per_token",
     "output_cost_per_reasoning_token", "max_tokens", "max_token", "monkey", "author", "tokens", "key_alias",
     "token_type", "secret_name", "litellm_credential_name", "key_management_system", "litellm_key_header_name",
     "budget_duration", "keyboard", "patience", "design", "1", "_"],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not may_be_secret(name)


def test_no_name_is_no_secret() -> None:
    assert not may_be_secret("")


@pytest.mark.parametrize(
    "text",
    [
        "https://user:pass@host/v1",
        "https://token@host",
        "redis://:pass@cache:6379/0",
        "https://host/hook?sig=abc",
        "https://host/v1?api-key=abc",
        "https://host/v1?access_token=abc&x=1",
        "https://[broken/v1",
        "Bearer abcdefgh12345678",
        "basic dXNlcjpwYXNz",
        "sk-1234567890abcdef1234",
    ],
)
def test_texts_that_show_a_credential(text: str) -> None:
    assert holds_secret(text)


@pytest.mark.parametrize(
    "text",
    ["", "https://api.openai.com/v1", "https://host/v1?api-version=2024-06-01", "hf-internal/tiny", "basic plan"],
)
def test_texts_that_show_none(text: str) -> None:
    assert not holds_secret(text)

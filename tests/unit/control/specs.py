"""Specs with known secrets in them, and a strategy for any spec."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tallystick.control.cipher import seems_sealed
from tallystick.control.objects import Kind
from tallystick.control.secret_fields import MASK

MARKER = "marker-of-a-secret"


def marker(number: int) -> str:
    return f"{MARKER}-{number:02}-x9"


SPECS_BY_KIND: dict[Kind, tuple[str, dict[str, Any]]] = {
    Kind.MODEL: (
        "m-1",
        {
            "litellm_params": {
                "model": "openai/gpt-4o",
                "api_key": marker(1),
                "api_base": f"https://user:{marker(2)}@host/v1",
                "extra_headers": {"x-anything": marker(3), "more": [marker(4)]},
                "vertex_credentials": {"private_key": marker(5)},
                "a_provider_of_tomorrow": marker(6),
                "aws_region_name": "eu-west-1",
                "tags": ["paid"],
                "rpm": 10,
                "input_cost_per_token": "0.0001",
            },
            "model_info": {"id": "m-1", "mode": "chat", "upstream_api_key": marker(7)},
        },
    ),
    Kind.CREDENTIAL: (
        "a/b ~1",
        {
            "credential_values": {"api_key": marker(10), "api_base": marker(11), "nested": [{"x": marker(12)}]},
            "credential_info": {"custom_llm_provider": "openai", "client_secret": marker(13)},
        },
    ),
    Kind.PASS_THROUGH_ENDPOINT: (
        "p-1",
        {
            "target": "https://service.example/v1",
            "headers": {"x-anything": marker(50)},
            "default_query_params": {"code": marker(51)},
            "methods": ["GET"],
        },
    ),
    Kind.ENVIRONMENT_VARIABLE: ("LANGFUSE_HOST", {"value": marker(20)}),
    Kind.SETTING: (
        "litellm_settings.cache_params",
        {
            "value": {
                "type": "redis",
                "host": "cache",
                "password": marker(30),
                "url": f"redis://:{marker(31)}@cache:6379",
                "headers": {"x-tenant": marker(32)},
            }
        },
    ),
} | {
    kind: (
        f"{kind}-1",
        {
            "models": ["gpt-4o"],
            "metadata": {
                "cost_center": "R&D",
                "key": "value",
                "service_account_id": "robot",
                "api_key": marker(40),
                "logging": [
                    {
                        "callback_name": "langfuse",
                        "callback_vars": {"langfuse_host": marker(41), "langfuse_public_key": marker(42)},
                    }
                ],
            },
        },
    )
    for kind in Kind
    if kind not in {Kind.MODEL, Kind.CREDENTIAL, Kind.ENVIRONMENT_VARIABLE, Kind.SETTING, Kind.PASS_THROUGH_ENDPOINT}
}
"""For each kind an id and a spec; every secret in it has `MARKER`."""

NAMES = st.sampled_from(
    ["litellm_params", "model_info", "credential_values", "value", "metadata", "logging", "callback_vars", "api_key",
     "model", "api_base", "a/b", "~", "", "0", "headers", "note", "tags"]
) | st.text(max_size=4)  # fmt: skip
REFERENCES = ["", "os.environ/NAME", "file:///run/secret", "os.environ/not a name"]
CREDENTIALS = ["https://u:p@host", "sk-1234567890abcdef1234"]
# What pretends to be sealed, or is the mask, is refused; that has tests of its own.
TEXTS = (st.text(max_size=20) | st.sampled_from(REFERENCES + CREDENTIALS)).filter(
    lambda text: text != MASK and not seems_sealed(text)
)
LEAVES = st.none() | st.booleans() | st.integers() | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(list(Kind))
ANY_SPEC = st.dictionaries(NAMES, VALUES, max_size=5)

"""`tallystick serve` does not start with a Redis that can't be meant: one line says file, key, reason and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.cli.kit import CommandLine, Outcome
from server_kit import SECRET_KEYS

POSTGRES = "postgresql://u@127.0.0.1:1/x"
BUFFER = "general_settings: {use_redis_transaction_buffer: true}\n"


def served(line: CommandLine, tmp_path: Path, text: str, **environment: str) -> Outcome:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return line("serve", "--config", str(file), TALLYSTICK_SECRET_KEYS=SECRET_KEYS, **environment)


@pytest.mark.parametrize(
    ("text", "given", "key", "told"),
    [
        (
            BUFFER,
            {"DATABASE_URL": POSTGRES},
            "general_settings.use_redis_transaction_buffer",
            "needs Redis: set redis_url (REDIS_URL)",
        ),
        (
            BUFFER + "litellm_settings: {cache_params: {type: redis}}",
            {"DATABASE_URL": POSTGRES},
            "general_settings.use_redis_transaction_buffer",
            "needs Redis: set redis_url (REDIS_URL)",
        ),
        (
            BUFFER,
            {"REDIS_URL": "redis://h"},
            "general_settings.use_redis_transaction_buffer",
            "needs PostgreSQL",
        ),
        (
            "litellm_settings: {cache_params: {type: redis, sentinel_nodes: [[h, 1]]}}",
            {},
            "litellm_settings.cache_params.sentinel_nodes",
            "set service_name",
        ),
        (
            "general_settings: {redis_url: 'rediss://h', redis_ssl_ca_certs: /no/file}",
            {},
            "general_settings.redis_ssl_ca_certs",
            "there is no certificate of an authority in /no/file",
        ),
        (
            "general_settings: {redis_url: 'redis://h', redis_ssl: true}",
            {},
            "general_settings.redis_ssl",
            "write rediss://",
        ),
    ],
)
def test_it_is_refused_with_one_line(
    given: dict[str, str], sqlite: CommandLine, tmp_path: Path, text: str, key: str, told: str
) -> None:
    outcome = served(sqlite, tmp_path, text, **given)

    assert outcome.code != 0
    assert outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert f"{tmp_path / 'config.yaml'}: {key}: " in line
    assert told in line


def test_a_variable_is_named_as_such(sqlite: CommandLine, tmp_path: Path) -> None:
    environment = {"REDIS_URL": "redis://:hush-hush@h", "REDIS_CLUSTER_NODES": '[["h", 1]]'}
    outcome = served(sqlite, tmp_path, "model_list: []\n", **environment)

    assert outcome.code != 0
    assert "REDIS_CLUSTER_NODES: names a Redis by nodes of a cluster, and there is a URL beside it" in outcome.stderr
    assert "hush-hush" not in outcome.stderr

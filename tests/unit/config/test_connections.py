"""How a host's connections to the database are shared out."""

from __future__ import annotations

import base64

import pytest

from tallystick.cli.serve import run_server
from tallystick.config.connections import share_connections
from tallystick.config.load import load_settings
from tallystick.errors import ConfigError


@pytest.mark.parametrize(
    ("each_max", "host_limit", "workers", "listens", "pool_each", "host"),
    [
        (10, None, 1, True, 9, 10),
        (10, None, 4, True, 9, 40),
        (10, None, 4, False, 10, 40),
        (20, None, 2, True, 19, 40),
        (10, 20, 4, True, 4, 20),
        (10, 23, 4, True, 4, 20),
        (10, 100, 4, True, 9, 40),
        (10, 12, 4, True, 2, 12),
        (10, 8, 4, False, 2, 8),
    ],
)
def test_workers_never_pass_their_own_limit_nor_the_hosts(
    each_max, host_limit, workers, listens, pool_each, host
) -> None:
    budget = share_connections(each_max, host_limit=host_limit, workers=workers, listens=listens)
    budget.check()
    assert (budget.pool_each, budget.host_max) == (pool_each, host)


@pytest.mark.parametrize("workers", [1, 4, 32])
def test_litellms_limit_is_that_of_each_worker_however_many_there_are(tmp_path, workers) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("general_settings: {database_connection_pool_limit: 10, database_url: 'postgresql://u@h/d'}")
    settings = load_settings(config_file=file, overrides={"workers": workers}, environ={})
    settings.connections.check()
    assert (settings.connections.pool_each, settings.connections.host_max) == (9, 10 * workers)
    assert settings.warnings == ()


@pytest.mark.parametrize(("given", "cache", "pool", "each"), [(1, True, 2, 3), (2, True, 2, 3), (1, False, 2, 2)])
def test_a_worker_that_is_given_too_few_starts_with_what_it_needs_and_says_so(
    tmp_path, given, cache, pool, each
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"general_settings: {{database_connection_pool_limit: {given}, database_statement_cache: {str(cache).lower()}, "
        "database_url: 'postgresql://u@h/d', num_workers: 4}"
    )
    settings = load_settings(config_file=file, overrides={}, environ={})
    assert (settings.connections.pool_each, settings.connections.host_max) == (pool, 4 * each)
    (warning,) = settings.warnings
    assert warning.startswith(f"general_settings.database_connection_pool_limit: {given} is too few for a worker")
    assert f"up to {each} connections" in warning


def test_a_hosts_limit_that_is_impossible_stops_serve_and_no_other_command(tmp_path, monkeypatch) -> None:
    file = tmp_path / "config.yaml"
    key = base64.b64encode(bytes(range(32))).decode()
    file.write_text(
        "general_settings: {database_connections_per_host: 10, database_url: 'postgresql://u@127.0.0.1:1/d', "
        f"num_workers: 8, master_key: sk-a-long-master-key-for-tests, secret_keys: 'k1:{key}'}}"
    )
    settings = load_settings(config_file=file, overrides={}, environ={})
    assert settings.connections.pool_each == 2, "what verify and doctor work with"
    monkeypatch.setitem(run_server.__globals__, "configure_logging", lambda *_: None)
    with pytest.raises(ConfigError) as refused:
        run_server(config_file=file, overrides={"home": tmp_path}, worker_socket=None)
    for part in (str(file), "general_settings.database_connections_per_host", "8 workers need at least 24, 3 for each"):
        assert part in str(refused.value)


def test_litellms_timeouts_are_told_apart(tmp_path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "general_settings: {database_connection_timeout: 7, database_socket_timeout: 8, "
        "database_connect_timeout: 9, database_max_idle_connection_lifetime: 0}"
    )
    database = load_settings(config_file=file, overrides={}, environ={}).database
    assert (database.pool_timeout_seconds, database.statement_timeout_seconds) == (7, 8)
    assert (database.connect_timeout_seconds, database.idle_seconds_max) == (9, 0)


def test_what_only_the_c_library_knows_is_left_out_of_the_address() -> None:
    environ = {"DATABASE_URL": "postgresql://u@h/d?sslmode=require&channel_binding=require"}
    settings = load_settings(config_file=None, overrides={}, environ=environ)
    assert settings.database_url == "postgresql://u@h/d?sslmode=require"
    assert any("channel_binding" in warning for warning in settings.warnings)


def test_the_replica_in_parts_is_as_the_database_where_nothing_else_is_said() -> None:
    environ = {
        "DATABASE_HOST": "h",
        "DATABASE_USER": "u",
        "DATABASE_PASSWORD": "p@",
        "DATABASE_NAME": "d",
        "DATABASE_HOST_READ_REPLICA": "r",
        "DATABASE_PORT_READ_REPLICA": "5433",
    }
    settings = load_settings(config_file=None, overrides={}, environ=environ)
    assert settings.database_url == "postgresql://u:p%40@h/d"
    assert settings.database_url_read_replica == "postgresql://u:p%40@r:5433/d"
    assert settings.warnings == ()
    assert "p%40" not in repr(settings)


def test_parts_of_a_replica_that_name_no_host_are_not_used() -> None:
    environ = {"DATABASE_URL": "postgresql://u@h/d", "DATABASE_PORT_READ_REPLICA": "5433"}
    settings = load_settings(config_file=None, overrides={}, environ=environ)
    assert settings.database_url_read_replica is None
    assert any("DATABASE_PORT_READ_REPLICA" in warning for warning in settings.warnings)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"database_url_read_replica": "postgresql://u@r/d"}, "needs a database_url of PostgreSQL"),
        ({"database_url": "postgresql://u@h/d", "database_url_read_replica": "sqlite:////x"}, "must be of PostgreSQL"),
        ({"iam_token_db_auth": "true"}, "need a database_url of PostgreSQL"),
        (
            {"database_url": "postgresql://u@h/d", "iam_token_db_auth": "true", "azure_postgresql_auth": "true"},
            "can't both be on",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(given, reason) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_settings(config_file=None, overrides=given, environ={})


@pytest.mark.parametrize("login", ["iam_token_db_auth", "azure_postgresql_auth"])
def test_a_token_is_sent_through_tls_where_nothing_else_is_said(login) -> None:
    given = {
        login: "true",
        "database_url": "postgresql://u@db.internal/d",
        "database_url_read_replica": "postgresql://u@r/d?application_name=x",
    }
    settings = load_settings(config_file=None, overrides=given, environ={})
    assert settings.database_url == "postgresql://u@db.internal/d?sslmode=require"
    assert settings.database_url_read_replica == "postgresql://u@r/d?application_name=x&sslmode=require"
    stricter = load_settings(config_file=None, overrides=given, environ={"PGSSLMODE": "verify-full"})
    assert stricter.database_url == "postgresql://u@db.internal/d?sslmode=verify-full"


@pytest.mark.parametrize(
    ("url", "ends"),
    [
        ("postgresql://u@h/d?sslmode=verify-full&sslrootcert=%2Fx", "?sslmode=verify-full&sslrootcert=%2Fx"),
        ("postgresql://u@h/d?sslmode=verify-ca", "?sslmode=verify-ca"),
        ("postgresql://u@127.0.0.1:6432/d", "/d"),
        ("postgresql://u@[::1]/d?sslmode=disable", "/d?sslmode=disable"),
        ("postgresql://u@localhost/d?sslmode=prefer", "/d?sslmode=prefer"),
        ("postgresql://u@%2Fcloudsql%2Fproject/d", "/d"),
        ("postgresql://u@/d?host=/cloudsql/project", "/d?host=%2Fcloudsql%2Fproject"),
        ("postgresql://u@/d?host=db.internal", "?host=db.internal&sslmode=require"),
        ("postgresql://u@localhost,db.internal/d", "/d?sslmode=require"),
        ("postgresql://u@127.0.0.1.example.com/d", "/d?sslmode=require"),
        ("postgresql://u@/d?service=x", "/d?service=x&sslmode=require"),
    ],
)
def test_what_leaves_the_machine_with_a_token_is_encrypted(url, ends) -> None:
    overrides = {"azure_postgresql_auth": "true", "database_url": url}
    assert load_settings(config_file=None, overrides=overrides, environ={}).database_url.endswith(ends)
    without_tokens = load_settings(config_file=None, overrides={"database_url": url}, environ={})
    assert ("sslmode" in without_tokens.database_url) == ("sslmode" in url)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "PREFER"])
def test_a_token_in_clear_text_is_refused_where_it_was_written(tmp_path, mode) -> None:
    file = tmp_path / "config.yaml"
    text = "general_settings: {iam_token_db_auth: true, database_url: 'postgresql://u@h/d%s'}"
    file.write_text(text % f"?sslmode={mode}")
    with pytest.raises(ConfigError) as refused:
        load_settings(config_file=file, overrides={}, environ={})
    for part in (str(file), "general_settings.database_url", "sslmode must be require", "clear text"):
        assert part in str(refused.value)
    file.write_text(text % "")
    with pytest.raises(ConfigError, match="PGSSLMODE must be require"):
        load_settings(config_file=file, overrides={}, environ={"PGSSLMODE": mode})

"""Settings from the command line, the environment, the file and the defaults."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tallystick.config.load import SETTINGS, export_environment, load_settings
from tallystick.config.problems import InvalidConfig
from tallystick.errors import ConfigError

GOOD_KEY = "sk-7f3a9c1e5b2d8046aa"


@pytest.fixture
def load(tmp_path):
    """Load a text as the file, in an environment that has only what is given."""

    def load(text="", *, environ=None, **overrides):
        file = tmp_path / "config.yaml"
        file.write_text(text, encoding="utf-8")
        return load_settings(config_file=file, overrides=overrides, environ={"HOME": "/home/me", **(environ or {})})

    return load


def problems_of(load, *arguments, **keywords):
    with pytest.raises(InvalidConfig) as caught:
        load(*arguments, **keywords)
    return [(problem.key_path, problem.reason) for problem in caught.value.problems]


def test_without_anything_it_runs_on_sqlite_in_the_home_directory():
    settings = load_settings(config_file=None, overrides={}, environ={"HOME": "/home/me"})
    assert settings.home == Path("/home/me/.tallystick")
    assert settings.database_url == "sqlite:////home/me/.tallystick/tallystick.db"
    assert settings.journal.directory == Path("/home/me/.tallystick/journal")
    assert (settings.host, settings.port, settings.demo, settings.warnings) == ("0.0.0.0", 4000, False, ())


def test_the_demo_listens_on_this_machine_only():
    assert load_settings(config_file=None, overrides={"demo": True}, environ={}).host == "127.0.0.1"
    assert load_settings(config_file=None, overrides={}, environ={"TALLYSTICK_DEMO": "true"}).host == "127.0.0.1"


def test_the_command_line_goes_before_the_environment_before_the_file_before_the_default(load):
    text = "general_settings: {port: 1}"
    environ = {"TALLYSTICK_PORT": "2", "PORT": "3"}
    assert load(text, environ=environ, port=4).port == 4
    assert load(text, environ=environ).port == 2
    assert load(text, environ={"PORT": "3"}).port == 3
    assert load(text).port == 1
    assert load("").port == 4000


def test_an_empty_variable_and_a_null_are_not_given(load):
    assert load("general_settings: {port: null}\nlitellm_settings:\n", environ={"PORT": ""}, port=None).port == 4000


def test_litellms_names_and_units_are_read(load):
    settings = load(
        """
        general_settings:
          database_connection_pool_limit: 7
          max_request_size_mb: 1.5
          disable_prisma_schema_update: true
          database_disable_prepared_statements: "true"
          user_api_key_cache_max_size: "12"
          litellm_key_header_name: X-Key
          user_header_mappings: [{header_name: X-User, litellm_user_role: internal_user}]
        litellm_settings: {request_timeout: 30, json_logs: true, num_retries: 5}
        router_settings: {num_retries: 4, stream_timeout: 9}
        """,
        environ={"NUM_WORKERS": "3", "LITELLM_LOG": "DEBUG"},
    )
    assert settings.database.pool_size_max == 7
    assert settings.server.body_bytes_max == 1024 * 1024 * 3 // 2
    assert (settings.database.auto_migrate, settings.database.statement_cache) == (False, False)
    assert settings.server.key_cache_max == 12
    assert settings.attribution.litellm_key_header_name == "X-Key"
    assert settings.attribution.user_header_mappings[0].litellm_user_role == "internal_user"
    assert (settings.upstream.timeout_seconds, settings.upstream.stream_timeout_seconds) == (30.0, 9.0)
    assert (settings.routing.num_retries, settings.workers) == (4, 3)
    assert (settings.log_level, settings.log_format) == ("debug", "json")
    assert settings.warnings == ()


def test_prices_and_costs_keep_every_digit(load):
    settings = load(
        """
        model_list:
          - model_name: a
            litellm_params: {model: openai/x, input_cost_per_token: 1e-6, output_cost_per_token: 0.0000003}
            model_info: {cache_read_input_token_cost: "0.00000001", output_cost_per_token: 9}
        litellm_settings:
          cost_discount_config: {openai: 0.1}
          cost_margin_config: {global: 0.3, groq: {percentage: 0.07, fixed_amount: 0.000000001}}
        """
    )
    assert settings.model_list[0].prices == {
        "input_cost_per_token": Decimal("0.000001"),
        "output_cost_per_token": Decimal("0.0000003"),
        "cache_read_input_token_cost": Decimal("0.00000001"),
    }
    assert settings.costs.discounts == {"openai": Decimal("0.1")}
    assert settings.costs.margins["global"].percentage == Decimal("0.3")
    assert settings.costs.margins["groq"].fixed_amount == Decimal("0.000000001")


def test_prices_of_service_tiers_stand_apart(load):
    settings = load(
        """
        model_list:
          - model_name: a
            litellm_params: {model: openai/x, input_cost_per_token: 3, input_cost_per_token_priority: 6}
            model_info: {input_cost_per_token_above_200k_tokens_priority: 7, output_cost_per_token_batches: 1,
                         provider_specific_entry: {us: 1.1, fast: 6.0}}
        """
    )
    (entry,) = settings.model_list
    assert entry.prices == {"input_cost_per_token": Decimal(3)}
    assert entry.tier_prices("priority") == {
        "input_cost_per_token": Decimal(6),
        "input_cost_per_token_above_200k_tokens": Decimal(7),
    }
    assert entry.tier_prices("flex") == {}
    assert entry.model_info.provider_specific_entry == {"us": Decimal("1.1"), "fast": Decimal(6)}
    assert entry.model_info.model_dump(mode="json")["provider_specific_entry"] == {"us": 1.1, "fast": 6.0}


def test_every_problem_is_listed_with_file_key_path_and_reason(load, tmp_path):
    text = """
        general_settings: {port: many, journal_sync: sometimes}
        litellm_settings: {cost_discount_config: {openai: 2}}
        model_list:
          - model_name: a
            litellm_params: {api_key: 5, input_cost_per_token: cheap}
          - litellm_params: {model: openai/x, timeout: -1}
        """
    with pytest.raises(ConfigError) as caught:
        load(text, environ={"NUM_WORKERS": "x"})
    assert {(problem.file, problem.key_path) for problem in caught.value.problems} == {
        (str(tmp_path / "config.yaml"), "general_settings.port"),
        (str(tmp_path / "config.yaml"), "general_settings.journal_sync"),
        (str(tmp_path / "config.yaml"), "litellm_settings.cost_discount_config.openai"),
        (str(tmp_path / "config.yaml"), "model_list[0].litellm_params.api_key"),
        (str(tmp_path / "config.yaml"), "model_list[0].litellm_params.model"),
        (str(tmp_path / "config.yaml"), "model_list[0].litellm_params.input_cost_per_token"),
        (str(tmp_path / "config.yaml"), "model_list[1].model_name"),
        (str(tmp_path / "config.yaml"), "model_list[1].litellm_params.timeout"),
        ("environment", "NUM_WORKERS"),
    }
    assert caught.value.key_path == caught.value.problems[0].key_path
    assert len(str(caught.value).splitlines()) == 9


@pytest.mark.parametrize(
    ("text", "key_path"),
    [
        ("general_settings: [1]", "general_settings"),
        ("model_list: {a: 1}", "model_list"),
        ("model_list: [1]", "model_list[0]"),
        ("environment_variables: [1]", "environment_variables"),
        ("environment_variables: {A: [1]}", "environment_variables.A"),
        ("general_settings: {master_key: 12345}", "general_settings.master_key"),
        ("general_settings: {max_request_size_mb: big}", "general_settings.max_request_size_mb"),
        ("general_settings: {database_url: 'mysql://a'}", "general_settings.database_url"),
        ("general_settings: {commit_retry_seconds_min: 9}", "committer"),
    ],
)
def test_a_wrong_type_names_its_place(load, text, key_path):
    assert [path for path, _ in problems_of(load, text)] == [key_path]


def test_an_override_that_does_not_exist_is_refused(load):
    assert problems_of(load, prot=1) == [("prot", "there is no such setting")]


@pytest.mark.parametrize(
    "key", ["sk-1234", "sk-abc", "sk-1234567890123456", "sk-aaaaaaaaaaaaaaaaaaaa", "change-me-1234567890"]
)
def test_a_master_key_that_can_be_guessed_is_refused_outside_the_demo(load, key):
    text = f"general_settings: {{master_key: {key}}}"
    ((path, reason),) = problems_of(load, text)
    assert path == "general_settings.master_key"
    assert key not in reason
    assert load(text, demo=True).master_key == key
    assert problems_of(load, environ={"LITELLM_MASTER_KEY": key})[0][0] == "LITELLM_MASTER_KEY"


def test_secrets_are_in_no_repr_and_no_message(load):
    text = f"""
        general_settings: {{master_key: {GOOD_KEY}, database_url: "postgresql://me:hunter22@db/x"}}
        environment_variables: {{SECRET: hunter23}}
        model_list:
          - model_name: a
            litellm_params: {{model: openai/x, api_key: hunter24, extra_headers: {{A: hunter25}}, aws_key: hunter26}}
        """
    shown = repr(load(text)) + str(load(text))
    assert "hunter" not in shown
    assert GOOD_KEY not in shown
    bad = text.replace("api_key: hunter24", "api_key: [hunter24]").replace("{A: hunter25}", "hunter25")
    with pytest.raises(ConfigError) as caught:
        load(bad, port="x")
    assert "hunter" not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)


def test_the_database_can_be_given_in_parts(load):
    parts = {
        "DATABASE_HOST": "db",
        "DATABASE_PORT": "6543",
        "DATABASE_USER": "me",
        "DATABASE_PASSWORD": "p@ss/word",
        "DATABASE_NAME": "spend",
        "DATABASE_SCHEMA": "tally",
    }
    settings = load(environ=parts)
    assert settings.database_url == "postgresql://me:p%40ss%2Fword@db:6543/spend?search_path=tally"
    assert load(environ={**parts, "DATABASE_URL": "postgres://other/x"}).database_url == "postgres://other/x"
    del parts["DATABASE_HOST"]
    assert load(environ=parts).database_url.startswith("sqlite:")
    assert any("DATABASE_HOST" in warning for warning in load(environ=parts).warnings)


def test_parameters_of_another_database_client_are_left_out_and_named(load):
    settings = load(environ={"DATABASE_URL": "postgresql://h/x?connection_limit=9&sslmode=require"})
    assert settings.database_url == "postgresql://h/x?sslmode=require"
    assert settings.warnings == (
        "database_url: the parameter connection_limit is not used; see the database_… settings",
    )


def test_variables_of_the_file_are_seen_by_references_and_settings_and_the_real_ones_win(load):
    text = f"""
        environment_variables: {{FIRST: one, SECOND: os.environ/FIRST, DATABASE_URL: "postgresql://file/x", ON: true}}
        general_settings: {{master_key: {GOOD_KEY}}}
        model_list: [{{model_name: a, litellm_params: {{model: openai/x, api_key: os.environ/SECOND}}}}]
        """
    settings = load(text)
    assert settings.model_list[0].litellm_params.api_key == "one"
    assert settings.database_url == "postgresql://file/x"
    assert load(text, environ={"SECOND": "real"}).model_list[0].litellm_params.api_key == "real"
    environ = {"FIRST": "kept"}
    export_environment(settings, environ)
    assert environ == {"FIRST": "kept", "SECOND": "one", "DATABASE_URL": "postgresql://file/x", "ON": "true"}


def test_a_missing_variable_names_file_key_path_and_variable(load, tmp_path):
    text = "model_list: [{model_name: a, litellm_params: {model: m/x, api_key: os.environ/NOT_THERE}}]"
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.file == str(tmp_path / "config.yaml")
    assert caught.value.key_path == "model_list[0].litellm_params.api_key"
    assert "NOT_THERE is not set" in str(caught.value)


def test_a_value_can_be_the_content_of_a_file(load, tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    text = "model_list: [{{model_name: a, litellm_params: {{model: m/x, api_key: 'file://{}'}}}}]"
    assert load(text.format(tmp_path / "key")).model_list[0].litellm_params.api_key == "from-file"
    ((path, reason),) = problems_of(load, text.format(tmp_path / "absent"))
    assert path == "model_list[0].litellm_params.api_key"
    assert "can't be read: No such file" in reason
    assert "absolute" in problems_of(load, text.format("key"))[0][1]


def test_anchors_cannot_make_a_small_file_endless(load):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    ((_, reason),) = problems_of(load, "\n".join(lines))
    assert "more than" in reason


def test_the_environment_can_name_the_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("general_settings: {port: 8}")
    settings = load_settings(config_file=None, overrides={}, environ={"CONFIG_FILE_PATH": str(file)})
    assert (settings.port, settings.config_file) == (8, file)


def test_every_setting_has_a_description_and_one_name():
    assert [entry.name for entry in SETTINGS if len(entry.description) < 10] == []
    assert len({entry.name for entry in SETTINGS}) == len(SETTINGS)
    assert len({entry.field_path for entry in SETTINGS}) == len(SETTINGS)

"""Sinks are read from their own section, from LiteLLM's lists of callbacks, and from the environment."""

from __future__ import annotations

import pytest

from tallystick.config.load import load_settings
from tallystick.config.settings import Settings
from tallystick.config.sink_settings import DynamoDBEntry, FileEntry, S3Entry, SupabaseEntry, WebhookEntry
from tallystick.errors import ConfigError

SUPABASE = {"SUPABASE_URL": "https://x.supabase.example", "SUPABASE_KEY": "the-key"}


@pytest.fixture
def load(tmp_path):
    def load(text: str, environ: dict[str, str] | None = None) -> Settings:
        file = tmp_path / "c.yaml"
        file.write_text(text)
        return load_settings(config_file=file, overrides={}, environ=environ or {})

    return load


def test_a_callback_of_litellm_is_a_sink(load):
    (sink,) = load("litellm_settings: {success_callback: [supabase]}", SUPABASE).sinks
    assert isinstance(sink, SupabaseEntry)
    assert (sink.url, sink.key, sink.table) == ("https://x.supabase.example", "the-key", "request_logs")
    assert (sink.events, sink.start_rows) == ("success", None)


@pytest.mark.parametrize(
    ("lists", "events"),
    [
        ("success_callback: [supabase]", "success"),
        ("failure_callback: [supabase]", "failure"),
        ("callbacks: [supabase]", "all"),
        ("callbacks: supabase", "all"),
        ("success_callback: [supabase], failure_callback: [supabase]", "all"),
    ],
)
def test_the_list_says_which_events(load, lists, events):
    (sink,) = load(f"litellm_settings: {{{lists}}}", SUPABASE).sinks
    assert sink.events == events


def test_input_callback_asks_for_start_rows(load):
    lists = "success_callback: [supabase], failure_callback: [supabase], input_callback: [supabase]"
    (sink,) = load(f"litellm_settings: {{{lists}, supabase_table_name: calls}}", SUPABASE).sinks
    assert isinstance(sink, SupabaseEntry)
    assert sink.start_rows is True
    assert sink.table == "calls"


def test_the_section_says_the_rest(load):
    settings = load(
        """
        litellm_settings: {failure_callback: [audit]}
        sinks:
          audit: {type: webhook, url: "https://hooks.example.org", secret: os.environ/HOOK, at_limit: keep}
          file: {directory: /var/log/calls, batch_events_max: 7}
        """,
        {"HOOK": "sixteen-characters-and-more"},
    )
    audit, file = settings.sinks
    assert isinstance(audit, WebhookEntry)
    assert (audit.name, audit.events, audit.at_limit) == ("audit", "failure", "keep")
    assert audit.secret == "sixteen-characters-and-more"
    assert isinstance(file, FileEntry)
    assert (file.events, file.batch_events_max) == ("all", 7)
    assert "sixteen" not in repr(settings)
    assert settings.warnings == ()


def test_s3_and_dynamodb_take_litellms_parameters(load):
    settings = load(
        """
        litellm_settings:
          success_callback: [s3_v2, dynamodb]
          dynamodb_table_name: calls
          s3_callback_params:
            s3_bucket_name: logs-of-mine
            s3_region_name: eu-west-1
            s3_aws_access_key_id: AK
            s3_aws_secret_access_key: os.environ/S3_SECRET
            s3_use_team_prefix: true
        """,
        {"S3_SECRET": "hush", "AWS_REGION_NAME": "us-east-1"},
    )
    s3, dynamodb = settings.sinks
    assert isinstance(s3, S3Entry)
    assert (s3.bucket, s3.region, s3.aws_secret_access_key) == ("logs-of-mine", "eu-west-1", "hush")
    assert isinstance(dynamodb, DynamoDBEntry)
    assert (dynamodb.table, dynamodb.region) == ("calls", "us-east-1")
    assert settings.warnings == ("litellm_settings.s3_callback_params.s3_use_team_prefix: not supported",)


def test_other_callbacks_are_no_sinks(load):
    settings = load("""
    litellm_settings: {callbacks: [langfuse, my.module.hook, kept], success_callback: s3x}
    sinks: {kept: {type: file, directory: /x}}
    """)
    assert [each.name for each in settings.sinks] == ["kept"]
    assert settings.warnings == (
        "litellm_settings.callbacks[0]: 'langfuse': known LiteLLM setting, not supported yet",
        "litellm_settings.success_callback: 's3x': known LiteLLM setting, not supported yet",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("litellm_settings: {callbacks: [supabase]}", "sinks.supabase.url: is needed: set it here or as SUPABASE_URL"),
        ("sinks: {a: {type: ftp}}", "sinks.a: needs a `type`: webhook, supabase, dynamodb, s3, file"),
        ("sinks: {a: {}}", "sinks.a: needs a `type`"),
        ("sinks: {A: {type: file, directory: /x}}", "sinks.A: the name must be of small letters"),
        ("sinks: {file: {directory: x}}", "sinks.file.directory: must be an absolute path"),
        ("sinks: {file: {directory: /x, batch_event_max: 3}}", "did you mean batch_events_max?"),
        ("sinks: {webhook: {url: ftp://x}}", "sinks.webhook.url: must be a URL"),
        ("sinks: {webhook: {url: 'http://x', secret: short}}", "sinks.webhook.secret: String should have at least 16"),
        ("sinks: {file: {directory: /x, name: b}}", "sinks.file.name: is the key above it"),
        ("sinks: {file: {directory: /x, retry_seconds_min: 99}}", "retry_seconds_min must not exceed"),
        ("sinks: [a]", "sinks: must be a mapping of names to settings"),
    ],
)
def test_what_is_wrong_is_named(load, text, problem):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert problem in str(caught.value)
    assert "short" not in str(caught.value)


def test_settings_without_their_sink_are_named(load):
    assert load("litellm_settings: {dynamodb_table_name: calls}").warnings == (
        "litellm_settings.dynamodb_table_name: not used without the callback 'dynamodb'",
    )

"""The lists of callbacks in the configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallystick.config.callback_settings import CallbackSettings
from tallystick.config.load import load_settings
from tallystick.config.settings import Settings
from tallystick.errors import ConfigError


def read(tmp_path: Path, **litellm_settings: Any) -> Settings:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"litellm_settings": litellm_settings}))
    return load_settings(config_file=file, overrides={}, environ={"HOME": str(tmp_path)})


def test_lists_and_single_entries_are_read(tmp_path: Path) -> None:
    settings = read(tmp_path, callbacks="my.module.logger", success_callback=["a.b", "c.d"])

    assert settings.callbacks.lists() == {
        "callbacks": ("my.module.logger",),
        "input_callback": (),
        "success_callback": ("a.b", "c.d"),
        "failure_callback": (),
    }
    assert settings.warnings == ()


def test_destinations_by_name_are_warned_of(tmp_path: Path) -> None:
    settings = read(tmp_path, success_callback=["my.logger", "langfuse"], callbacks="otel", input_callback=["s3-v2"])

    assert sorted(settings.warnings) == [
        "litellm_settings.callbacks: 'otel': known LiteLLM setting, not supported yet",
        "litellm_settings.input_callback[0]: 's3-v2': known LiteLLM setting, not supported yet",
        "litellm_settings.success_callback[1]: 'langfuse': known LiteLLM setting, not supported yet",
    ]


@pytest.mark.parametrize("entry", ["s3://bucket/module.logger", "a..b", "my module.logger", "", 7, "9.lives"])
def test_what_is_neither_path_nor_name_is_an_error(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, failure_callback=["my.logger", entry])

    assert caught.value.key_path == "litellm_settings.failure_callback[1]"
    assert caught.value.file == str(tmp_path / "config.yaml")


def test_the_limits_have_defaults() -> None:
    limits = CallbackSettings()

    assert (limits.queue_max, limits.timeout_seconds, limits.drain_seconds) == (10_000, 10.0, 5.0)

"""`tallystick config check`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tallystick.cli import app
from tallystick.config.load import SETTINGS

GOOD = """
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o-mini, api_key: sk-abcdefgh12345678}
  - model_name: fast
    litellm_params: {model: "groq/llama-3.3-70b-versatile", api_key: k}
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for entry in SETTINGS:
        for place in entry.environment_places:
            monkeypatch.delenv(place.name, raising=False)
    monkeypatch.delenv("CONFIG_FILE_PATH", raising=False)
    monkeypatch.setenv("TALLYSTICK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tallystick.cli.output.configure_logging", lambda *_: None)


@pytest.fixture
def check(tmp_path):
    def run(text: str, *words: str):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return CliRunner().invoke(app, ["config", "check", str(file), *words])

    return run


def test_a_good_file(check) -> None:
    result = check(GOOD)

    assert result.exit_code == 0, result.output
    assert "openai/gpt-4o-mini, groq/llama-3.3-70b-versatile" in result.stdout
    assert "is good (0 errors, 0 warnings)." in result.stdout
    assert "sk-abcdefgh12345678" not in result.stdout


def test_facts(check, tmp_path) -> None:
    facts = json.loads(check(GOOD + "general_settings: {port: 4711, store_model_in_dbb: true}\n", "--json").stdout)

    assert (facts["ok"], facts["errors"], facts["file"]) == (True, [], str(tmp_path / "config.yaml"))
    assert facts["summary"]["deployments"] == "2"
    assert facts["model_groups"][0]["model_group"] == "fast"
    assert any("store_model_in_dbb" in warning for warning in facts["warnings"])


def test_every_error_is_told_with_its_place(check) -> None:
    result = check("general_settings: {port: many, workers: none}\n")

    assert result.exit_code == 1
    assert "general_settings.port" in result.stdout
    assert "general_settings.workers" in result.stdout
    assert "can't be used" in result.stdout


def test_what_stops_serve_at_its_start_is_an_error_here(check) -> None:
    result = check("model_list:\n  - model_name: a\n    litellm_params: {model: no_such_provider/x}\n", "--json")

    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert facts["ok"] is False
    assert "model_list[0]" in facts["errors"][0]["key_path"]


def test_the_file_by_option_or_by_environment(check, tmp_path, monkeypatch) -> None:
    check(GOOD)
    file = str(tmp_path / "config.yaml")

    assert CliRunner().invoke(app, ["config", "check", "--config", file]).exit_code == 0
    monkeypatch.setenv("CONFIG_FILE_PATH", file)
    assert "openai/gpt-4o-mini" in CliRunner().invoke(app, ["config", "check"]).stdout


@pytest.mark.parametrize("words", [["/nowhere/config.yaml"], ["/tmp"], ["pyproject.toml", "--config", "a.yaml"]])
def test_wrong_use(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["config", "check", *words]).exit_code == 2

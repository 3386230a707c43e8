"""Nothing that is given is ignored in silence."""

from __future__ import annotations

import pytest

from tallystick.config import litellm_keys
from tallystick.config.load import SETTINGS, load_settings
from tallystick.config.sink_settings import READ_HERE

NOT_YET = "known LiteLLM setting, not supported yet"


@pytest.fixture
def warnings_of(tmp_path):
    def warnings_of(text, environ=None):
        file = tmp_path / "c.yaml"
        file.write_text(text)
        return list(load_settings(config_file=file, overrides={}, environ=environ or {}).warnings)

    return warnings_of


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("general_settings: {alerting_threshold: 300}", f"general_settings.alerting_threshold: {NOT_YET}"),
        ("general_settings: {alertin: 1}", "general_settings.alertin: unknown setting; did you mean alerting?"),
        ("general_settings: {zzzzzz: 1}", "general_settings.zzzzzz: unknown setting"),
        ("litellm_settings: {modify_params: true}", f"litellm_settings.modify_params: {NOT_YET}"),
        ("router_settings: {routing_groups: []}", f"router_settings.routing_groups: {NOT_YET}"),
        ("router_settings: {alerting: 1}", "router_settings.alerting: belongs into general_settings, not read here"),
        ("guardrails: [{a: 1}]", f"guardrails: {NOT_YET}"),
        ("model_lst: []", "model_lst: unknown setting; did you mean model_list?"),
    ],
)
def test_an_unsupported_key_is_named(warnings_of, text, warning):
    assert warnings_of(text) == [warning]


def test_a_key_that_will_not_be_supported_says_why(warnings_of):
    (warning,) = warnings_of("general_settings: {disable_budget_reservation: true}")
    assert warning.startswith("general_settings.disable_budget_reservation: has no effect: budgets hold because")


@pytest.mark.parametrize(
    ("entry", "warning"),
    [
        ("{litellm_params: {model: a/b, seed: 1}}", f"model_list[0].litellm_params.seed: {NOT_YET}"),
        (
            "{litellm_params: {model: a/b, api_bas: x}}",
            "model_list[0].litellm_params.api_bas: unknown setting; did you mean api_base?",
        ),
        (
            "{litellm_params: {model: a/b}, model_inf: {}}",
            "model_list[0].model_inf: unknown setting; did you mean model_info?",
        ),
        (
            "{litellm_params: {model: a/b}, model_info: {input_cost_per_tokn: 1, supports_vision: true}}",
            "model_list[0].model_info.input_cost_per_tokn: unknown setting; did you mean input_cost_per_token?",
        ),
        (
            "{litellm_params: {model: a/b}, model_info: {output_cost_per_image_flex: 1}}",
            "model_list[0].model_info.output_cost_per_image_flex: unknown setting; did you mean output_cost_per_image?",
        ),
    ],
)
def test_an_unsupported_key_of_a_model_is_named(warnings_of, entry, warning):
    assert warnings_of(f"model_list: [{{model_name: m, {entry[1:]}]") == [warning]


def test_prices_of_service_tiers_are_known(warnings_of):
    prices = "input_cost_per_token_flex: 1, cache_read_input_token_cost_above_200k_tokens_priority: 2"
    facts = "provider_specific_entry: {us: 1.1, fast: 6.0}"
    entry = f"{{model_name: m, litellm_params: {{model: a/b, {prices}}}, model_info: {{{facts}}}}}"
    assert warnings_of(f"model_list: [{entry}]") == []


def test_unknown_fields_are_kept_aside(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("model_list: [{model_name: m, litellm_params: {model: a/b, x: 1}, model_info: {y: 2}}]")
    (entry,) = load_settings(config_file=file, overrides={}, environ={}).model_list
    assert (entry.litellm_params.extra, entry.model_info.extra) == ({"x": 1}, {"y": 2})


def test_variables_are_named_too(warnings_of):
    environ = {"TALLYSTICK_WORKRS": "1", "SPEND_LOGS_URL": "x", "OTHER": "1"}
    assert warnings_of("", environ) == [
        "TALLYSTICK_WORKRS: unknown setting; did you mean TALLYSTICK_WORKERS?",
        f"SPEND_LOGS_URL: {NOT_YET}",
    ]


def test_every_known_key_is_either_supported_or_warned_about(warnings_of):
    """A known key is never answered with `unknown`, and an unsupported one never passes in silence."""
    supported = {place.name for entry in SETTINGS for place in entry.file_places} | READ_HERE
    for section, names in litellm_keys.BY_SECTION.items():
        for name in names:
            path = f"{section}.{name}"
            reason = litellm_keys.WITHOUT_EFFECT.get(path, NOT_YET)
            expected = [] if path in supported else [f"{path}: {reason}"]
            assert warnings_of(f"{section}: {{{name}: null}}") == expected

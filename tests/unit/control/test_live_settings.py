"""What is in force of settings that may change while the gateway runs: the file's goes before the database's."""

from __future__ import annotations

import pytest

from models_kit import settings_of
from tallystick.control.live_settings import BLOCK_UNPRICED, BUDGET_ROLLOVER, LIVE, live_settings


@pytest.mark.parametrize(
    ("text", "written", "expected"),
    [
        ("", {}, (False, False)),
        ("", {BUDGET_ROLLOVER: True, BLOCK_UNPRICED: True}, (True, True)),
        ("litellm_settings: {budget_rollover: true}", {BUDGET_ROLLOVER: False}, (True, False)),
        ("general_settings: {budget_rollover: true}", {BUDGET_ROLLOVER: False}, (True, False)),
        ("litellm_settings: {block_requests_for_models_without_pricing: true}", {BLOCK_UNPRICED: False}, (False, True)),
        ("general_settings: {budget_unknown_price: deny}", {BLOCK_UNPRICED: False}, (False, True)),
        ("general_settings: {budget_unknown_price: allow}", {BLOCK_UNPRICED: True}, (False, True)),
    ],
)
def test_budgets(tmp_path, text, written, expected):
    live = live_settings(settings_of(tmp_path, text), written)
    assert (live.budget_rollover, live.denies_unknown_prices) == expected


@pytest.mark.parametrize("name", [BUDGET_ROLLOVER, BLOCK_UNPRICED])
def test_switches_take_truth_values_only_and_have_an_effect(name):
    assert LIVE[name].has_effect
    LIVE[name].check(True)
    with pytest.raises(ValueError, match="true or false"):
        LIVE[name].check("yes")

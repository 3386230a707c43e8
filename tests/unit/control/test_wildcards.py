"""Wildcard groups: which one has a name, and what it serves it with."""

from __future__ import annotations

import pytest

from models_kit import FixedPrices, builder_of, model, settings_of
from tallystick.control.store import Loaded
from tallystick.control.wildcards import model_for


@pytest.fixture
def build():
    builder = builder_of(settings_of())
    return lambda *objects: builder.build(Loaded(revision=1, objects=objects))


@pytest.mark.parametrize(
    ("pattern", "provider_model", "name", "expected"),
    [
        ("openai/*", "openai/*", "openai/gpt-4o", "openai/gpt-4o"),
        ("mine/*", "openai/*", "mine/gpt-4o", "openai/gpt-4o"),
        ("*", "*", "groq/llama", "groq/llama"),
        ("*", "openai/*", "gpt-4o", "openai/gpt-4o"),
        ("any/*", "openai/gpt-4o", "any/thing", "openai/gpt-4o"),
        ("a*::b*", "openai/x*::y*", "a1::b2", "openai/x1::y2"),
        ("*-*", "openai/*", "gpt-4o", "gpt-4o"),
        ("a.b/*", "openai/*", "aXb/gpt", "openai/*"),
    ],
)
def test_what_the_star_stands_for(pattern, provider_model, name, expected):
    assert model_for(pattern, provider_model, name) == expected


def test_the_longest_pattern_and_a_name_of_its_own_go_first(build):
    snapshot = build(
        model("any", "*", model="*"),
        model("openai", "openai/*", model="openai/*"),
        model("exact", "openai/gpt-4o"),
        model("team", "openai/*", model="openai/*", _team="t"),
    )

    def found(name, team_id=""):
        return [(each.deployment_id, each.target.model) for each in snapshot.find(name, team_id=team_id)]

    assert found("openai/gpt-4o") == [("exact", "gpt-4o")]
    assert found("openai/o3") == [("openai", "o3")]
    assert found("gpt-4o-mini") == [("any", "gpt-4o-mini")]
    assert found("openai/o3", team_id="t") == [("team", "o3")]
    assert found("openai/o3", team_id="other") == [("openai", "o3")]
    for name in ("openai/*", "*", "nobody/knows", "x" * 257, "openai/a\nb"):
        assert found(name) == []


def test_each_model_has_its_own_price_and_is_made_once(build):
    prices = FixedPrices()
    snapshot = builder_of(settings_of(), prices=prices).build(
        Loaded(revision=1, objects=(model("openai", "openai/*", model="openai/*"),))
    )
    (first,) = snapshot.find("openai/gpt-4o")
    assert prices.asked[-1][:2] == ("openai", "gpt-4o")
    assert (first.model_group, first.is_of_wildcard, first.named) == ("openai/gpt-4o", True, None)
    assert snapshot.find("openai/gpt-4o")[0] is first


def test_a_provider_without_a_key_has_no_models(build):
    assert build(model("any", "*", model="*", api_key=None)).find("groq/llama") == ()


def test_names_do_not_fill_the_memory(build, monkeypatch):
    monkeypatch.setattr("tallystick.control.wildcards._NAMES_MAX", 3)
    snapshot = build(model("openai", "openai/*", model="openai/*"))
    for number in range(10):
        assert snapshot.find(f"openai/m{number}")
    assert len(snapshot.wildcards._known) <= 3


def test_prices_that_change_are_noted(build):
    prices = FixedPrices()
    builder = builder_of(settings_of(), prices=prices)
    snapshot = builder.build(Loaded(revision=1, objects=(model("any", "*", model="*"),)))
    assert builder.prices_until is None
    prices.change = builder._clock.now().replace(year=2027)
    snapshot.find("openai/gpt-4o")
    assert builder.prices_until == prices.change

"""Settings of routing that change while the gateway runs: what is taken, and what is refused with the reason."""

from __future__ import annotations

import pytest

from models_kit import builder_of, model, setting, settings_of
from tallystick.config.routing_settings import RoutingSettings
from tallystick.control.live_routing import ROUTING
from tallystick.control.live_settings import LIVE, live_settings
from tallystick.control.store import Loaded


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("router_settings.routing_strategy", "least-busy", "strategy", "least-busy"),
        ("router_settings.num_retries", 4, "num_retries", 4),
        ("litellm_settings.num_retries", 5, "num_retries", 5),
        ("router_settings.retry_after", 2, "retry_after_seconds", 2.0),
        ("router_settings.cooldown_time", 1.5, "cooldown_seconds", 1.5),
        ("router_settings.fallbacks", [{"a": ["b", "c"]}, {"a": ["d"]}], "fallbacks", {"a": ("b", "c")}),
        ("router_settings.fallbacks", {"a": ["b"]}, "fallbacks", {"a": ("b",)}),
        ("litellm_settings.fallbacks", ["b"], "fallbacks", {"*": ("b",)}),
        ("router_settings.default_fallbacks", ["b"], "default_fallbacks", ("b",)),
        ("router_settings.retry_policy", {"TimeoutErrorRetries": 3}, "retry_policy", {"TimeoutErrorRetries": 3}),
        (
            "router_settings.model_group_retry_policy",
            {"g": {"RateLimitErrorRetries": 1}},
            "model_group_retry_policy",
            {"g": {"RateLimitErrorRetries": 1}},
        ),
        ("router_settings.allowed_fails", 3, "allowed_fails", 3),
        ("router_settings.disable_cooldowns", True, "disable_cooldowns", True),
        ("router_settings.enable_tag_filtering", True, "enable_tag_filtering", True),
    ],
)
def test_what_is_written_is_in_force(name, value, field, expected):
    LIVE[name].check(value)
    assert getattr(live_settings(settings_of(), {name: value}).routing, field) == expected


def test_an_alias_may_be_a_name_or_say_more():
    value = {"a": "g", "b": {"model": "h", "hidden": True}}
    LIVE["router_settings.model_group_alias"].check(value)
    aliases = live_settings(settings_of(), {"router_settings.model_group_alias": value}).routing.model_group_alias
    assert {name: (each.model, each.hidden) for name, each in aliases.items()} == {"a": ("g", False), "b": ("h", True)}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("router_settings.routing_strategy", "fastest", "least-busy"),
        ("router_settings.num_retries", True, "from 0 to 20"),
        ("router_settings.num_retries", 21, "from 0 to 20"),
        ("router_settings.cooldown_time", 0, "greater than 0"),
        ("router_settings.fallbacks", [1], "each entry must be like"),
        ("router_settings.fallbacks", [{"a": "b"}], "a: Input should be"),
        ("router_settings.retry_policy", {"SomethingRetries": 1}, "Input should be 'BadRequestErrorRetries'"),
        ("router_settings.disable_cooldowns", "yes", "valid boolean"),
        ("router_settings.timeout", True, "number of seconds"),
        ("router_settings.stream_timeout", 0, "number of seconds"),
    ],
)
def test_what_is_wrong_is_refused(name, value, words):
    with pytest.raises(ValueError, match=words):
        LIVE[name].check(value)


def test_the_file_reads_the_same(tmp_path):
    text = (
        "router_settings: {fallbacks: [{a: [b]}], model_group_alias: {x: a}, retry_policy: {TimeoutErrorRetries: 1}, "
        "routing_strategy_args: {ttl: 5}, cooldown_time: 9}"
    )
    settings = settings_of(tmp_path, text)
    routing = settings.routing
    assert (routing.fallbacks, routing.cooldown_seconds) == ({"a": ("b",)}, 9)
    assert (routing.model_group_alias["x"].model, routing.strategy_arguments.ttl) == ("a", 5)
    assert not [line for line in settings.warnings if "router_settings" in line]
    assert live_settings(settings, {}).routing is routing


def test_every_setting_of_routing_is_live():
    names = {place.name for entry in ROUTING for place in entry.file_places if not place.name.startswith("general")}
    assert names <= LIVE.keys()
    assert {entry.field_path[-1] for entry in ROUTING} == RoutingSettings.model_fields.keys()


def test_timeouts_of_the_settings_reach_every_deployment():
    builder = builder_of(settings_of())

    def targets(*settings):
        objects = (model("m"), model("own", timeout=7), *settings)
        return builder.build(Loaded(revision=1, objects=objects)).deployments()

    before = targets()
    assert before["m"].target.timeout_seconds == 600
    after = targets(setting("router_settings.timeout", 30), setting("router_settings.stream_timeout", 4))
    assert (after["m"].target.timeout_seconds, after["m"].target.stream_idle_seconds) == (30, 4)
    assert (after["own"].target.timeout_seconds, after["own"].target.stream_idle_seconds) == (7, 4)
    assert targets()["own"].target.stream_idle_seconds == 7, "a stream is as patient as a plain answer"

"""What of `cache` and `cache_params` is in force, and that the rest is named."""

from __future__ import annotations

import pytest

from tallystick.config.load import load_settings
from tallystick.config.problems import InvalidConfig

PARAMS = "litellm_settings.cache_params"


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "c.yaml"
        file.write_text(text)
        return load_settings(config_file=file, overrides={}, environ={})

    return load


def test_litellm_s_names(load):
    settings = load(
        "litellm_settings: {cache: true, cache_params: {type: redis, host: h, ttl: 60, namespace: n, mode: default_off,"
        " supported_call_types: [acompletion, aembedding]}}"
    )
    cache = settings.cache
    assert (cache.enabled, cache.type, cache.ttl_seconds, cache.namespace) == (True, "redis", 60, "n")
    assert cache.mode == "default_off"
    assert cache.endpoints() == {"chat/completions", "embeddings", "embedContent", "batchEmbedContents"}
    assert settings.warnings == ()


def test_nothing_is_cached_unless_asked_for(load):
    assert not load("").cache.enabled


@pytest.mark.parametrize(
    ("params", "warning"),
    [
        ("{type: s3}", f"{PARAMS}.type: 's3' is not supported: nothing is cached; there is local and redis"),
        (
            "{type: local, supported_call_types: [acompletion, atranscription]}",
            f"{PARAMS}.supported_call_types: 'atranscription' is not cached here",
        ),
        ("{type: local, host: h}", f"{PARAMS}.host: not used by a cache of this type"),
        ("{type: local, moder: 5}", f"{PARAMS}.moder: unknown setting; did you mean mode?"),
    ],
)
def test_what_has_no_effect_is_named(load, params, warning):
    settings = load(f"litellm_settings: {{cache: true, cache_params: {params}}}")
    assert settings.warnings == (warning,)


def test_another_type_caches_nothing(load):
    assert load("litellm_settings: {cache: true, cache_params: {type: disk}}").cache.type == "none"


def test_parameters_without_the_cache_are_named(load):
    settings = load("litellm_settings: {cache_params: {type: redis, host: h, ttl: 60}}")
    assert settings.warnings == (f"{PARAMS}.ttl: not used without litellm_settings.cache",)


def test_redis_needs_an_address(load):
    with pytest.raises(InvalidConfig, match="needs a Redis"):
        load("litellm_settings: {cache: true, cache_params: {type: redis}}")


@pytest.mark.parametrize("params", ["{type: local, ttl: 0}", "{type: local, mode: sometimes}", "{type: 5}"])
def test_wrong_values_are_refused(load, params):
    with pytest.raises(InvalidConfig, match="cache_params"):
        load(f"litellm_settings: {{cache: true, cache_params: {params}}}")

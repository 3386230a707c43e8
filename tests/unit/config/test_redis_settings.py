"""Where Redis is given, and what is never shown of it."""

from __future__ import annotations

import pytest

from tallystick.config.load import load_settings
from tallystick.config.problems import InvalidConfig
from tallystick.config.redis_address import RedisAddress, parse_redis_url
from tallystick.config.report import config_report

SECRET = "hunter2-secret"


@pytest.fixture
def load(tmp_path):
    def load(text="", **environ):
        file = tmp_path / "c.yaml"
        file.write_text(text)
        return load_settings(config_file=file, overrides={}, environ=environ)

    return load


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress(host="h")),
        ("redis://:p%40ss@h:7000/3", RedisAddress(host="h", port=7000, db=3, password="p@ss")),
        ("rediss://me:pw@h/", RedisAddress(host="h", username="me", password="pw", ssl=True)),
        ("redis://h/?db=4", RedisAddress(host="h", db=4)),
        ("unix:///run/redis.sock?db=2", RedisAddress(socket_path="/run/redis.sock", db=2)),
        ("redis://[::1]:7000", RedisAddress(host="::1", port=7000)),
    ],
)
def test_addresses(url, address):
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    "url", ["", "h:6379", f"http://:{SECRET}@h", f"redis://:{SECRET}@h:x", f"redis://{SECRET}@", "redis://h/x"]
)
def test_what_is_no_address_is_refused_without_showing_it(load, url):
    with pytest.raises(ValueError, match="redis://") as caught:
        parse_redis_url(url)
    assert SECRET not in str(caught.value)


def test_without_any_there_is_none(load):
    assert load().redis.address is None
    assert load(REDIS_PORT="7000", REDIS_PASSWORD=SECRET).redis.address is None


def test_the_environment_as_litellm_has_it(load):
    address = load(REDIS_HOST="h", REDIS_PORT="7000", REDIS_PASSWORD=SECRET, REDIS_SSL="True").redis.address
    assert address == RedisAddress(host="h", port=7000, password=SECRET, ssl=True)
    assert load(REDIS_HOST="h", REDIS_URL="redis://other").redis.address == RedisAddress(host="other")
    assert load(REDIS_URL="redis://h", REDIS_SOCKET_TIMEOUT="0.5").redis.socket_timeout_seconds == 0.5


def test_the_file_as_litellm_has_it(load):
    router = load(
        "router_settings: {redis_host: h, redis_port: 7000, redis_db: 2, redis_password: os.environ/PW}", PW=SECRET
    )
    assert router.redis.address == RedisAddress(host="h", port=7000, db=2, password=SECRET)
    assert router.warnings == ()
    own = load(f"general_settings: {{coordination_redis: {{host: h, password: {SECRET}}}}}", REDIS_URL="redis://cache")
    assert own.redis.address == RedisAddress(host="h", password=SECRET)
    assert load("general_settings: {coordination_redis: {url: 'redis://h'}}").redis.address == RedisAddress(host="h")


def test_a_cluster(load):
    nodes = load(
        REDIS_CLUSTER_NODES='[{"host": "a", "port": 7001}, {"host": "b"}]', REDIS_PASSWORD=SECRET
    ).redis.address
    assert nodes == RedisAddress(nodes=(("a", 7001), ("b", 6379)), password=SECRET)
    assert nodes.shown == "a:7001, b:6379"
    with pytest.raises(InvalidConfig, match="REDIS_CLUSTER_NODES"):
        load(REDIS_CLUSTER_NODES="a:7001")


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f"general_settings: {{coordination_redis: {{host: h, password: {SECRET}, hst: x}}}}", {}),
        ("", {"REDIS_URL": f"http://:{SECRET}@h"}),
        (f"general_settings: {{coordination_redis: {{url: 'redis://:{SECRET}@h:port'}}}}", {}),
        ("", {"TALLYSTICK_REDIS_KEY_PREFIX": "{a}", "REDIS_PASSWORD": SECRET}),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_shown(load, text, environ):
    with pytest.raises(InvalidConfig) as caught:
        load(text, **environ)
    assert caught.value.problems[0].key_path
    assert SECRET not in str(caught.value)


def test_no_secret_is_shown(load):
    for settings in (
        load(REDIS_URL=f"redis://:{SECRET}@h"),
        load(REDIS_HOST="h", REDIS_PASSWORD=SECRET),
        load(f"general_settings: {{coordination_redis: {{host: h, password: {SECRET}}}}}"),
        load(f"general_settings: {{coordination_redis: {{url: 'redis://:{SECRET}@h'}}}}"),
    ):
        assert SECRET not in repr(settings)
        assert SECRET not in repr(settings.redis.address)
        assert settings.redis.address.shown == "h:6379/0"


def test_the_report_says_who_counts():
    counted = config_report(config_file=None, overrides={}, environ={}).summary["rate limits"]
    shared = config_report(config_file=None, overrides={}, environ={"REDIS_URL": f"redis://:{SECRET}@h"}).summary
    assert (counted, shared["rate limits"]) == ("counted by each worker", "shared by Redis at h:6379/0")


def test_limits_of_the_gateway_and_of_deployments(load):
    text = "general_settings: {global_max_parallel_requests: 9, max_parallel_requests: 3}"
    assert (load(text).rates.parallel_requests, load(text).rates.deployment_parallel_requests) == (9, 3)
    assert load("router_settings: {default_max_parallel_requests: 4}").rates.deployment_parallel_requests == 4
    assert load(text).warnings == ()

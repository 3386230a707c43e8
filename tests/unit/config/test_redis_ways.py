"""Ways to name a Redis: LiteLLM's cache, sentinels, TLS; which one holds, and what can't all be meant."""

from __future__ import annotations

import pytest

from tallystick.config.load import load_settings
from tallystick.config.problems import InvalidConfig
from tallystick.config.redis_address import RedisAddress, RedisTLS, parse_redis_url
from tls_kit import Authority

SECRET = "hunter2-secret"
CACHE = "litellm_settings.cache_params"


@pytest.fixture
def load(tmp_path):
    def load(text="", **environ):
        file = tmp_path / "c.yaml"
        file.write_text(text)
        return load_settings(config_file=file, overrides={}, environ=environ)

    return load


@pytest.fixture
def refused(load):
    """Return what a configuration is refused with: by key, and nothing secret."""

    def refused(text="", **environ):
        with pytest.raises(InvalidConfig) as caught:
            load(text, **environ)
        assert SECRET not in str(caught.value)
        return {problem.key_path: problem.reason for problem in caught.value.problems}

    return refused


def cache(parts, more=""):
    return f"litellm_settings: {{cache_params: {{type: redis, {parts}}}}}\n{more}"


# LiteLLM's cache


def test_the_cache_names_a_redis_where_nothing_else_does(load):
    settings = load(cache("host: h, port: '7000', password: os.environ/PW, db: 2, ssl: true"), PW=SECRET)
    assert settings.redis.address == RedisAddress(host="h", port=7000, db=2, password=SECRET, ssl=True)
    assert settings.warnings == ()
    assert SECRET not in repr(settings.redis)
    assert load(cache("url: 'redis://h'")).redis.address == RedisAddress(host="h")
    assert load("litellm_settings: {cache_params: {host: h}}").redis.address == RedisAddress(host="h")


def test_what_the_cache_leaves_out_is_as_in_the_settings(load):
    settings = load(cache("host: h"), REDIS_PASSWORD=SECRET, REDIS_PORT="7000")
    assert settings.redis.address == RedisAddress(host="h", port=7000, password=SECRET)
    assert settings.warnings == ()
    nothing = load(cache("host: '', password: null"), REDIS_HOST="h")
    assert (nothing.redis.address, nothing.warnings) == (RedisAddress(host="h"), ())


def test_nodes_and_sentinels_of_the_cache(load):
    cluster = load(cache("redis_startup_nodes: [{host: a, port: '7001'}, {host: b}]"))
    assert cluster.redis.address == RedisAddress(nodes=(("a", 7001), ("b", 6379)))
    watched = load(cache(f"service_name: m, sentinel_nodes: [[a, 1], [b, 2]], sentinel_password: {SECRET}"))
    assert watched.redis.address == RedisAddress(
        sentinels=(("a", 1), ("b", 2)), service_name="m", sentinel_password=SECRET
    )
    assert watched.redis.address.shown == "m (by sentinels a:1, b:2)"
    assert (cluster.warnings, watched.warnings) == ((), ())


def test_other_settings_go_before_the_cache_which_is_told(load):
    settings = load(cache("host: cache"), REDIS_URL="redis://h")
    assert settings.redis.address == RedisAddress(host="h")
    assert settings.warnings == (f"{CACHE}: its Redis is not used: another one is given, which goes before it",)
    own = load(cache("password: x"), REDIS_HOST="h")
    assert own.redis.address == RedisAddress(host="h")
    assert own.warnings == (f"{CACHE}.password: not used: it does not say where a Redis is",)


def test_what_is_wrong_beside_the_address_is_told(load):
    settings = load("litellm_settings: {cache: true, cache_params: {type: redis, host: h, ttl: 60, hots: x}}")
    assert settings.warnings == (f"{CACHE}.hots: unknown setting; did you mean host?",)
    elsewhere = load("litellm_settings: {cache_params: {type: s3, host: h}}")
    assert elsewhere.redis.address is None
    assert sorted(elsewhere.warnings) == [
        f"{CACHE}.host: not used by a cache of this type",
        f"{CACHE}.type: 's3' is not supported: nothing is cached; there is local and redis",
    ]


def test_a_namespace_is_how_keys_begin(load):
    assert load(cache("host: h, namespace: a.b")).redis.keys_begin_with == "a.b"
    assert load(cache("host: h, namespace: a"), TALLYSTICK_REDIS_KEY_PREFIX="own").redis.keys_begin_with == "own"
    assert load(cache("host: h")).redis.keys_begin_with == "tallystick"
    unused = load(cache("host: h, namespace: a"), REDIS_HOST="other")
    assert unused.redis.keys_begin_with == "tallystick"


def test_what_is_wrong_with_the_cache_is_named(refused):
    assert list(refused(cache(f"host: h, port: no, password: {SECRET}"))) == [f"{CACHE}.port"]
    assert list(refused("litellm_settings: {cache_params: [redis]}")) == [CACHE]
    assert list(refused(cache(f"url: 'http://:{SECRET}@h'"))) == [f"{CACHE}.url"]
    assert list(refused(cache("sentinel_nodes: [[a, 1]]"))) == [f"{CACHE}.sentinel_nodes"]


# Sentinels


def test_sentinels_of_the_environment_and_of_the_file(load):
    address = load(
        REDIS_SENTINEL_NODES='[["a", 1], ["b", 26379]]',
        REDIS_SERVICE_NAME="m",
        REDIS_SENTINEL_PASSWORD=SECRET,
        REDIS_PASSWORD="pw",
        REDIS_DB="2",
    ).redis.address
    assert address == RedisAddress(
        sentinels=(("a", 1), ("b", 26379)), service_name="m", sentinel_password=SECRET, password="pw", db=2
    )
    assert SECRET not in repr(address)
    file = "general_settings: {redis_sentinel_nodes: [{host: a}], redis_service_name: m}"
    assert load(file).redis.address == RedisAddress(sentinels=(("a", 26379),), service_name="m")
    own = "general_settings: {coordination_redis: {sentinel_nodes: [[a, 1]], service_name: m}}"
    assert load(own).redis.address == RedisAddress(sentinels=(("a", 1),), service_name="m")


def test_a_sentinel_that_is_none(refused):
    assert list(refused(REDIS_SENTINEL_NODES="a:1", REDIS_SERVICE_NAME="m")) == ["REDIS_SENTINEL_NODES"]
    assert list(refused(REDIS_SENTINEL_NODES='[["a", 1, 2]]', REDIS_SERVICE_NAME="m")) == ["REDIS_SENTINEL_NODES[0]"]


# TLS


def test_tls_as_litellm_has_it(load, tmp_path):
    authority = Authority(tmp_path)
    client = authority.issue("client")
    files = {"ca_file": str(authority.file), "certificate_file": str(client.file), "key_file": str(client.key_file)}
    settings = load(
        REDIS_HOST="h",
        REDIS_SSL="True",
        REDIS_SSL_CA_CERTS=files["ca_file"],
        REDIS_SSL_CERTFILE=files["certificate_file"],
        REDIS_SSL_KEYFILE=files["key_file"],
        REDIS_SSL_CHECK_HOSTNAME="false",
    )
    assert settings.redis.address == RedisAddress(host="h", ssl=True, tls=RedisTLS(**files, checks_host=False))
    assert settings.warnings == ()


@pytest.mark.parametrize("written", ["none", "None", "CERT_NONE"])
def test_no_trust_is_asked_for(load, written):
    assert load(REDIS_URL="rediss://h", REDIS_SSL_CERT_REQS=written).redis.address.tls.trust == "none"
    assert parse_redis_url(f"rediss://h?ssl_cert_reqs={written}").tls.trust == "none"


def test_what_stands_in_the_address_goes_first(load, tmp_path):
    file = Authority(tmp_path).file
    address = load(REDIS_URL="rediss://h?ssl_cert_reqs=required", REDIS_SSL_CERT_REQS="none").redis.address
    assert address.tls.trust == "required"
    assert load(REDIS_URL=f"rediss://h?ssl_ca_certs={file}").redis.address.tls.ca_file == str(file)
    with pytest.raises(ValueError, match="ssl_cert_reqs"):
        parse_redis_url("rediss://h?ssl_cert_reqs=perhaps")


# What can't all be meant


@pytest.mark.parametrize(
    ("environ", "key", "reason"),
    [
        ({"REDIS_URL": "redis://h", "REDIS_CLUSTER_NODES": '[["a", 1]]'}, "REDIS_CLUSTER_NODES", "a URL beside it"),
        (
            {"REDIS_URL": "redis://h", "REDIS_SENTINEL_NODES": '[["a", 1]]', "REDIS_SERVICE_NAME": "m"},
            "REDIS_SENTINEL_NODES",
            "a URL beside it: give one of them",
        ),
        (
            {"REDIS_CLUSTER_NODES": '[["b", 1]]', "REDIS_SENTINEL_NODES": '[["a", 1]]', "REDIS_SERVICE_NAME": "m"},
            "REDIS_SENTINEL_NODES",
            "nodes of a cluster beside it",
        ),
        (
            {"REDIS_SENTINEL_NODES": '[["a", 1]]'},
            "REDIS_SENTINEL_NODES",
            "set service_name (REDIS_SERVICE_NAME) beside it",
        ),
        ({"REDIS_CLUSTER_NODES": '[["a", 1]]', "REDIS_DB": "1"}, "REDIS_DB", "database 0 only"),
        ({"REDIS_URL": f"redis://:{SECRET}@h", "REDIS_SSL": "true"}, "REDIS_SSL", "write rediss://"),
        ({"REDIS_HOST": "h", "REDIS_SSL_CA_CERTS": "/x"}, "REDIS_SSL_CA_CERTS", "TLS, which is off"),
        ({"REDIS_URL": "rediss://h", "REDIS_SSL_CA_CERTS": "/no/file"}, "REDIS_SSL_CA_CERTS", "No such file"),
        ({"REDIS_URL": "rediss://h", "REDIS_SSL_CERTFILE": "/no/file"}, "REDIS_SSL_CERTFILE", "No such file"),
        ({"REDIS_URL": "rediss://h", "REDIS_SSL_KEYFILE": "/x"}, "REDIS_SSL_KEYFILE", "set ssl_certfile"),
        ({"REDIS_URL": "rediss://h", "REDIS_SSL_CERT_REQS": "perhaps"}, "REDIS_SSL_CERT_REQS", "'required'"),
        (
            {"REDIS_URL": "rediss://h", "REDIS_SSL_CERT_REQS": "none", "REDIS_SSL_CHECK_HOSTNAME": "true"},
            "REDIS_SSL_CHECK_HOSTNAME",
            "leave one of them out",
        ),
    ],
)
def test_contradictions_are_refused(refused, environ, key, reason):
    found = refused(**environ)
    assert list(found) == [key]
    assert reason in found[key]


def test_contradictions_within_a_mapping_name_its_key(refused):
    text = "general_settings: {coordination_redis: {url: 'redis://h', ssl: true}}"
    assert list(refused(text)) == ["general_settings.coordination_redis.ssl"]
    nowhere = "general_settings: {coordination_redis: {password: x}}"
    assert "names no Redis" in refused(nowhere)["general_settings.coordination_redis"]
    mixed = cache("sentinel_nodes: [[a, 1]], service_name: m", "general_settings: {redis_ssl_keyfile: /x}")
    assert list(refused(mixed)) == ["general_settings.redis_ssl_keyfile"]


def test_a_file_that_holds_something_else(refused, tmp_path):
    file = tmp_path / "text"
    file.write_text("no certificate")
    found = refused(REDIS_URL="rediss://h", REDIS_SSL_CA_CERTS=str(file))
    assert f"there is no certificate of an authority in {file}" in found["REDIS_SSL_CA_CERTS"]


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        ({"REDIS_URL": "redis://h", "REDIS_HOST": "other"}, "REDIS_HOST: not used beside a URL"),
        ({"REDIS_URL": "redis://h", "REDIS_PASSWORD": SECRET}, "REDIS_PASSWORD: not used beside a URL"),
        ({"REDIS_HOST": "h", "REDIS_SERVICE_NAME": "m"}, "REDIS_SERVICE_NAME: not used beside a host"),
        ({"REDIS_PASSWORD": SECRET}, "REDIS_PASSWORD: not used: it does not say where a Redis is"),
        ({"REDIS_HOST": "h", "REDIS_SSL_CERT_REQS": "none"}, "REDIS_SSL_CERT_REQS: not used without TLS"),
        ({"REDIS_URL": "redis://h?socket_timeout=1"}, "REDIS_URL: these options in it are not used: socket_timeout"),
    ],
)
def test_what_changes_nothing_is_told(load, environ, warning):
    assert load(**environ).warnings == (warning,)


def test_settings_behind_coordination_redis_are_told(load):
    settings = load("general_settings: {coordination_redis: {host: h}}", REDIS_URL="redis://cache")
    assert settings.warnings == ("REDIS_URL: not used: coordination_redis goes before it",)

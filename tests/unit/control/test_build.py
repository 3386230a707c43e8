"""From the file and the database to one snapshot."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from models_kit import (
    GPT,
    NOON,
    SEALER,
    FixedPrices,
    access_group,
    builder_of,
    credential,
    damaged,
    model,
    row,
    setting,
    settings_of,
    variable,
)
from tallystick.control.build import NOTHING_LOADED
from tallystick.control.deployment import DeploymentRates
from tallystick.control.objects import Kind
from tallystick.control.store import Loaded
from tallystick.errors import ConfigError
from tallystick.testing import FakeClock


def entry(name="gpt", info="", **params):
    given = {**GPT, **params}
    lines = "".join(f", {key}: {value}" for key, value in given.items() if value is not None)
    return f"- {{model_name: {name}, litellm_params: {{x: 1{lines}}}, model_info: {{{info}}}}}\n"


@pytest.fixture
def build(tmp_path):
    """Build a snapshot of a file's text and of rows."""

    def build(*rows, text="", revision=7, **options):
        builder = builder_of(settings_of(tmp_path, text), **options)
        return builder.build(Loaded(revision=revision, objects=rows))

    return build


def only(snapshot):
    (deployment,) = snapshot.deployments().values()
    return deployment


# The file


def test_groups_and_order(build):
    text = "model_list:\n" + entry("a") + entry("b") + entry("a", model="groq/m")
    snapshot = build(text=text)
    assert snapshot.revision == 7
    assert [(name, [d.target.provider for d in members]) for name, members in snapshot.model_groups.items()] == [
        ("a", ["openai", "groq"]),
        ("b", ["openai"]),
    ]


def test_a_deployment_of_the_file_has_what_the_entry_says(build):
    text = "router_settings: {timeout: 50}\nmodel_list:\n" + entry(
        info="mode: chat, max_tokens: 9, team: x",
        api_base="http://h/v1",
        timeout=5,
        stream_timeout=6,
        weight=4,
        mock_response="hi",
    )
    deployment = only(build(text=text))
    assert (deployment.target.timeout_seconds, deployment.target.stream_idle_seconds) == (5, 6)
    assert (deployment.weight, deployment.target.options) == (4, {"mock_response": "hi"})
    assert deployment.model_info == {
        "mode": "chat",
        "max_tokens": 9,
        "team": "x",
        "id": deployment.deployment_id,
        "db_model": False,
    }
    assert deployment.shown_params["api_key"] == "****"
    assert deployment.shown_params["api_base"] == "http://h/v1"
    assert "sk-secret" not in repr(deployment.shown_params)


def test_limits_of_a_deployment(build):
    defaults = "general_settings: {max_parallel_requests: 7}\nmodel_list:\n"
    own = only(build(text=defaults + entry(rpm=5, tpm=9, max_parallel_requests=0))).rates
    assert own == DeploymentRates(requests_per_minute=5, tokens_per_minute=9, parallel_requests=0)
    assert only(build(text=defaults + entry())).rates == DeploymentRates(parallel_requests=7)
    assert only(build(text="model_list:\n" + entry())).rates is None


def test_defaults_and_environment(build):
    text = "router_settings: {timeout: 7}\nmodel_list:\n" + entry(api_key=None)
    target = only(build(text=text, environ={"OPENAI_API_KEY": "e"})).target
    assert (target.timeout_seconds, target.stream_idle_seconds) == (7, 7)
    assert target.headers == {"authorization": "Bearer e"}


def test_the_price_is_asked_with_what_is_known(build):
    prices = FixedPrices()
    deployment = only(build(text="model_list:\n" + entry(api_base="http://h/v1"), prices=prices))
    assert prices.asked == [("openai", "gpt-4o", "http://h/v1")]
    assert deployment.price.rates["input"].nano_usd_per_million == 2_500_000_000
    assert deployment.context_tokens == 128_000


def test_ids_are_stable_and_tell_apart(build):
    def ids(*entries):
        return list(build(text="model_list:\n" + "".join(entries)).deployments())

    (first,) = ids(entry())
    assert ids(entry(api_key="another", weight=3)) == [first]
    several = ids(entry(), entry(), entry(api_base="http://h/v1"))
    assert several[0] == first
    assert len(set(several)) == 3


@pytest.mark.parametrize(
    ("params", "key_path", "words"),
    [
        ({"model": "nobody/x"}, "model_list[1].litellm_params.model", "not a provider"),
        ({"model": "azure/x"}, "model_list[1].litellm_params.api_base", "api_base"),
        ({"api_key": None}, "model_list[1].litellm_params.api_key", "OPENAI_API_KEY"),
        ({"litellm_credential_name": "c"}, "model_list[1].litellm_params.litellm_credential_name", "no credential"),
        ({"info": "id: taken"}, "model_list[1].model_info.id", "model_list\\[0\\]"),
    ],
)
def test_what_is_wrong_in_the_file_names_its_place(tmp_path, params, key_path, words):
    text = "general_settings: {store_model_in_db: false}\nmodel_list:\n" + entry(info="id: taken") + entry(**params)
    with pytest.raises(ConfigError, match=words) as caught:
        builder_of(settings_of(tmp_path, text)).check()
    assert caught.value.key_path == key_path
    assert "sk-secret" not in str(caught.value)


def test_an_entry_may_find_its_credential_in_the_database(tmp_path):
    text = "model_list:\n" + entry(api_key=None, litellm_credential_name="c")
    builder = builder_of(settings_of(tmp_path, text))
    builder.check()
    assert [each.reason for each in builder.build(NOTHING_LOADED).left_out] == [
        "litellm_params.litellm_credential_name: there is no credential 'c': add it with POST /credentials"
    ]
    found = builder.build(Loaded(revision=1, objects=(credential("c", api_key="sk-shared"),)))
    assert only(found).target.headers == {"authorization": "Bearer sk-shared"}


def test_the_files_own_credentials(build):
    text = (
        "credential_list:\n- {credential_name: c, credential_values: {api_key: sk-of-the-file, api_base: http://h/v1}}\n"
        "model_list:\n" + entry(api_key=None, litellm_credential_name="c")
    )
    target = only(build(text=text)).target
    assert (target.api_base, target.headers) == ("http://h/v1", {"authorization": "Bearer sk-of-the-file"})


# The database


def test_a_name_in_both_is_one_group_with_several_deployments(build):
    snapshot = build(model("m-1"), model("m-2", "other"), text="model_list:\n" + entry())
    assert {name: len(members) for name, members in snapshot.model_groups.items()} == {"gpt": 2, "other": 1}
    own = snapshot.deployments()["m-1"]
    assert own.target.headers == {"authorization": "Bearer sk-secret-of-the-upstream"}
    assert own.model_info == {"id": "m-1", "db_model": True}
    assert own.shown_params == {"model": "openai/gpt-4o", "api_key": "****"}


def test_a_row_with_the_id_of_the_file_replaces_it(build):
    text = "model_list:\n" + entry(info="id: same") + entry("b")
    snapshot = build(model("same", model="groq/m"), text=text)
    assert [d.target.provider for d in snapshot.model_groups["gpt"]] == ["groq"]
    assert len(snapshot.model_groups["b"]) == 1


def test_what_is_blocked_is_left_out_and_no_problem(build):
    snapshot = build(model("m-1", _blocked=True), model("m-2"))
    assert list(snapshot.deployments()) == ["m-2"]
    assert snapshot.left_out == ()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (model("m-1", model="nobody/x"), "litellm_params.model: 'nobody' is not a provider"),
        (model("m-1", model="azure/x"), "litellm_params.api_base: azure has no default address"),
        (model("m-1", litellm_credential_name="c"), "there is no credential 'c'"),
        (model("m-1", api_key="os.environ/NOT_THERE"), "litellm_params.api_key: the environment variable NOT_THERE"),
        (model("m-1", api_key="file:///not/there"), "litellm_params.api_key: /not/there can't be read"),
        (model("m-1", timeout="sk-secret-not-a-number"), "litellm_params.timeout: Input should be a valid number"),
        (model("m-1", input_cost_per_token_above_200k_tokens=1, model="groq/m"), "no base"),
        (model("m-1", input_cost_per_token_above_200k_tokens_flex=1, model="groq/m"), "no base"),
        (damaged(model("m-1")), "can't be opened"),
        (row(Kind.MODEL, "m-1", {"litellm_params": ["sk-secret"]}, name="gpt"), "Expected `object`"),
    ],
)
def test_what_cannot_be_served_is_left_out_alone_and_says_why(build, broken, words):
    snapshot = build(broken, model("m-2"), text="model_list:\n" + entry("of-the-file"))
    assert set(snapshot.model_groups) == {"gpt", "of-the-file"}
    assert set(snapshot.deployments()) > {"m-2"}
    (left_out,) = snapshot.left_out
    assert (left_out.kind, left_out.object_id, left_out.name) == ("model", "m-1", "gpt")
    assert words in left_out.reason
    assert "sk-secret" not in left_out.reason


def test_a_teams_own_models(build):
    snapshot = build(
        model("m-1", "gpt-team-1", {"team_public_model_name": "gpt"}, _team="t1"),
        model("m-2", "own", _team="t1"),
        model("m-3", "gpt"),
    )
    assert set(snapshot.model_groups) == {"gpt"}
    assert [d.deployment_id for d in snapshot.find("gpt", team_id="t1")] == ["m-1"]
    assert [d.deployment_id for d in snapshot.find("gpt", team_id="t2")] == ["m-3"]
    assert [d.deployment_id for d in snapshot.find("gpt")] == ["m-3"]
    assert [len(snapshot.find("own", team_id=team_id)) for team_id in ("t1", "t2", "")] == [1, 0, 0]
    assert snapshot.find("gpt-team-1", team_id="t1") == ()
    assert set(snapshot.groups_seen_by("t1")) == {"gpt", "own"}
    assert set(snapshot.groups_seen_by("t2")) == {"gpt"}
    assert snapshot.deployments()["m-1"].model_group == "gpt"


def test_access_groups(build):
    snapshot = build(
        model("m-1", "a", {"access_groups": ["beta"]}),
        access_group("g-1", "beta", "b", "c"),
        row(Kind.ACCESS_GROUP, "g-2", {"models": 5}, name="broken"),
        text="model_list:\n" + entry("d", info="access_groups: [beta, other]"),
    )
    assert snapshot.access_groups == {
        "beta": frozenset("abcd"),
        "other": frozenset("d"),
        "g-1": frozenset("bc"),
    }
    assert [each.object_id for each in snapshot.left_out] == ["g-2"]


def test_a_changed_credential_is_a_new_target_and_the_rest_is_kept(tmp_path):
    builder = builder_of(settings_of())
    rows = (model("m-1", api_key=None, litellm_credential_name="c"), model("m-2"))
    first = builder.build(Loaded(revision=1, objects=(*rows, credential("c", api_key="sk-1"))))
    second = builder.build(Loaded(revision=2, objects=(*rows, credential("c", revision=2, api_key="sk-2"))))
    assert first.deployments()["m-1"].target.headers == {"authorization": "Bearer sk-1"}
    assert second.deployments()["m-1"].target.headers == {"authorization": "Bearer sk-2"}
    assert second.deployments()["m-2"] is first.deployments()["m-2"]
    assert second.deployments()["m-1"].credential_name == "c"


def test_a_deployments_own_parameters_go_before_its_credentials(build):
    rows = (credential("c", api_key="sk-1", api_base="http://h/v1"), model("m", litellm_credential_name="c"))
    target = only(build(*rows)).target
    assert (target.api_base, target.headers) == ("http://h/v1", {"authorization": "Bearer sk-secret-of-the-upstream"})


def test_a_credential_that_cannot_be_opened_takes_only_its_deployments_with_it(build):
    spec = {"credential_values": {"api_key": "sealed:v1:gone:AAAA"}}
    broken = row(Kind.CREDENTIAL, "c", {"credential_values": {}})
    broken.spec.update(spec)
    snapshot = build(broken, model("m-1", litellm_credential_name="c"), model("m-2"))
    assert list(snapshot.deployments()) == ["m-2"]
    assert [(each.kind, each.object_id) for each in snapshot.left_out] == [("credential", "c"), ("model", "m-1")]


def test_the_databases_variables_go_before_the_processs(tmp_path):
    builder = builder_of(settings_of(), environ={"KEY": "of-the-process", "OTHER": "o"})
    held = (model("m-1", api_key="os.environ/KEY"), model("m-2", api_key="os.environ/OTHER"))

    def keys(*rows):
        found = builder.build(Loaded(revision=1, objects=(*held, *rows))).deployments()
        return [found[each].target.headers["authorization"] for each in ("m-1", "m-2")]

    assert keys() == ["Bearer of-the-process", "Bearer o"]
    assert keys(variable("KEY", "first")) == ["Bearer first", "Bearer o"]
    assert keys(variable("KEY", "second", revision=2)) == ["Bearer second", "Bearer o"]
    assert keys() == ["Bearer of-the-process", "Bearer o"]


def test_a_variable_that_the_file_has_is_the_files(build):
    text = "environment_variables: {KEY: of-the-file}\n"
    snapshot = build(
        model("m", api_key="os.environ/KEY"), variable("KEY", "d"), text=text, environ={"KEY": "of-the-file"}
    )
    assert only(snapshot).target.headers == {"authorization": "Bearer of-the-file"}


# Settings


def test_discount_and_margin_of_the_database_are_in_the_price(build):
    snapshot = build(
        model("m"),
        setting("litellm_settings.cost_discount_config", {"openai": 0.05}),
        setting("litellm_settings.cost_margin_config", {"global": {"percentage": 0.1, "fixed_amount": 0.001}}),
        setting("router_settings.num_retries", 4),
    )
    price = only(snapshot).price
    assert (price.discount_ppm, price.margin_ppm, price.margin_fixed_nano_usd) == (50_000, 100_000, 1_000_000)
    assert snapshot.settings.routing.num_retries == 4
    assert snapshot.settings.costs.discounts == {"openai": Decimal("0.05")}


def test_only_settings_of_costs_make_deployments_anew():
    builder = builder_of(settings_of())

    def built(*settings):
        return only(builder.build(Loaded(revision=1, objects=(model("m"), *settings))))

    first = built()
    assert built(setting("router_settings.num_retries", 4)) is first
    dear = built(setting("litellm_settings.cost_margin_config", {"global": 0.1}))
    dearer = built(setting("litellm_settings.cost_margin_config", {"global": 0.2}, revision=2))
    assert [each.price.margin_ppm for each in (first, dear, dearer, built())] == [0, 100_000, 200_000, 0]


def test_a_setting_that_the_file_has_is_the_files(build):
    text = "litellm_settings: {num_retries: 1, cost_discount_config: {openai: 0.5}}\n"
    snapshot = build(
        model("m"),
        setting("litellm_settings.cost_discount_config", {"openai": 0.05}),
        setting("router_settings.num_retries", 4),
        text=text,
    )
    assert only(snapshot).price.discount_ppm == 500_000
    assert snapshot.settings.routing.num_retries == 1


def test_a_setting_that_is_wrong_or_unknown_is_left_out(build):
    snapshot = build(
        model("m"),
        setting("litellm_settings.cost_discount_config", {"openai": 2}),
        setting("litellm_settings.nothing_like_it", 1),
        setting("litellm_settings.default_team_params", {"max_budget": 5}),
    )
    assert only(snapshot).price.discount_ppm == 0
    assert {each.object_id for each in snapshot.left_out} == {
        "litellm_settings.cost_discount_config",
        "litellm_settings.nothing_like_it",
    }
    assert snapshot.settings.values == {"litellm_settings.default_team_params": {"max_budget": 5}}


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("x: 1", {"access_group", "model", "credential", "setting", "environment_variable", "pass_through_endpoint"}),
        ("general_settings: {store_model_in_db: false}", {"access_group"}),
        ("general_settings: {supported_db_objects: [models, mcp]}", {"access_group", "model", "credential"}),
        ("general_settings: {supported_db_objects: []}", {"access_group"}),
    ],
)
def test_what_is_loaded(tmp_path, text, kinds):
    assert set(builder_of(settings_of(tmp_path, text)).kinds) == kinds


# Prices by the calendar


def test_prices_that_change_are_looked_up_again():
    clock, prices = FakeClock(), FixedPrices()
    prices.change = clock.now() + timedelta(hours=1)
    builder = builder_of(settings_of(), clock=clock, prices=prices)
    loaded = Loaded(revision=1, objects=(model("m"), model("m-2", model="groq/m")))
    first = builder.build(loaded)
    assert builder.prices_until == prices.change
    assert builder.build(loaded).deployments()["m"] is first.deployments()["m"]
    assert builder.prices_until == prices.change
    clock.advance(3600)
    builder.renew_prices()
    renewed = builder.build(loaded).deployments()["m"]
    assert renewed.price.version != first.deployments()["m"].price.version
    assert builder.prices_until is None


def test_rows_are_sealed_in_these_tests():
    assert NOON.year == 2026
    assert model("m").spec["litellm_params"]["api_key"].startswith("sealed:")
    assert SEALER.open(Kind.MODEL, "m", model("m").spec)["litellm_params"] == GPT

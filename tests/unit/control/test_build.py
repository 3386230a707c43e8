from __future__ import annotations

from typing import Any

import pytest

from tallystick.config.model_list import ModelEntry
from tallystick.control.build import build_snapshot
from tallystick.control.deployment import Deployment, Snapshot
from tallystick.errors import ConfigError
from tallystick.pricing.price import PriceSheet

SHEET = PriceSheet(version="test", rates={})


def entry(
    group: str = "g", model: str = "openai/gpt-4o", info: dict[str, Any] | None = None, **params: Any
) -> ModelEntry:
    given = {"model": model, "api_key": "sk-secret"} | params
    return ModelEntry.model_validate({"model_name": group, "litellm_params": given, "model_info": info or {}})


def build(*entries: ModelEntry, **options: Any) -> Snapshot:
    return build_snapshot(entries, price_for=lambda entry, provider, model, deployment_id: SHEET, revision=3, **options)


def only(snapshot: Snapshot) -> Deployment:
    (members,) = snapshot.model_groups.values()
    (deployment,) = members
    return deployment


def test_groups_and_order() -> None:
    snapshot = build(entry("a"), entry("b"), entry("a", "groq/m"))
    assert snapshot.revision == 3
    assert [(name, [d.target.provider for d in members]) for name, members in snapshot.model_groups.items()] == [
        ("a", ["openai", "groq"]),
        ("b", ["openai"]),
    ]


def test_a_deployment_has_what_the_entry_says() -> None:
    info = {"mode": "chat", "max_tokens": 9, "team": "x"}
    deployment = only(
        build(
            entry(info=info, api_base="http://h/v1", timeout=5, stream_timeout=6, weight=4, mock_response="hi"),
            timeout_seconds=50,
        )
    )
    assert (deployment.target.timeout_seconds, deployment.target.stream_idle_seconds) == (5, 6)
    assert (deployment.weight, deployment.price, deployment.target.options) == (4, SHEET, {"mock_response": "hi"})
    assert deployment.model_info == info | {"id": deployment.deployment_id, "db_model": False}


def test_defaults_and_environment() -> None:
    target = only(build(entry(api_key=None), timeout_seconds=7, environment={"OPENAI_API_KEY": "e"})).target
    assert (target.timeout_seconds, target.stream_idle_seconds) == (7, 600)
    assert target.headers == {"authorization": "Bearer e"}


def test_the_price_is_asked_with_what_is_known() -> None:
    asked: list[Any] = []

    def price_for(entry: ModelEntry, provider: str, model: str, deployment_id: str) -> None:
        asked.append((entry.model_name, provider, model, deployment_id))

    deployment = only(build_snapshot([entry(info={"id": "mine"})], price_for=price_for, revision=0))
    assert asked == [("g", "openai", "gpt-4o", "mine")]
    assert deployment.price is None


def test_ids_are_stable_and_tell_apart() -> None:
    first = only(build(entry())).deployment_id
    assert only(build(entry(api_key="another", weight=3))).deployment_id == first
    ids = [d.deployment_id for d in build(entry(), entry(), entry(api_base="http://h/v1")).model_groups["g"]]
    assert ids[0] == first
    assert len(set(ids)) == 3
    assert "sk-secret" not in str(ids)


@pytest.mark.parametrize(
    ("params", "key_path", "words"),
    [
        ({"model": "nobody/x"}, "model_list[1].litellm_params.model", "not a provider"),
        ({"model": "azure/x"}, "model_list[1].litellm_params.api_base", "api_base"),
        ({"api_key": None}, "model_list[1].litellm_params.api_key", "OPENAI_API_KEY"),
        ({"api_base": "http://[x/v1"}, "model_list[1].litellm_params.api_base", "URL"),
        ({"info": {"id": "taken"}}, "model_list[1].model_info.id", "model_list[0]"),
    ],
)
def test_what_is_wrong_names_its_place(params: dict[str, Any], key_path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")) as caught:
        build(entry(info={"id": "taken"}), entry(**params))
    assert caught.value.key_path == key_path
    assert "sk-secret" not in str(caught.value)

"""From a name to deployments: what a caller may ask for, and what it gets."""

from __future__ import annotations

import pytest

from tallystick.access.principal import ModelLists, Principal
from tallystick.calls.model_choice import callable_models, choose_model
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest, ModelNotAllowed
from tallystick.providers.catalog import build_target


def deployment(name, deployment_id="", team_id=""):
    return Deployment(
        deployment_id=deployment_id or name,
        model_group=name,
        target=build_target("openai/gpt-4o", api_key="k"),
        price=None,
        team_id=team_id,
    )


SNAPSHOT = Snapshot(
    revision=1,
    model_groups={name: (deployment(name),) for name in ("mini", "nano", "big")},
    team_model_groups={
        "t": {"own": (deployment("own", team_id="t"),), "big": (deployment("big", "big-of-t", team_id="t"),)}
    },
    access_groups={"small": frozenset(("mini", "nano"))},
)


def caller(team_id="", aliases=None, **lists):
    return Principal(key_hash="h", team_id=team_id, models=ModelLists(**lists), model_aliases=aliases or {})


def chosen(principal, asked):
    return [each.deployment_id for each in choose_model(principal, asked, SNAPSHOT)]


def test_a_caller_without_lists_may_call_what_everybody_may():
    assert chosen(caller(), "mini") == ["mini"]
    assert list(callable_models(caller(), SNAPSHOT)) == ["mini", "nano", "big"]


def test_a_team_s_own_models_are_its_own():
    assert chosen(caller("t", team=("mini",)), "own") == ["own"]
    assert chosen(caller("t"), "big") == ["big-of-t"]
    assert chosen(caller(), "big") == ["big"]
    for other in (caller(), caller("other")):
        with pytest.raises(BadRequest):
            chosen(other, "own")
        assert "own" not in callable_models(other, SNAPSHOT)
    assert list(callable_models(caller("t", team=("mini",)), SNAPSHOT)) == ["mini", "big", "own"]


def test_a_member_is_bounded_by_its_own_list_too():
    member = caller("t", member=("mini",), team=("mini", "nano"))
    assert chosen(member, "mini") == ["mini"]
    with pytest.raises(ModelNotAllowed):
        chosen(member, "nano")


def test_aliases_are_resolved_first_and_listed_where_they_lead_somewhere():
    principal = caller(aliases={"mini": "big", "quick": "nano", "lost": "nowhere"})
    assert chosen(principal, "mini") == ["big"]
    assert chosen(principal, "quick") == ["nano"]
    assert list(callable_models(principal, SNAPSHOT)) == ["mini", "nano", "big", "quick"]
    with pytest.raises(BadRequest, match="there is no model 'lost'"):
        chosen(principal, "lost")


@pytest.mark.parametrize(
    ("level", "error_type"),
    [
        ("key", "key_model_access_denied"),
        ("user", "user_model_access_denied"),
        ("team", "team_model_access_denied"),
        ("organization", "org_model_access_denied"),
    ],
)
def test_refusals_name_the_level(level, error_type):
    principal = caller(**{level: ("small",)})
    assert chosen(principal, "mini") == ["mini"]
    assert list(callable_models(principal, SNAPSHOT)) == ["mini", "nano"]
    for model in ("big", "no such model"):
        with pytest.raises(ModelNotAllowed) as caught:
            chosen(principal, model)
        error = caught.value
        assert (error.http_status, error.error_type, error.param) == (403, error_type, "model")
        assert str(error).startswith(
            f"The requested model '{model}' is not available for this API key, or the model name is invalid."
        )


def test_an_unknown_model_is_a_bad_request():
    with pytest.raises(BadRequest) as caught:
        chosen(caller(), "x" * 1_000)
    assert caught.value.param == "model"
    assert len(str(caught.value)) < 500

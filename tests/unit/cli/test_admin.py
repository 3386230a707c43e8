"""From options to bodies, and from answers to what people read."""

from __future__ import annotations

import pytest

from tallystick.cli.admin.api import content_of, target
from tallystick.cli.admin.nouns import KEYS, MODELS, ORGANIZATIONS
from tallystick.cli.admin.requests import body_of
from tallystick.cli.admin.shown import print_thing, print_things
from tallystick.errors import BadRequest, RequestError, StoreUnavailable, TallystickError


def test_bodies_hold_what_was_given_and_nothing_else():
    values = {"field_alias": "a", "field_models": ["x, y", "z"], "field_max_budget": 2.5, "field_user": None}
    body = body_of(KEYS.fields, values, ["blocked=true", 'metadata.team="blue"', "max_budget=null"])
    assert body == {
        "key_alias": "a", "models": ["x", "y", "z"], "max_budget": None, "blocked": True, "metadata": {"team": "blue"},
    }  # fmt: skip


def test_dots_lead_into_objects():
    values = {"field_name": "fast", "field_model": "openai/gpt-4o", "field_id": "m1"}
    assert body_of(MODELS.fields, values, ["litellm_params.rpm=5"]) == {
        "model_name": "fast",
        "litellm_params": {"model": "openai/gpt-4o", "rpm": 5},
        "model_info": {"id": "m1"},
    }
    with pytest.raises(BadRequest, match="no object"):
        body_of(MODELS.fields, values, ["model_name.x=1"])


def test_targets_leave_out_what_is_not_asked():
    assert (
        target("/key/list", {"page": 1, "user_id": None, "key_alias": "a b&c"}) == "/key/list?page=1&key_alias=a+b%26c"
    )
    assert target("/key/list", None) == "/key/list"


def test_answers_become_json_or_errors():
    assert content_of(200, b'{"a": 1}') == {"a": 1}
    with pytest.raises(RequestError, match="no such"):
        content_of(404, b'{"error": {"message": "no such key"}}')
    with pytest.raises(StoreUnavailable, match="away"):
        content_of(503, b'{"error": {"message": "away"}}')
    for status, body in ((200, b"<html>"), (502, b"<html>"), (401, b'{"error": "no"}'), (302, b"{}")):
        with pytest.raises(TallystickError, match="not that of an admin API"):
            content_of(status, body)


def test_tables_show_money_evenly_and_moments_shortly(capsys):
    first = {"organization_id": "a", "spend": 0.5, "litellm_budget_table": {"max_budget": 10.25}}
    second = {"organization_id": "b", "spend": 0.1234567, "created_at": "2026-11-24T07:42:44.576548+00:00"}
    print_things(ORGANIZATIONS, [first, second])
    shown = capsys.readouterr().out
    assert "$0.5000000" in shown
    assert "$0.1234567" in shown
    assert "2026-11-24 07:42:44" in shown
    assert "576548" not in shown


def test_a_thing_is_shown_without_what_it_has_not(capsys):
    print_thing({"id": "a", "models": ["x", "y"], "team": None, "tags": [], "table": {"rpm": 5, "tpm": None}})
    lines = capsys.readouterr().out.split("\n")[2:5]
    assert [line.split(maxsplit=1) for line in lines] == [["id", "a"], ["models", "x, y"], ["table", '{"rpm":5}']]

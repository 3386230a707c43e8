"""Which models a caller's lists allow."""

from __future__ import annotations

import pytest

from tallystick.access.model_access import allows, denial_of, meant_model
from tallystick.access.principal import ModelLists, Principal

GROUPS = {"fast": frozenset(("mini", "nano")), "group-id-1": frozenset(("mini", "nano"))}


def principal(aliases=None, team_aliases=None, **lists):
    return Principal(
        key_hash="h",
        models=ModelLists(**lists),
        model_aliases={**(team_aliases or {}), **(aliases or {})},
        team_aliases=team_aliases or {},
    )


@pytest.mark.parametrize(
    ("entries", "model", "allowed"),
    [
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("*",), "anything", True),
        (("all-proxy-models",), "anything", True),
        (("all-team-models",), "anything", True),
        (("no-default-models",), "anything", False),
        (("no-default-models", "a"), "a", True),
        (("openai/*",), "openai/gpt-4o", True),
        (("openai/*",), "openai", False),
        (("openai/*",), "azure/gpt-4o", False),
        (("gpt-*",), "gpt-4o", True),
        (("a", "openai/*", "b"), "b", True),
        (("fast",), "nano", True),
        (("group-id-1",), "nano", True),
        (("fast",), "gpt-4o", False),
        (("slow",), "nano", False),
    ],
)
def test_what_a_list_allows(entries, model, allowed):
    assert allows(entries, model, GROUPS) is allowed


def test_no_list_bounds_nothing():
    assert denial_of(principal(), "anything", {}) is None


@pytest.mark.parametrize("level", ["key", "user", "team", "organization"])
def test_each_list_is_a_bound_and_the_first_that_refuses_is_told(level):
    caller = principal(**{level: ("m",)})
    assert denial_of(caller, "m", {}) is None
    assert denial_of(caller, "n", {}) == level


def test_all_lists_must_allow():
    caller = principal(key=("all-team-models",), team=("m", "fast"), organization=("*",))
    assert denial_of(caller, "m", GROUPS) is None
    assert denial_of(caller, "mini", GROUPS) is None
    assert denial_of(caller, "n", GROUPS) == "team"


def test_a_team_s_own_model_needs_no_entry_in_its_lists_but_in_the_key_s():
    assert denial_of(principal(team=("m",), organization=("m",)), "own", {}, is_teams_own=True) is None
    assert denial_of(principal(key=("m",)), "own", {}, is_teams_own=True) == "key"


def test_a_key_s_list_may_name_an_alias_or_what_it_means():
    for listed in ("quick", "mini"):
        caller = principal(aliases={"quick": "mini"}, key=(listed,))
        assert meant_model(caller, "quick") == "mini"
        assert denial_of(caller, "mini", {}, asked="quick") is None


def test_who_makes_a_key_reaches_no_further_with_its_aliases():
    """Else a member could call everything by naming it as something that the team may call."""
    for level in ("user", "team", "organization"):
        caller = principal(aliases={"mini": "expensive"}, **{level: ("mini",)})
        assert denial_of(caller, "expensive", {}, asked="mini") == level
    hidden = principal(aliases={"mini": "expensive"}, team_aliases={"mini": "nano"}, team=("mini",))
    assert denial_of(hidden, "expensive", {}, asked="mini") == "team"


def test_a_team_s_list_may_name_the_team_s_alias():
    caller = principal(team_aliases={"quick": "mini"}, team=("quick",))
    assert denial_of(caller, "mini", {}, asked="quick") is None
    assert denial_of(caller, "mini", {}) == "team"

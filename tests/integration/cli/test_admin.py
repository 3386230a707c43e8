"""`tallystick keys|teams|orgs|models` on the database itself: the rules, the audit and the sealing of the admin API."""

from __future__ import annotations

import pytest

from tallystick.access.keys import hash_key
from tallystick.config.secret_keys import text_of_key
from tallystick.control.key_ring import new_secret_key
from tallystick.control.objects import Kind, ObjectRef
from tallystick.control.store import AuditFilter
from tallystick.runtime.clock import SystemClock

pytestmark = pytest.mark.usefixtures("_secret_keys")


@pytest.fixture
def _secret_keys(environment):
    environment["TALLYSTICK_SECRET_KEYS"] = text_of_key(new_secret_key(SystemClock().now()))


def good(cli, *words):
    outcome = cli(*words)
    assert outcome.code == 0, outcome.stderr
    return outcome


def made(cli, *words):
    return good(cli, *words, "--json").json()


def test_a_key_lives_and_goes(cli):
    key = made(
        cli, "keys", "create", "--alias", "search", "--models", "fast,local", "--models", "demo", "--tags", "a, b",
        "--duration", "30d", "--max-budget", "5.5", "--metadata", '{"cost centre": 7}', "--set", "blocked=true",
    )  # fmt: skip
    stored = cli.with_store(lambda store: store.control.find(ObjectRef(Kind.KEY, hash_key(key["key"]))))
    assert (stored.name, stored.blocked) == ("search", True)
    assert stored.spec["models"] == ["fast", "local", "demo"]
    assert stored.spec["tags"] == ["a", "b"]
    assert stored.spec["limits"]["max_budget_nano_usd"] == 5_500_000_000
    assert round((stored.expires_at - stored.created_at).total_seconds() / 86_400) == 30

    for name in ("search", key["key"], key["token"]):
        assert made(cli, "keys", "show", name)["info"]["key_alias"] == "search"
    good(cli, "keys", "update", "search", "--max-budget", "6", "--set", "duration=null", "--set", "blocked=false")
    assert made(cli, "keys", "show", "search")["info"]["max_budget"] == 6.0
    listed = made(cli, "keys", "list", "--alias", "search")
    assert (listed["total_count"], listed["keys"][0]["token"]) == (1, key["token"])
    good(cli, "keys", "delete", "search")
    gone = cli("keys", "show", "search")
    assert (gone.code, "not found" in gone.stderr) == (1, True)


def test_a_key_is_shown_once(cli):
    outcome = good(cli, "keys", "create", "--alias", "search")
    key = outcome.stdout.strip()
    assert key.startswith("sk-")
    assert "only this once" in outcome.stderr
    assert key not in outcome.stderr
    later = good(cli, "keys", "list").stdout + good(cli, "keys", "show", "search").stdout
    assert key not in later
    assert key not in good(cli, "keys", "delete", key).stdout


def test_organizations_and_teams(cli):
    good(cli, "orgs", "create", "--id", "acme", "--alias", "Acme", "--max-budget", "10", "--models", "fast")
    refused = cli("teams", "create", "--id", "t", "--organization", "acme", "--max-budget", "11")
    assert (refused.code, "acme" in refused.stderr) == (1, True)
    good(cli, "teams", "create", "--id", "t", "--organization", "acme", "--max-budget", "9")
    good(cli, "teams", "update", "t", "--alias", "Tee")
    assert made(cli, "teams", "show", "t")["team_info"]["team_alias"] == "Tee"
    assert "Tee" in good(cli, "teams", "list").stdout
    assert "Teams 1 to 1 of 1." in good(cli, "teams", "list").stdout
    good(cli, "orgs", "update", "acme", "--set", "max_budget=null", "--set", 'metadata.owner="ada"')
    shown = made(cli, "orgs", "show", "acme")
    assert (shown["litellm_budget_table"]["max_budget"], shown["metadata"]) == (None, {"owner": "ada"})
    assert [each["organization_id"] for each in made(cli, "orgs", "list")] == ["acme"]
    good(cli, "orgs", "delete", "acme")
    assert made(cli, "teams", "list")["teams"] == []


def test_models_are_sealed(cli):
    good(
        cli, "models", "create", "--name", "fast", "--model", "openai/gpt-4o-mini", "--provider-key", "sk-hush-hush",
        "--id", "m1", "--set", "litellm_params.rpm=5",
    )  # fmt: skip
    stored = cli.with_store(lambda store: store.control.find(ObjectRef(Kind.MODEL, "m1")))
    assert stored.spec["litellm_params"]["api_key"].startswith("sealed:v1:")
    assert stored.spec["litellm_params"]["rpm"] == 5
    shown = good(cli, "models", "show", "m1", "--json").stdout + good(cli, "models", "list", "--json").stdout
    assert "hush-hush" not in shown
    good(cli, "models", "update", "m1", "--set", "litellm_params.rpm=null")
    assert "rpm" not in made(cli, "models", "show", "m1")["data"][0]["litellm_params"]
    good(cli, "models", "delete", "m1")
    assert cli("models", "show", "m1").code == 1


def test_the_audit_says_that_it_was_the_command_line(cli):
    good(cli, "orgs", "create", "--id", "acme", "--alias", "Acme")
    page = cli.with_store(lambda store: store.control.list_audit(AuditFilter(object_id="acme"), offset=0, limit=10))
    (row,) = page.rows
    assert (row.action, row.author.changed_by) == ("created", "command line")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("keys", "create", "--metadata", "[1]"), "--metadata"),
        (("keys", "create", "--metadata", "{"), "--metadata"),
        (("keys", "create", "--metadata", '{"a": ' + "[" * 100_000), "--metadata"),
        (("keys", "create", "--set", "blocked"), "FIELD=JSON"),
        (("keys", "create", "--set", "blocked=yes"), "JSON"),
        (("keys", "create", "--alias", "a", "--set", "key_alias.x=1"), "key_alias"),
        (("keys", "update", "search"), "Say what to change"),
        (("keys", "list", "--url", "http://x", "--database-url", "sqlite:///y"), "--url"),
        (("keys", "list", "--url", "ftp://x", "--api-key", "sk-x"), "--url"),
        (("keys", "list", "--url", "http://x:99999", "--api-key", "sk-x"), "port"),
        (("keys", "list", "--url", "http://127.0.0.1:9"), "TALLYSTICK_API_KEY"),
        (("keys", "list", "--url", "http://127.0.0.1:9", "--api-key", "sk-\n"), "key"),
    ],
)
def test_wrong_use_is_2_and_makes_nothing(sqlite, tmp_path, words, named):
    outcome = sqlite(*words)
    assert outcome.code == 2
    assert named in outcome.stderr
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("keys", "create", "--duration", "soon"), "duration"),
        (("keys", "create", "--alias", "a" * 300), "key_alias"),
        (("orgs", "create"), "organization_alias"),
        (("models", "create", "--name", "x"), "litellm_params"),
        (("keys", "delete", "none"), "none"),
        (("orgs", "delete", "none"), "does not exist"),
        (("teams", "update", "none", "--alias", "x"), "none"),
    ],
)
def test_what_the_api_refuses_is_1_with_its_message(cli, words, named):
    outcome = cli(*words)
    assert outcome.code == 1
    assert named in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


def test_looking_makes_nothing(sqlite, environment, tmp_path):
    del environment["TALLYSTICK_SECRET_KEYS"]
    sqlite.environment.pop("TALLYSTICK_SECRET_KEYS", None)
    outcome = sqlite("keys", "list")
    assert (outcome.code, "There is no database" in outcome.stderr) == (1, True)
    assert not (tmp_path / "home" / "secret_keys").exists()


def test_a_database_that_is_away_is_named(away):
    outcome = away("keys", "list")
    assert outcome.code == 1
    assert "hush-hush" not in outcome.stderr
    assert "database:" in outcome.stderr

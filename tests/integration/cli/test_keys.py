"""`tallystick keys`: the same keys that a gateway reads."""

from __future__ import annotations

import json

import pytest

from ledger_kit import make_event
from tallystick.access.keys import hash_key
from tallystick.ledger.batch import batch_of


def create(cli, *words: str) -> dict:
    outcome = cli("keys", "create", "--json", *words)
    assert outcome.code == 0, outcome.stderr
    return outcome.json()


def listed(cli, *words: str) -> list[dict]:
    return cli("keys", "list", "--json", *words).json()["keys"]


def test_a_key_is_stored_as_asked(cli) -> None:
    made = create(
        cli, "--alias", "search", "--user", "ada", "--team", "research", "--organization", "lab",
        "--models", "fast,local", "--models", "demo", "--tags", "a, b", "--duration", "30d",
        "--metadata", '{"cost centre": 7}',
    )  # fmt: skip

    stored = cli.with_store(lambda store: store.keys.find(hash_key(made["key"])))
    assert stored.key_alias == "search"
    assert (stored.user_id, stored.team_id, stored.organization_id) == ("ada", "research", "lab")
    assert stored.models == ("fast", "local", "demo")
    assert stored.tags == ("a", "b")
    assert stored.metadata == {"cost centre": 7}
    assert (stored.expires_at - stored.created_at).days == 30
    assert made["key_hash"] == stored.key_hash


def test_the_key_itself_is_shown_once(cli) -> None:
    outcome = cli("keys", "create", "--alias", "search")
    key = outcome.stdout.strip()

    assert key.startswith("sk-")
    assert "only this once" in outcome.stderr
    assert key not in outcome.stderr
    assert key not in cli("keys", "list").stdout + cli("keys", "list", "--json").stdout


def test_an_alias_belongs_to_one_key(cli) -> None:
    create(cli, "--alias", "search")

    outcome = cli("keys", "create", "--alias", "search")

    assert outcome.code == 1
    assert "search" in outcome.stderr
    assert len(listed(cli)) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--duration", "soon"], "duration"),
        (["--metadata", "[1]"], "--metadata"),
        (["--metadata", "{"], "--metadata"),
        (["--metadata", '{"a": ' + "[" * 100_000], "--metadata"),
        (["--alias", "a" * 300], "--alias"),
        (["--user", "a\0b"], "--user"),
    ],
)
def test_what_can_not_be_is_wrong_use(sqlite, tmp_path, words: list[str], named: str) -> None:
    outcome = sqlite("keys", "create", *words)

    assert outcome.code == 2
    assert named in outcome.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_the_list_shows_spend_and_pages(cli) -> None:
    made = [create(cli, "--alias", f"key {number}") for number in range(3)]
    cli.seed(batch_of("p", 1, [make_event(key_hash=made[0]["key_hash"], cost_nano_usd=1_500)]))

    first, second = (cli("keys", "list", "--json", "--limit", "2", "--page", page).json() for page in "12")
    assert first["total_count"] == 3
    assert [key["key_alias"] for key in first["keys"] + second["keys"]] == ["key 2", "key 1", "key 0"]
    assert (second["keys"][0]["spend_nano_usd"], second["keys"][0]["spend_usd"]) == (1_500, "0.000001500")

    shown = cli("keys", "list", "--limit", "2", "--page", "2").stdout
    assert "$0.0000015" in shown
    assert "Keys 3 to 3 of 3." in shown
    assert "3 keys." in cli("keys", "list", "--page", "9").stdout


def test_others_names_do_not_reach_the_terminal_as_they_are(cli) -> None:
    create(cli, "--alias", "\x1b[31m[red]alarm[/red]")

    shown = cli("keys", "list").stdout

    assert "\x1b" not in shown
    assert "[red]alarm[/red]" in shown


def test_delete_takes_keys_hashes_and_aliases(cli) -> None:
    made = [create(cli, "--alias", alias) for alias in "abcd"]

    outcome = cli("keys", "delete", made[0]["key"], made[1]["key_hash"], "c", "c")

    assert outcome.code == 0
    assert outcome.stdout.splitlines() == ["Deleted a", "Deleted b", "Deleted c"]
    assert [key["key_alias"] for key in listed(cli)] == ["d"]


def test_delete_is_all_or_nothing(cli) -> None:
    create(cli, "--alias", "a")
    stranger = "sk-somebody-elses-key-entirely"

    outcome = cli("keys", "delete", "a", "nobody", stranger)

    assert outcome.code == 1
    assert "'nobody', 'sk-" in outcome.stderr
    assert stranger not in outcome.stderr
    assert [key["key_alias"] for key in listed(cli)] == ["a"]
    assert cli("keys", "delete", "a", "--json").json()["deleted"][0]["key_alias"] == "a"


def test_a_running_gateway_hears_of_it(cli) -> None:
    made = create(cli)
    cli("keys", "delete", made["key"])

    changes = cli.with_store(lambda store: store.keys.changes_after(0, limit=10))

    assert [change.key_hash for change in changes] == [made["key_hash"]] * 2


def test_facts_are_json_and_nothing_else(sqlite) -> None:
    outcome = sqlite.run("keys", "create", "--json")

    assert outcome.code == 0
    assert json.loads(outcome.stdout)["key"].startswith("sk-")
    assert outcome.stderr == ""

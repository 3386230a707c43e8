"""`tallystick budgets` on the database itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from budget_kit import lease
from conformance.kit import make_event
from tallystick.access.scopes import LIFETIME_END, LIFETIME_START, Scope, Window
from tallystick.config.secret_keys import text_of_key
from tallystick.control.key_ring import new_secret_key
from tallystick.ledger.batch import batch_of

USD = 10**9


@pytest.fixture(autouse=True)
def _secret_keys(environment):
    environment["TALLYSTICK_SECRET_KEYS"] = text_of_key(new_secret_key(datetime.now(UTC)))


@pytest.fixture
def ledger(cli):
    """A key and a team that have spent from budgets that never reset."""
    key = cli("keys", "create", "--alias", "ci", "--max-budget", "10", "--json").json()["token"]
    now = datetime.now(UTC)
    spent = [("ci", 9 * USD, {"key_hash": key}), ("t", USD, {"key_hash": "x", "team_id": "t"})]
    events = [make_event(started_at=now, ended_at=now, cost_nano_usd=cost, **of) for _, cost, of in spent]
    cli.seed(batch_of("producer", 1, events))
    for scope, limit in ((Scope("key", key), 10 * USD), (Scope("team", "t"), 4 * USD)):
        window = Window(scope, LIFETIME_START, LIFETIME_END)
        cli.with_store(lambda store, w=window, n=limit: lease(store.budgets, w, limit=n, leased=USD // 4))
    return cli


def test_budgets_are_listed_the_fullest_first(ledger):
    outcome = ledger("budgets")
    assert outcome.code == 0, outcome.stderr
    lines = [line.split() for line in outcome.stdout.splitlines()]
    key, team = lines[2:4]
    assert key == ["key", "ci", "$10.000000", "$9.000000", "$0.250000", "$1.000000", "90%", "never"]
    assert team == ["team", "t", "$4.000000", "$1.000000", "$0.250000", "$3.000000", "25%", "never"]
    (window,) = ledger("budgets", "--over", "80%", "--json").json()["windows"]
    assert (window["scope"], window["name"], window["share"]) == ("key", "ci", 0.9)
    assert "0 windows" in ledger("budgets", "--type", "tag").stdout
    wrong = ledger("budgets", "--type", "nobody")
    assert (wrong.code, "must be one of" in wrong.stderr) == (1, True)


def test_a_database_that_is_not_there_is_not_made(sqlite, tmp_path):
    outcome = sqlite("budgets")
    assert (outcome.code, "There is no database" in outcome.stderr) == (1, True)
    assert not (tmp_path / "ledger.db").exists()

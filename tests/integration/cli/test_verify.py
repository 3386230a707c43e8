"""`tallystick verify` finds what does not add up, and mends what can be mended."""

from __future__ import annotations

import pytest

from conformance.kit import LASTING, MENDABLE, make_batch, with_dead_letter


@pytest.fixture
def spent(cli):
    cli.seed(make_batch("p", 1, 3), with_dead_letter(make_batch("p", 4, 2), 5), make_batch("q", 1, 3))
    return cli


def test_a_good_ledger(spent) -> None:
    outcome = spent("verify", "--json")

    assert outcome.code == 0
    facts = outcome.json()
    producers = facts.pop("producers")
    assert facts == {
        "ok": True,
        "events": 7,
        "dead_letters": 1,
        "differences": [],
        "difference_count": 0,
        "cost_nano_usd": 7_000,
        "dead_letter_cost_nano_usd": 1_000,
    }
    assert sorted(producers, key=lambda producer: producer["producer_id"]) == [
        {"producer_id": "p", "watermark": 5, "events": 4, "dead_letters": 1},
        {"producer_id": "q", "watermark": 3, "events": 3, "dead_letters": 0},
    ]


def test_an_empty_ledger(cli) -> None:
    outcome = cli("verify")

    assert outcome.code == 0
    assert "0 events ($0.000000)." in outcome.stdout
    assert "adds up" in outcome.stdout


def test_people_see_producers_and_money(spent) -> None:
    outcome = spent("verify")

    assert outcome.code == 0
    assert "7 events ($0.000007), 1 dead letter ($0.000001)." in outcome.stdout
    assert "watermark" in outcome.stdout
    assert outcome.stderr == ""


@pytest.mark.parametrize("name", MENDABLE)
def test_a_wrong_sum_is_found_and_mended(spent, name: str) -> None:
    spent.tamper(name)
    found = spent("verify", "--json")
    assert (found.code, found.json()["ok"]) == (1, False)
    assert found.json()["difference_count"] >= 1
    assert set(found.json()["differences"][0]) == {"table", "row", "column", "found", "expected"}

    mended = spent("verify", "--repair", "--json")
    assert (mended.code, mended.json()["ok"]) == (0, True)
    assert mended.json()["rows_repaired"] >= 1

    again = spent("verify", "--repair")
    assert again.code == 0
    assert "Repair changed 0 rows." in again.stdout


@pytest.mark.parametrize("name", LASTING)
def test_what_can_not_be_mended_stays_a_problem(spent, name: str) -> None:
    spent.tamper(name)

    outcome = spent("verify", "--repair")

    assert outcome.code == 1
    assert "does not add up" in outcome.stdout
    assert "Restore a backup" in outcome.stdout


def test_a_wrong_sum_is_shown_with_its_place(spent) -> None:
    spent.tamper("change a total")

    outcome = spent("verify")

    assert outcome.code == 1
    (line,) = [line for line in outcome.stdout.splitlines() if "cost_nano_usd" in line]
    assert line.split()[0] == "totals"
    assert line.split()[-3:] == ["cost_nano_usd", "$0.000007001", "$0.000007"]
    assert "verify --repair" in outcome.stdout


def test_no_database_is_made(sqlite, tmp_path) -> None:
    outcome = sqlite("verify")

    assert outcome.code == 1
    assert "There is no database" in outcome.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_an_empty_postgres_is_left_as_it_is(empty_postgres) -> None:
    outcome = empty_postgres("verify", "--json")

    assert outcome.code == 1
    assert "tallystick migrate" in outcome.stderr
    assert empty_postgres("migrate", "--json").json()["applied"]


def test_a_file_that_is_no_database(sqlite, tmp_path) -> None:
    (tmp_path / "ledger.db").write_text("this is a letter to my aunt" * 100)

    outcome = sqlite("verify")

    assert outcome.code == 1
    assert len(outcome.stderr.splitlines()) == 1

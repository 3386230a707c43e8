"""`tallystick doctor` on whole installations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from conformance.kit import make_batch, with_dead_letter
from ledger_kit import make_event
from tallystick.ledger.batch import batch_of


def checks(outcome) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in outcome.json()["checks"]}


def test_a_fresh_installation_is_well(sqlite, tmp_path) -> None:
    outcome = sqlite("doctor", "--json")

    assert outcome.code == 0, outcome.stdout
    assert {check["state"] for check in outcome.json()["checks"]} <= {"good", "warn"}
    assert not (tmp_path / "ledger.db").exists()
    assert not (tmp_path / "home").exists()


def test_a_ledger_at_work_is_well(cli) -> None:
    cli.seed(batch_of("p", 1, [make_event(started_at=datetime.now(UTC))]))

    outcome = cli("doctor", "--json")

    found = checks(outcome)
    assert outcome.code == 0, outcome.stdout
    assert found["database"]["state"] == found["database: schema"]["state"] == "good"
    assert found["database: newest event"]["state"] == "good"
    assert found["database: dead letters"]["found"] == "none among 1 events"


def test_dead_letters_are_told(cli) -> None:
    cli.seed(with_dead_letter(make_batch("p", 1, 3), 2))

    check = checks(cli("doctor", "--json"))["database: dead letters"]

    assert check["state"] == "warn"
    assert "1 events, $0.000001" in check["found"]


def test_a_clock_that_was_set_back_is_told(cli) -> None:
    cli.seed(batch_of("p", 1, [make_event(started_at=datetime.now(UTC) + timedelta(hours=3))]))

    assert checks(cli("doctor", "--json"))["database: newest event"]["state"] == "warn"


def test_a_schema_that_is_not_there(empty_postgres) -> None:
    found = checks(empty_postgres("doctor", "--json"))

    assert found["database"]["state"] == "good"
    assert found["database: schema"]["state"] == "warn"
    assert "tallystick migrate" in found["database: schema"]["mend"]
    assert (
        checks(empty_postgres("doctor", "--json", DISABLE_SCHEMA_UPDATE="true"))["database: schema"]["state"] == "bad"
    )


def test_a_damaged_database(sqlite, tmp_path) -> None:
    (tmp_path / "ledger.db").write_text("this is a letter to my aunt" * 100)

    outcome = sqlite("doctor", "--json")

    assert outcome.code == 1
    assert checks(outcome)["database"]["state"] == "bad"


def test_a_wrong_configuration_does_not_hide_the_rest(sqlite, tmp_path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("general_settings:\n  port: many\nmodel_list: 7\n")

    outcome = sqlite("doctor", "--json", "--config", str(file))

    found = checks(outcome)
    assert outcome.code == 1
    assert found["config"]["state"] == "bad"
    assert found["clock"]["state"] == "good"
    assert sqlite("doctor", "--config", str(tmp_path / "none.yaml")).code == 1


def test_people_see_what_to_do(away) -> None:
    outcome = away("doctor")

    assert outcome.code == 1
    assert "bad: database: Start it, or correct database_url." in outcome.stdout
    assert outcome.stdout.splitlines()[-1].startswith("1 bad, ")

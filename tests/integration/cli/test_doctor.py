"""`tallystick doctor` on whole installations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from conformance.kit import make_batch, with_dead_letter
from ledger_kit import make_event
from server_kit import SECRET_KEYS
from tallystick.cli.checks.database import _check_time
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

    outcome = cli("doctor", "--json", TALLYSTICK_SECRET_KEYS=SECRET_KEYS)

    found = checks(outcome)
    assert outcome.code == 0, outcome.stdout
    assert found["database"]["state"] == found["database: schema"]["state"] == "good"
    assert found["database: newest event"]["state"] == "good"
    assert found["database: dead letters"]["found"] == "none"
    assert found["database: time"]["state"] == "good"
    assert found["database: schema"]["found"].endswith("is up to date")
    assert found["database: instances"]["found"] == "none serves now"
    if "postgresql" in cli.database_url:
        assert "PostgreSQL 1" in found["database"]["found"]
        assert "made up to" in found["database: partitions"]["found"]
    else:
        assert "SQLite 3." in found["database"]["found"]


def test_dead_letters_are_told(cli) -> None:
    cli.seed(with_dead_letter(make_batch("p", 1, 3), 2))

    check = checks(cli("doctor", "--json"))["database: dead letters"]

    assert check["state"] == "warn"
    assert "1 event, $0.000001" in check["found"]


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
    outcome = away("doctor", TALLYSTICK_SECRET_KEYS=SECRET_KEYS)

    assert outcome.code == 1
    assert "bad: database: Start it, or correct database_url." in outcome.stdout
    assert outcome.stdout.splitlines()[-1].startswith("1 bad, ")


def test_events_in_the_default_partition(postgres_cli) -> None:
    postgres_cli.seed(make_batch("p", 1, 1))
    postgres_cli.execute("ALTER TABLE spend_events DETACH PARTITION spend_events_20260314")
    postgres_cli.execute("INSERT INTO spend_events SELECT * FROM spend_events_20260314")

    assert checks(postgres_cli("doctor", "--json"))["database: partitions"]["state"] == "warn"


def test_clocks_that_differ_are_told() -> None:
    now = datetime(2026, 11, 3, 12, tzinfo=UTC)
    second = timedelta(seconds=1)

    assert _check_time(now, now, now + 5 * second).state == "good"
    assert _check_time(now - second, now, now).state == "good"
    assert _check_time(now - 3 * second, now, now + second).state == "warn"
    assert _check_time(now + 9 * second, now, now + 5 * second).state == "warn"

"""`tallystick sinks`: how far they have come, sending events again, and making a table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from integration.cli.kit import run_apart
from ledger_kit import append_calls, committer_of, crash, journal_in, make_event
from sink_kit import RecordingSink
from sink_services import AWS
from tallystick.errors import SinkUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.ledger.journal import Journal
from tallystick.ledger.sinks.forwarder import Forwarder
from tallystick.ledger.sinks.meter import SinkMeter
from tallystick.ledger.sinks.sink import SinkPlan
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.testing import MemoryStore

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.fixture
def config(tmp_path):
    """Write a file with a sink into a directory; return its path and the directory."""

    def write(**sink) -> tuple[str, Path]:
        out, file = tmp_path / "out", tmp_path / "c.yaml"
        file.write_text(json.dumps({"sinks": {"copy": {"type": "file", "directory": str(out), **sink}}}))
        return str(file), out

    return write


def ids_in(directory: Path) -> list[str]:
    return [
        json.loads(line)["event_id"] for path in directory.rglob("*.jsonl") for line in path.read_text().splitlines()
    ]


def forwarder(journal: Journal, sink: RecordingSink) -> Forwarder:
    meter = SinkMeter("copy", "file", Metrics())
    return Forwarder(journal=journal, plan=SinkPlan(name="copy", sink=sink), meter=meter, clock=SystemClock())


def test_nothing_is_set_up(sqlite):
    outcome = sqlite("sinks")
    assert (outcome.code, outcome.stdout) == (0, "There are no sinks: the settings name none.\n")
    assert sqlite("sinks", "--json").json() == {"sinks": []}


def test_a_journal_that_is_not_there_yet(sqlite, config):
    file, out = config()
    (shown,) = sqlite("sinks", "--json", "--config", file).json()["sinks"]
    assert (shown["name"], shown["type"], shown["place"]) == ("copy", "file", str(out))
    assert (shown["state"], shown["lag_events"], shown["sent"]) == ("caught up", 0, 0)


def test_lag_and_reason_are_read_from_the_journal_while_it_is_written(sqlite, config, tmp_path):
    file, _ = config()

    async def leave() -> None:
        journal, sink, store = journal_in(tmp_path / "home" / "journal"), RecordingSink(), MemoryStore()
        forwarding = forwarder(journal, sink)
        append_calls(journal, 300)
        await forwarding.drain()
        sink.is_away = True
        append_calls(journal, 420, ended_at=datetime.now(UTC) - timedelta(hours=2))
        with pytest.raises(SinkUnavailable):
            await forwarding.drain()
        await committer_of(journal, store).drain()
        crash(journal)

    run_apart(leave)
    before = sorted((path, path.read_bytes()) for path in (tmp_path / "home").rglob("*") if path.is_file())
    (shown,) = sqlite("sinks", "--json", "--config", file).json()["sinks"]
    assert (shown["state"], shown["lag_events"], shown["sent"]) == ("failing", 420, 300)
    assert shown["error"] == "it is away"
    assert shown["failing_since"] is not None
    assert 7_200 <= shown["lag_seconds"] < 7_300
    checks = {each["name"]: each for each in sqlite("doctor", "--json", "--config", file).json()["checks"]}
    assert checks["sink: copy"]["state"] == "warn"
    assert checks["sink: copy"]["found"] == "300 events sent, 420 wait; it is away"
    told = sqlite("sinks", "--config", file).stdout
    assert "copy: it is away" in told
    assert "420" in told
    after = sorted((path, path.read_bytes()) for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert after == before, "looking changes nothing"


def test_replay_sends_what_is_missing_from_a_time_on(cli, config):
    file, out = config(batch_events_max=7)
    events = [make_event(started_at=NOON + timedelta(hours=number)) for number in range(40)]
    cli.seed(batch_of("p", 1, events))
    words = ("sinks", "replay", "copy", "--since", "2026-11-03T22:00:00", "--config", file)

    done = cli(*words, "--json")
    assert done.code == 0, done.stderr
    assert done.json() == {"sink": "copy", "read": 30, "sent": 30, "present": 0, "unwanted": 0, "refused": 0}
    assert sorted(ids_in(out)) == [event.event_id for event in events[10:]]

    again = cli(*words[:-4], "--since", "2026-11-03", "--until", "2026-11-05", *words[-2:])
    assert again.stdout == "36 events read, 10 sent, 26 were there.\n"
    assert sorted(ids_in(out)) == [event.event_id for event in events], "none is there twice"


def test_replay_sends_only_what_the_sink_wants(cli, config):
    file, out = config(events="failure")
    events = [make_event(started_at=NOON, status=status) for status in ("success", "failure", "interrupted")]
    cli.seed(batch_of("p", 1, events))
    done = cli("sinks", "replay", "copy", "--since", "2026-11-01", "--config", file, "--json").json()
    assert (done["read"], done["sent"], done["unwanted"]) == (3, 2, 1)
    assert sorted(ids_in(out)) == sorted(event.event_id for event in events[1:])


def test_a_table_is_made_once(sqlite, tmp_path, moto):
    file = tmp_path / "c.yaml"
    sink = {"table": "made-by-command", "endpoint_url": moto.url, **AWS}
    file.write_text(json.dumps({"sinks": {"dynamodb": sink}}))
    assert sqlite("sinks", "create-table", "dynamodb", "--config", str(file)).stdout.endswith("was made.\n")
    assert sqlite("sinks", "create-table", "dynamodb", "--config", str(file)).stdout.endswith("is there already.\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("replay", "other", "--since", "2026-11-01"), "There is no sink 'other'; there is copy."),
        (("replay", "copy", "--since", "2026-11-02", "--until", "2026-11-01"), "--until must be later than --since."),
        (("create-table", "copy"), "'copy' has no table that this command makes"),
    ],
)
def test_wrong_use_is_told(sqlite, config, words, told):
    assert sqlite("migrate").code == 0
    outcome = sqlite("sinks", *words, "--config", config()[0])
    assert outcome.code == 2
    assert told in outcome.stderr


def test_options_before_the_part_are_refused(sqlite, config):
    outcome = sqlite("sinks", "--config", config()[0], "replay", "copy", "--since", "2026-11-01")
    assert outcome.code == 2
    assert "options stand behind replay" in outcome.stderr


def test_a_sink_that_is_away_ends_the_replay(sqlite, tmp_path):
    file = tmp_path / "c.yaml"
    quick = {"retry_seconds_min": 0.01, "retry_seconds_max": 0.01}
    file.write_text(json.dumps({"sinks": {"webhook": {"url": "http://127.0.0.1:9/x", **quick}}}))
    assert sqlite("migrate").code == 0
    sqlite.seed(batch_of("p", 1, [make_event(started_at=NOON)]))
    outcome = sqlite("sinks", "replay", "webhook", "--since", "2026-11-01", "--config", str(file))
    assert outcome.code == 1
    assert "could not be reached" in outcome.stderr

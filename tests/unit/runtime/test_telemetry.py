"""Metrics and log lines: what is documented is there, and no secret is in it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from prometheus_client import Counter, Gauge, Histogram

from tallystick.runtime.masking import TEXT_LENGTH_MAX, mask_secrets, mask_text
from tallystick.runtime.telemetry import CounterFamily, Metrics, configure_logging

METRICS_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"^\| `(tallystick_\w+)` \| (\w+)[^|]* \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def documented() -> set[tuple[str, str, tuple[str, ...]]]:
    rows = ROW.findall(METRICS_PAGE.read_text())
    return {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _, _ in rows}


def declared() -> set[tuple[str, str, tuple[str, ...]]]:
    found = set()
    for attribute, value in vars(Metrics()).items():
        if isinstance(value, CounterFamily):
            found.add((f"tallystick_{attribute}_total", "counter", value._label_names))
        elif isinstance(value, Counter):
            found.add((f"tallystick_{attribute}_total", "counter", ()))
        elif isinstance(value, Gauge | Histogram):
            found.add((f"tallystick_{attribute}", type(value).__name__.lower(), value._labelnames))
    return found


def test_the_page_lists_exactly_the_metrics_that_exist():
    assert documented() == declared()


def test_attributes_are_named_as_their_metrics():
    registered = {metric.name for metric in Metrics().registry.collect()}
    assert registered == {name.removesuffix("_total") for name, _, _ in declared()}


def test_the_page_has_no_creation_times():
    assert b"_created" not in Metrics().render()


def test_two_objects_count_apart():
    first, second = Metrics(), Metrics()
    first.dead_letters.inc(3)
    assert b"tallystick_dead_letters_total 3.0" in first.render()
    assert b"tallystick_dead_letters_total 0.0" in second.render()


def test_labels_by_position_and_by_name_are_one_child():
    metrics = Metrics()
    metrics.calls.labels("chat/completions", "200").inc()
    metrics.calls.labels(status="200", endpoint="chat/completions").inc()
    assert b'tallystick_calls_total{endpoint="chat/completions",status="200"} 2.0' in metrics.render()


def test_label_values_beyond_the_limit_are_counted_together():
    metrics = Metrics()
    for number in range(2_100):
        metrics.upstream_attempts.labels(f"p{number}", "success").inc()
    page = metrics.render().decode()
    assert 'tallystick_upstream_attempts_total{outcome="other",provider="other"} 100.0' in page
    assert len(metrics.upstream_attempts._children) == 2_000


WORKER = """
import os, sys
from tallystick.runtime.telemetry import Metrics
metrics = Metrics(multiprocess_directory=os.environ["PROMETHEUS_MULTIPROC_DIR"])
metrics.calls.labels("chat/completions", "200").inc(2)
metrics.open_calls.set(5)
metrics.commit_lag_seconds.set(float(sys.argv[1]))
metrics.commit_seconds.observe(0.001)
print(os.getpid())
if sys.argv[2:]:
    metrics.forget_process(int(sys.argv[2]))
    sys.stdout.write(metrics.render().decode())
"""


def test_workers_are_counted_together(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", WORKER, *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    ended = run("99").split()[0]
    run("7")
    page = run("3", ended)
    assert 'tallystick_calls_total{endpoint="chat/completions",status="200"} 6.0' in page
    assert "tallystick_open_calls 10.0" in page
    assert "tallystick_commit_lag_seconds 7.0" in page
    assert "tallystick_commit_seconds_count 3.0" in page


@pytest.mark.parametrize(
    "text",
    [
        "key sk-abcdefgh12345678 refused",
        "Authorization: Bearer abcdefgh12345678",
        "sk-ant-api03-abcdefgh12345678",
        "gsk_abcdefgh12345678",
        "postgresql://tally:abcdefgh12345678@db/ledger",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiabcdefgh12345678",
    ],
)
def test_credentials_are_masked_anywhere(text):
    assert "12345678" not in mask_text(text)
    assert "12345678" not in json.dumps(mask_secrets({"deep": [{"er": (text, text.encode(), ValueError(text))}]}))


def test_fields_that_hold_credentials_are_masked_whatever_they_hold():
    assert mask_secrets({"Authorization": "secret", "api_key": "x", "events": 3}) == {
        "Authorization": "***",
        "api_key": "***",
        "events": 3,
    }


@pytest.mark.parametrize("text", ["sk-...abcd", "task-force-delta-nine", "a risk-adjusted-return", "commit 12"])
def test_harmless_text_stays(text):
    assert mask_text(text) == text


def test_long_text_is_cut():
    assert len(mask_text("x" * 10_000_000)) < TEXT_LENGTH_MAX + 100


@pytest.fixture
def stderr(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_log_lines_are_json_without_secrets(stderr):
    configure_logging("json", "info")
    log = structlog.get_logger()
    log.info("spend_committed", events=128, note="sk-abcdefgh12345678")
    log.debug("too_fine")
    try:
        int("Bearer abcdefgh12345678")
    except ValueError:
        log.exception("failed")
    logging.getLogger("library").warning("it said %s", "sk-abcdefgh12345678")
    written = stderr()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["event"] for line in lines] == ["spend_committed", "failed", "it said sk-***"]
    assert lines[0]["events"] == 128
    assert lines[0]["level"] == "info"
    assert "ValueError" in lines[1]["exception"]
    assert "12345678" not in written


def test_the_console_format_masks_too(stderr):
    configure_logging("console", "info")
    structlog.get_logger().warning("refused", key="sk-abcdefgh12345678")
    written = stderr()
    assert "refused" in written
    assert "12345678" not in written


def test_an_unknown_level_is_an_error():
    with pytest.raises(KeyError):
        configure_logging("json", "loud")

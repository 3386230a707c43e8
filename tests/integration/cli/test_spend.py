"""`tallystick spend`: the ledger's sums as tables, exact to the nano-dollar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ledger_kit import make_event
from tallystick.access.principal import MASTER_KEY_HASH
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.store import Author, Change
from tallystick.ledger.batch import batch_of

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
LARGE = 9_007_199_254_740_993_000  # More than a float can hold.


@pytest.fixture
def spent(cli):
    """Three days, two users; the second event has no team."""
    events = [
        make_event(started_at=NOON, cost_nano_usd=100, key_hash="a" * 64, tags=("red", "blue"), end_user_id="eve"),
        make_event(
            started_at=NOON + timedelta(days=1), cost_nano_usd=2_000_000_001, key_hash=MASTER_KEY_HASH,
            user_id="u2", team_id="", organization_id="", model="small", model_group="fast", tags=("red",),
        ),
        make_event(started_at=NOON + timedelta(days=2), cost_nano_usd=30, status="failure", endpoint="/v1/embeddings"),
    ]  # fmt: skip
    cli.seed(batch_of("p", 1, events))
    key = ControlObject(kind=Kind.KEY, object_id="a" * 64, name="search", created_at=NOON, updated_at=NOON)
    made, author = Change(action="created", before=None, after=key), Author(key_hash="the-test")
    cli.with_store(lambda store: store.control.apply([made], author=author, now=NOON))
    return cli


def lines(cli, *words: str) -> list[tuple[str, int]]:
    outcome = cli("spend", "--json", *words)
    assert outcome.code == 0, outcome.stderr
    return [(line["name"], line["cost_nano_usd"]) for line in outcome.json()["lines"]]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("key", [(MASTER_KEY_HASH, 2_000_000_001), ("a" * 64, 100), ("k1", 30)]),
        ("user", [("u2", 2_000_000_001), ("u1", 130)]),
        ("team", [("t1", 130)]),
        ("organization", [("o1", 130)]),
        ("model-group", [("fast", 2_000_000_001), ("gpt", 130)]),
        ("model", [("small", 2_000_000_001), ("gpt-4o", 130)]),
        ("provider", [("openai", 2_000_000_131)]),
        ("endpoint", [("/v1/chat/completions", 2_000_000_101), ("/v1/embeddings", 30)]),
        ("end-user", [("eve", 100)]),
        ("tag", [("red", 2_000_000_101), ("blue", 100)]),
    ],
)
def test_totals_of_all_time(spent, by: str, expected: list[tuple[str, int]]) -> None:
    assert lines(spent, "--by", by) == expected
    whole = spent("spend", "--json", "--by", by).json()["whole"]
    assert (whole["requests"], whole["cost_nano_usd"], whole["cost_usd"]) == (3, 2_000_000_131, "2.000000131")


def test_days_are_those_asked_for(spent) -> None:
    assert lines(spent, "--by", "day", "--since", "2026-11-04", "--until", "2026-11-30") == [
        ("2026-11-04", 2_000_000_001),
        ("2026-11-05", 30),
    ]
    assert lines(spent, "--by", "day", "--since", "2026-11-01", "--limit", "1") == [("2026-11-05", 30)]
    report = spent("spend", "--json", "--by", "user", "--until", "2026-11-03").json()
    assert [(line["name"], line["cost_nano_usd"]) for line in report["lines"]] == [("u1", 100)]
    assert (report["until"], report["whole"]["cost_nano_usd"]) == ("2026-11-03", 100)


def test_days_default_to_the_last_thirty(cli) -> None:
    now = datetime.now(UTC)
    events = [make_event(started_at=now - timedelta(days=days), cost_nano_usd=days + 1) for days in (0, 29, 31)]
    cli.seed(batch_of("p", 1, events))

    assert [cost for _, cost in lines(cli, "--by", "day")] == [30, 1]


def test_what_is_left_out_is_summed_up(spent) -> None:
    report = spent("spend", "--json", "--by", "key", "--limit", "1").json()
    assert report["others"]["cost_nano_usd"] == 130
    assert spent("spend", "--json", "--by", "tag").json()["others"] is None

    shown = spent("spend", "--by", "team").stdout
    assert [line.split()[0] for line in shown.splitlines() if "$" in line] == ["t1", "(others)", "the"]


def test_keys_are_shown_by_their_alias(spent) -> None:
    shown = spent("spend").stdout

    assert "search (aaaaaaaaaaaa…)" in shown
    assert "\nmaster " in shown
    assert "the whole" in shown.splitlines()[-1]
    assert "$2.000000131" in shown.splitlines()[-1]


def test_calls_without_a_name_have_a_line_of_their_own(spent) -> None:
    assert "(none)" in spent("spend", "--by", "team", "--since", "2026-11-01").stdout


def test_money_is_exact_whatever_its_size(cli) -> None:
    cli.seed(batch_of("p", 1, [make_event(cost_nano_usd=LARGE + 1)]))

    whole = cli("spend", "--json").json()["whole"]
    assert (whole["cost_nano_usd"], whole["cost_usd"]) == (LARGE + 1, "9007199254.740993001")
    assert "$9,007,199,254.740993001" in cli("spend").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--by", "tag", "--since", "2026-01-01"],
        ["--by", "end-user", "--until", "2026-01-01"],
        ["--since", "2026-02-01", "--until", "2026-01-01"],
        ["--since", "yesterday"],
        ["--limit", "0"],
    ],
)
def test_wrong_use(sqlite, words: list[str]) -> None:
    assert sqlite("spend", *words).code == 2

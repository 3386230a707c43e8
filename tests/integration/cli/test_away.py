"""A database that does not answer: one line, exit code 1, no password; and what a shell sees."""

from __future__ import annotations

import socket
import time

import pytest

from server_kit import SECRET_KEYS

COMMANDS = [
    ["migrate"],
    ["verify"],
    ["verify", "--json", "--repair"],
    ["spend"],
    ["spend", "--by", "day", "--json"],
    ["keys", "list"],
    ["keys", "create", "--alias", "a"],
    ["keys", "delete", "a"],
    ["secrets", "check"],
    ["secrets", "rotate", "--json"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_unreachable_database_is_one_line(away, words: list[str]) -> None:
    outcome = away(*words, TALLYSTICK_SECRET_KEYS=SECRET_KEYS)

    assert outcome.code == 1
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1
    assert "PostgreSQL is not available" in outcome.stderr
    assert "teller:***@" in outcome.stderr
    assert "hush-hush" not in outcome.stderr


def test_in_a_process_of_its_own_too(away) -> None:
    outcome = away.run("verify", "--json")

    assert outcome.code == 1
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1
    assert "hush-hush" not in outcome.stderr


def test_the_doctor_is_quick_and_says_what_to_do(away) -> None:
    started = time.monotonic()
    outcome = away("doctor", "--json")

    assert time.monotonic() - started < 10
    assert outcome.code == 1
    (check,) = [check for check in outcome.json()["checks"] if check["name"] == "database"]
    assert check["state"] == "bad"
    assert "hush-hush" not in outcome.stdout


def test_the_doctor_does_not_wait_for_one_that_says_nothing(away) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://teller:hush-hush@127.0.0.1:{silent.getsockname()[1]}/ledger"
        started = time.monotonic()
        outcome = away("doctor", "--json", "--database-url", url)

    assert time.monotonic() - started < 10
    assert outcome.code == 1
    assert "did not answer in time" in outcome.stdout


@pytest.mark.parametrize("words", [["spend", "--by", "shoe size"], ["verify", "--nonsense"], ["keys"], ["nonsense"]])
def test_wrong_use_is_2(sqlite, words: list[str]) -> None:
    assert sqlite(*words).code == 2


def test_a_wrong_address_is_2(sqlite) -> None:
    outcome = sqlite("verify", "--database-url", "mysql://teller:hush-hush@127.0.0.1/ledger")

    assert outcome.code == 2
    assert "database_url" in outcome.stderr
    assert "hush-hush" not in outcome.stderr

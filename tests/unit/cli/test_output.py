"""Tables, amounts and others' text, as they are printed."""

from __future__ import annotations

import io

import pytest

from tallystick.cli.output import print_json, print_table, printable, usd_text, working


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (1_000_000_000, "1.000000000"),
        (2**63 - 1, "9223372036.854775807"),
    ],
)
def test_amounts_are_exact_decimals(nano_usd: int, text: str) -> None:
    assert usd_text(nano_usd) == text


def test_a_table_is_text_in_columns(capsys) -> None:
    print_table([("name", "left"), ("calls", "right")], [("a", "1"), ("[b]ö[/b] :+1:", "1,000")], last=("sum", "1,001"))

    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "─" not in line] == [
        ["name", "calls"],
        ["a", "1"],
        ["[b]ö[/b]", ":+1:", "1,000"],
        ["sum", "1,001"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_nothing_is_cut_where_there_is_no_terminal(capsys) -> None:
    print_table([("hash", "left"), ("models", "left")], [("a" * 64, "m" * 300)])

    assert f"{'a' * 64}   {'m' * 300}" in capsys.readouterr().out


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\rc\u202ed") == "a\ufffd[2Jb\ufffdc\ufffdd"
    assert printable("two\nlines") == "two\nlines"
    assert printable("Zoë 東京") == "Zoë 東京"


def test_json_is_utf8_and_keeps_integers(capsys) -> None:
    print_json({"name": "Zoë", "cost_nano_usd": 2**60})

    assert capsys.readouterr().out == '{\n  "name": "Zoë",\n  "cost_nano_usd": 1152921504606846976\n}\n'


def test_progress_is_for_terminals_only(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stream, shows in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr("sys.stderr", stream)
        with working("Counting"):
            pass
        assert ("Counting" in stream.getvalue()) is shows

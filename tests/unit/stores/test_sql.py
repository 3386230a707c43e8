"""Named SQL blocks."""

from __future__ import annotations

import pytest

from tallystick.stores.sql import Queries, UnknownQuery, load_queries, parse_queries

TEXT = """-- A comment about the file.

-- name: first
-- Do this.
SELECT 1
FROM a;

-- name: second
-- Do that,
-- and say more.
SELECT '-- name: no'
"""


def parse(text):
    return dict(parse_queries(text, file="x.sql"))


def test_blocks_have_their_statement_without_promise_and_semicolon():
    assert parse(TEXT) == {"first": "SELECT 1\nFROM a", "second": "SELECT '-- name: no'"}


def test_an_empty_file_has_no_blocks():
    assert parse("") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT 1", "before the first"),
        ("-- name: a\nSELECT 1", "no promise"),
        ("-- name: a\n", "no promise"),
        ("-- name: a\n-- Do this.\n", "no statement"),
    ],
)
def test_a_malformed_file_is_refused_by_name(text, reason):
    with pytest.raises(ValueError, match=rf"x\.sql: .*{reason}"):
        parse(text)


def test_an_unknown_name_is_an_error_that_names_it():
    with pytest.raises(UnknownQuery, match="no SQL block is named 'missing'"):
        Queries({"a": "SELECT 1"})["missing"]


def test_a_package_is_read_whole(tmp_path, monkeypatch):
    (tmp_path / "engine" / "sql").mkdir(parents=True)
    (tmp_path / "engine" / "__init__.py").touch()
    (tmp_path / "engine" / "sql" / "one.sql").write_text("-- name: a\n-- Do a.\nSELECT 1")
    (tmp_path / "engine" / "sql" / "two.sql").write_text("-- name: b\n-- Do b.\nSELECT 2")
    (tmp_path / "engine" / "sql" / "notes.txt").write_text("SELECT 3")
    monkeypatch.syspath_prepend(tmp_path)
    assert dict(load_queries("engine")) == {"a": "SELECT 1", "b": "SELECT 2"}
    (tmp_path / "engine" / "sql" / "two.sql").write_text("-- name: a\n-- Again.\nSELECT 2")
    with pytest.raises(ValueError, match="'a' exists already"):
        load_queries("engine")

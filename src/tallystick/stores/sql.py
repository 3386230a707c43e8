"""Load the named statements of a store from its `.sql` files, the only place where SQL is written.

A block begins with its name and its promise, and runs to the next name or the end of the file::

    -- name: lock_producer
    -- Return the producer's number and watermark, its row locked until the transaction ends.
    SELECT producer_no, watermark FROM producers WHERE producer_id = $1 FOR UPDATE
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources

_NAME = re.compile(r"^-- name: *(?P<name>\S+) *$", re.MULTILINE)
_COMMENT = re.compile(r"^--")


class UnknownQuery(KeyError):
    """A statement was asked for that no `.sql` file has."""

    def __str__(self) -> str:
        return f"no SQL block is named {self.args[0]!r}"


class Queries(Mapping[str, str]):
    """Statements by name. Asking for an unknown name raises UnknownQuery."""

    def __init__(self, statements: Mapping[str, str]) -> None:
        self._statements = dict(statements)

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise UnknownQuery(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def load_queries(package: str) -> Mapping[str, str]:
    """Return every block of every `sql/*.sql` file of `package`, by name.

    Raises ValueError for a name used twice, a block without a promise or without a statement, or text before the
    first name.
    """
    statements: dict[str, str] = {}
    directory = resources.files(package).joinpath("sql")
    for file in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        for name, statement in parse_queries(file.read_text(encoding="utf-8"), file=file.name):
            if name in statements:
                raise ValueError(f"{file.name}: the SQL block {name!r} exists already")
            statements[name] = statement
    return Queries(statements)


def parse_queries(text: str, *, file: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the statement, without its promise and its last semicolon, of each block in `text`."""
    names = list(_NAME.finditer(text))
    preamble = text[: names[0].start()] if names else text
    if any(line.strip() and not _COMMENT.match(line) for line in preamble.splitlines()):
        raise ValueError(f"{file}: SQL stands before the first '-- name:'")
    ends = [*(match.start() for match in names[1:]), len(text)][: len(names)]
    for match, end in zip(names, ends, strict=True):
        lines = text[match.end() : end].strip().splitlines()
        promise = [line for line in lines if _COMMENT.match(line)]
        statement = "\n".join(line for line in lines if not _COMMENT.match(line)).strip().removesuffix(";").strip()
        if not lines or not _COMMENT.match(lines[0]) or not promise:
            raise ValueError(f"{file}: the SQL block {match['name']!r} has no promise: say in a comment what it does")
        if not statement:
            raise ValueError(f"{file}: the SQL block {match['name']!r} has no statement")
        yield match["name"], statement

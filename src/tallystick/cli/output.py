"""What commands print: facts on stdout, what accompanies them on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from tallystick.pricing.money import format_usd
from tallystick.runtime.telemetry import configure_logging

# Where nobody looks at a terminal, a table is as wide as it needs to be.
_WIDTH_ELSEWHERE: Final = 1_000
Align = Literal["left", "right"]


def log_errors_only() -> None:
    """Leave stdout to the command, and stderr to what it says itself and to the errors of services."""
    configure_logging("console", "error")


def say(text: str) -> None:
    """Print a line about the work on stderr."""
    typer.echo(printable(text), err=True)


def print_json(facts: Any) -> None:  # Any: what msgspec encodes.
    """Print facts for machines, and nothing else on stdout."""
    typer.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode())


def print_table(
    columns: Sequence[tuple[str, Align]], rows: Iterable[Sequence[str]], *, last: Sequence[str] = ()
) -> None:
    """Print a table; `last` is a bottom line, set off from the rest. Long values are folded, never cut."""
    table = Table(box=box.SIMPLE, show_footer=bool(last), pad_edge=False, show_edge=False)
    for number, (title, align) in enumerate(columns):
        footer = printable(last[number]) if last else ""
        table.add_column(title, justify=align, overflow="fold", footer=footer)
    for row in rows:
        table.add_row(*map(printable, row))
    width = None if sys.stdout.isatty() else _WIDTH_ELSEWHERE
    console = Console(markup=False, emoji=False, highlight=False, width=width)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def printable(text: str) -> str:
    """Return text as it may go to a terminal: others' names must not move its cursor or change its colours."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


def usd_text(nano_usd: int) -> str:
    """Return an amount in dollars as a decimal number, exactly, for JSON."""
    return f"{Decimal(nano_usd).scaleb(-9):f}"


def usd_column(amounts: Sequence[int]) -> list[str]:
    """Return amounts for people, with equally many decimals, so that they can be compared down a column."""
    decimals = max((len(format_usd(amount).partition(".")[2]) for amount in amounts), default=0)
    return [format_usd(amount, decimals_min=decimals) for amount in amounts]


def counted(count: int, noun: str) -> str:
    """Return `1 event`, `2 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr, where that is a terminal, that something goes on."""
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield

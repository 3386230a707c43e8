"""`tallystick verify`: recompute every sum from the events, and compare."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import typer

from tallystick.cli.database import use_store
from tallystick.cli.options import GOOD, PROBLEM, ConfigOption, DatabaseOption, JsonOption, ends_well, settings_of
from tallystick.cli.output import counted, print_json, print_table, working
from tallystick.ledger.store import Audit, Difference
from tallystick.ledger.verify import Verification, verify_ledger
from tallystick.pricing.money import format_usd

_DIFFERENCES_SHOWN: Final = 100
_PRODUCERS_SHOWN: Final = 20
_MONEY: Final = "cost_nano_usd"


@ends_well
def verify(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild the sums from the events, then verify again.")
    ] = False,
) -> int:
    """Recompute every sum from the events, and compare. Exit code 1 when anything differs."""
    settings = settings_of(config, database_url)
    with working("Adding up every event"):
        found = use_store(
            settings,
            lambda store: verify_ledger(store.auditor, repair=repair, difference_limit=_DIFFERENCES_SHOWN),
            makes_database=False,
        )
    if json:
        print_json(_facts(found))
    else:
        _show(found)
    return GOOD if found.is_good else PROBLEM


def _facts(found: Verification) -> dict[str, Any]:  # Any: JSON.
    audit = found.audit
    facts: dict[str, Any] = {
        "ok": found.is_good,
        "events": audit.events,
        "dead_letters": audit.dead_letters,
        "producers": [msgspec.to_builtins(producer) for producer in audit.producers],
        "differences": [msgspec.to_builtins(difference) for difference in audit.differences],
        "difference_count": audit.difference_count,
        "cost_nano_usd": audit.cost_nano_usd,
        "dead_letter_cost_nano_usd": audit.dead_letter_cost_nano_usd,
    }
    if found.rows_repaired is not None:
        facts["rows_repaired"] = found.rows_repaired
    return facts


def _show(found: Verification) -> None:
    audit = found.audit
    if found.rows_repaired is not None:
        typer.echo(f"Repair changed {counted(found.rows_repaired, 'row')}.")
    _show_producers(audit)
    if audit.difference_count:
        _show_differences(audit)
    dead = f", {counted(audit.dead_letters, 'dead letter')} ({format_usd(audit.dead_letter_cost_nano_usd)})"
    typer.echo(
        f"{counted(audit.events, 'event')} ({format_usd(audit.cost_nano_usd)}){dead if audit.dead_letters else ''}."
    )
    if found.is_good:
        typer.echo("The ledger adds up: every sum equals the sum of its events.")
    else:
        typer.echo(f"The ledger does not add up: {counted(audit.difference_count, 'difference')}.")
        typer.echo(
            "What is left is not a wrong sum: events or commits are missing or were changed. Restore a backup."
            if found.rows_repaired is not None
            else "`tallystick verify --repair` rebuilds the sums from the events."
        )


def _show_producers(audit: Audit) -> None:
    shown = audit.producers[:_PRODUCERS_SHOWN]
    if shown:
        print_table(
            (("producer", "left"), ("watermark", "right"), ("events", "right"), ("dead letters", "right")),
            [(p.producer_id, f"{p.watermark:,}", f"{p.events:,}", f"{p.dead_letters:,}") for p in shown],
        )
    if len(audit.producers) > len(shown):
        typer.echo(f"… and {len(audit.producers) - len(shown):,} more producers; --json shows all.")


def _show_differences(audit: Audit) -> None:
    print_table(
        (("table", "left"), ("row", "left"), ("column", "left"), ("found", "right"), ("expected", "right")),
        [(d.table, d.row, d.column, _value(d, d.found), _value(d, d.expected)) for d in audit.differences],
    )
    if audit.difference_count > len(audit.differences):
        typer.echo(f"… and {audit.difference_count - len(audit.differences):,} more.")


def _value(difference: Difference, value: int) -> str:
    return format_usd(value) if difference.column == _MONEY else f"{value:,}"

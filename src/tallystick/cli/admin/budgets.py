"""`tallystick budgets`: what is left of budgets, the fullest first."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import typer

from tallystick.cli.admin.api import AdminAPI
from tallystick.cli.admin.shown import at, money_column
from tallystick.cli.admin.where import KeyOption, URLOption, Where
from tallystick.cli.options import ConfigOption, DatabaseOption, JsonOption, ends_well
from tallystick.cli.output import counted, print_json, print_table, working
from tallystick.errors import BadRequest

_SHARE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(%?)")
_HASH_SHOWN: Final = 12


@ends_well
def budgets(
    type: Annotated[  # noqa: A002 - the option's name.
        str | None,
        typer.Option(help="Only of this scope: key, user, team, team_member, end_user, tag …", show_default=False),
    ] = None,
    over: Annotated[str, typer.Option(metavar="SHARE", help="Only with so much spent: 80% or 0.8.")] = "0%",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most to show.")] = 50,
    page: Annotated[int, typer.Option(min=1, max=1_000_000, help="Which page of that many.")] = 1,
    url: URLOption = None,
    api_key: KeyOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Show the windows of budgets that run now: limit, spent, reserved, left and reset, the fullest first."""
    query = {"type": type, "over": _share(over), "page": page, "size": limit}

    async def work(api: AdminAPI) -> Any:  # Any: JSON.
        return await api.send("GET", "/budget/windows", query=query)

    place = Where(url=url, api_key=api_key, config=config, database_url=database_url)
    with working("Reading budgets"):
        answer = place.run(work, seals=False, makes_database=False)
    if json:
        print_json(answer)
    else:
        _show(answer, first=(page - 1) * limit + 1)


def _share(text: str) -> float:
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise BadRequest("'--over' must be a share such as 80% or 0.8.")
    return float(match[1]) / (100 if match[2] else 1)


def _show(answer: Any, *, first: int) -> None:  # Any: JSON.
    windows = at(answer, "windows") or []
    amounts = {name: money_column([each[name] for each in windows]) for name in ("limit", "spent", "reserved", "left")}
    rows = [
        (
            str(each["scope"]),
            _who(each),
            str(each["model"] or ""),
            amounts["limit"][number],
            amounts["spent"][number],
            amounts["reserved"][number],
            amounts["left"][number],
            "" if each["limit"] is None else f"{each['share']:.0%}",
            _moment(each["reset_at"]),
        )
        for number, each in enumerate(windows)
    ]
    print_table(
        [
            ("scope", "left"),
            ("whose", "left"),
            ("model", "left"),
            ("limit", "right"),
            ("spent", "right"),
            ("reserved", "right"),
            ("left", "right"),
            ("used", "right"),
            ("resets", "left"),
        ],
        rows,
    )
    total = at(answer, "total_count")
    if windows:
        typer.echo(f"Windows {first:,} to {first + len(windows) - 1:,} of {total:,}.")
    else:
        typer.echo(f"{counted(0, 'window')}: nothing was spent from any budget like this in a window that runs now.")
    if at(answer, "is_cut"):
        typer.echo("There are more windows than were looked at; --type names fewer.")


def _who(window: dict[str, Any]) -> str:  # Any: JSON.
    held = window["id"] or ""
    if window["name"]:
        held = window["name"]
    elif window["scope"] == "key":
        held = f"{held[:_HASH_SHOWN]}…"
    member = window["member_id"]
    if window["scope"] == "session":
        return held
    return f"{member} in {held}" if member else held


def _moment(text: str | None) -> str:
    return "never" if text is None else text[:19].replace("T", " ")

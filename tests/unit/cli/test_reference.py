"""The reference has a section for each command, with its options and an example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from tallystick.cli import app
from tallystick.cli.spend import By

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMON = {"--config", "--database-url", "--json"}
OF_THE_ADMIN_API = {"--url", "--api-key"}
NOUNS = ("keys", "teams", "users", "orgs", "models", "budgets")


def commands(given: Any, name: str = "") -> dict[str, Any]:
    parts = getattr(given, "commands", None)
    if not parts:
        return {name: given}
    found = {name: given} if name and given.invoke_without_command else {}
    for part, command in parts.items():
        found |= commands(command, f"{name} {part}".strip())
    return found


# `serve` prints no facts, and a key is made without settings.
WITHOUT = {"serve": {"--json"}, "secrets new-key": {"--config", "--database-url"}}
COMMANDS = commands(typer.main.get_command(app))


def test_every_command_has_a_section() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_has_an_example_and_every_option(name: str) -> None:
    shown = [parameter for parameter in COMMANDS[name].params if not getattr(parameter, "hidden", False)]
    options = {option for parameter in shown for option in parameter.opts if option.startswith("--")}

    assert f"$ tallystick {name}" in SECTIONS[name]
    assert options >= COMMON - WITHOUT.get(name, set())
    told = COMMON | {"--help"} | (OF_THE_ADMIN_API if name.split(maxsplit=1)[0] in NOUNS else set())
    assert [option for option in options - told if option not in SECTIONS[name]] == []


def test_what_all_commands_take_is_told_once() -> None:
    intro = PAGE.partition("\n## ")[0]

    assert [option for option in COMMON | OF_THE_ADMIN_API if f"`{option}" not in intro] == []


def test_every_grouping_of_spend_is_there() -> None:
    assert [by.value for by in By if f"`{by.value}`" not in SECTIONS["spend"]] == []

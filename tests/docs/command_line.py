"""The commands of `tallystick`, as the command line itself knows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer

from tallystick.cli import app


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command with its options, or a group with its parts. Hidden ones are left out."""

    options: frozenset[str]
    parts: dict[str, Command]

    def leaves(self, name: str) -> Iterator[tuple[str, Command]]:
        """Yield every command that can be given, with its whole name."""
        if not self.parts:
            yield name, self
        for part, command in self.parts.items():
            yield from command.leaves(f"{name} {part}")


@cache
def command_tree() -> Command:
    """Return the root."""
    return _command(typer.main.get_command(app))


def _command(given: Any) -> Command:  # Any: click's own command; which click it is, typer decides.
    shown = [parameter for parameter in given.params if not getattr(parameter, "hidden", False)]
    return Command(
        options=frozenset(
            {"--help", "-h", *(name for parameter in shown for name in parameter.opts if name.startswith("-"))}
        ),
        parts={name: _command(part) for name, part in getattr(given, "commands", {}).items() if not part.hidden},
    )

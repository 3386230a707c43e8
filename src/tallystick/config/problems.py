"""What is wrong with a configuration, collected so that one start shows all of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tallystick.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and why. Never holds the value itself, which may be a secret."""

    reason: str
    file: str | None = None
    key_path: str | None = None

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key_path) if part)
        return f"{place}: {self.reason}" if place else self.reason


class InvalidConfig(ConfigError):
    """The configuration has these problems; the first one gives `file`, `key_path` and the message's first line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first, *others = problems
        super().__init__("\n".join((first.reason, *map(str, others))), file=first.file, key_path=first.key_path)
        self.problems = tuple(problems)


def show_path(path: Iterable[str | int]) -> str:
    """Write a key path as people do: `model_list[0].litellm_params.api_key`."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            shown += f".{step}" if shown else step
    return shown

"""Wildcard groups: `openai/*` and `*` stand for every model of that name, each resolved when it is first asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from tallystick.control.deployment import Deployment
from tallystick.control.resolving import CannotServe

_NAMES_MAX: Final = 10_000
_NAME_CHARACTERS_MAX: Final = 256


class WildcardGroups:
    """Some groups whose names have a `*`. What they mean by a name is kept, for as long as the snapshot lives."""

    def __init__(self, groups: Iterable[tuple[str, Sequence[Deployment]]]) -> None:
        patterns = [(name, members) for name, members in groups if is_wildcard(name)]
        # The longest pattern says most.
        patterns.sort(key=lambda group: (len(group[0]), group[0].count("*")), reverse=True)
        self._patterns = [(pattern_of(name), members) for name, members in patterns]
        self._known: dict[str, tuple[Deployment, ...]] = {}

    def find(self, name: str) -> tuple[Deployment, ...]:
        """Return what the most specific group that has the name serves it with; () when none does."""
        if not self._patterns:
            return ()
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _NAMES_MAX:
                self._known.clear()
            known = self._known[name] = self._resolve(name)
        return known

    def _resolve(self, name: str) -> tuple[Deployment, ...]:
        if "*" in name or len(name) > _NAME_CHARACTERS_MAX or not name.isprintable():
            return ()
        members = next((members for pattern, members in self._patterns if pattern.fullmatch(name)), ())
        found = []
        for member in members:
            if member.named is None:
                continue
            try:
                found.append(member.named(name))
            except CannotServe:  # Its provider is unknown, or has no key here: for callers there is no such model.
                continue
        return tuple(found)


def is_wildcard(name: str) -> bool:
    """Whether a group stands for many models."""
    return "*" in name


def pattern_of(name: str) -> re.Pattern[str]:
    """Return what matches the names that a group stands for, with a group for each `*`."""
    return re.compile("(.*)".join(map(re.escape, name.split("*"))))


def model_for(pattern: str, provider_model: str, name: str) -> str:
    """Return `litellm_params.model` for a name: each `*` in it is what the group's `*` stands for.

    Where the group has more of them than the model, the model is the whole name, as in LiteLLM.
    """
    found = pattern_of(pattern).fullmatch(name)
    if found is None or not is_wildcard(provider_model):
        return provider_model
    parts = found.groups()
    if len(parts) > provider_model.count("*"):
        return name
    for part in parts:
        provider_model = provider_model.replace("*", part, 1)
    return provider_model

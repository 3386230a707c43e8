"""How much a Gemini model is to think: newer models take a level, older ones a budget of tokens, the oldest neither."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tallystick.wire.conversation import Reasoning

JSON = dict[str, Any]  # Any: a body of many shapes that is encoded at once.

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_BUDGETS: Final[Mapping[str, int]] = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_BUDGET_MAX: Final = 24576
_LEVELS: Final[Mapping[str, str]] = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium"}
_DYNAMIC: Final = -1
_PRO_LEAST_BUDGET: Final = 128


def takes_levels(model: str) -> bool:
    """Whether the model is of a generation that takes levels, and wants back the signatures of its tool calls."""
    return _generation(model) >= (3, 0)


def write_thinking(reasoning: Reasoning, model: str) -> JSON | None:
    """Return the `thinkingConfig`; None for a model that does not think."""
    if _generation(model) < (2, 5):
        return None
    is_off = reasoning.off or reasoning.effort == "none"
    written: JSON = {} if is_off else {"includeThoughts": True}
    if reasoning.budget_tokens is not None and not is_off:
        written["thinkingBudget"] = reasoning.budget_tokens
    elif is_off or reasoning.effort:
        if takes_levels(model):
            written["thinkingLevel"] = _level("none" if is_off else reasoning.effort, model)
        else:
            written["thinkingBudget"] = _budget("none" if is_off else reasoning.effort, model)
    elif reasoning.adaptive and not takes_levels(model):
        written["thinkingBudget"] = _DYNAMIC
    return written


def _generation(model: str) -> tuple[int, int]:
    """Return which generation a model is of; one that does not tell is taken for a new one."""
    found = _GENERATION.search(model)
    return (99, 0) if found is None else (int(found[1]), int(found[2] or 0))


def _level(effort: str, model: str) -> str:
    level = _LEVELS.get(effort, "high")
    if "pro" in model:
        if level == "minimal":  # It can't be told to think less than a little.
            return "low"
        if level == "medium" and _generation(model) == (3, 0):
            return "high"
    return level


def _budget(effort: str, model: str) -> int:
    budget = _BUDGETS.get(effort, _BUDGET_MAX)
    return max(budget, _PRO_LEAST_BUDGET) if "pro" in model else budget

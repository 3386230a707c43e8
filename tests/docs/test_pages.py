"""Pages lead to what exists, and their commands can be given."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from docs.command_line import command_tree
from docs.pages import ROOT, anchors, commands, fences, links, pages, place

MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PHONY = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())


@pytest.mark.parametrize("page", pages(), ids=place)
def test_links_lead_somewhere(page: Path) -> None:
    assert [target for target in links(page) if not _leads_somewhere(page, target)] == []


@pytest.mark.parametrize("page", pages(), ids=place)
def test_make_targets_exist(page: Path) -> None:
    asked = {words[1] for words in commands(page) if words[0] == "make" and len(words) > 1 and words[1].isalpha()}

    assert asked - MAKE_TARGETS == set()


@pytest.mark.parametrize("page", pages(), ids=place)
def test_tallystick_commands_exist(page: Path) -> None:
    asked = [words for words in commands(page) if words[0] == "tallystick" and len(words) > 1]

    assert [" ".join(words) for words in asked if not _is_command(words[1:])] == []


@pytest.mark.parametrize("page", pages(), ids=place)
def test_python_blocks_are_python(page: Path) -> None:
    for text in fences(page, "python"):
        ast.parse(text)


def test_every_make_target_is_shown_by_help_and_phony() -> None:
    described = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert described == MAKE_TARGETS == PHONY


def _leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    goal = (page.parent / name).resolve() if name else page
    return goal.exists() and (not anchor or anchor in anchors(goal))


def _is_command(words: list[str]) -> bool:
    """Whether these words name a command; its options are checked too, its arguments are not."""
    command = command_tree()
    for word in words:
        if word in command.parts:
            command = command.parts[word]
        elif word.startswith("-"):
            if word.split("=")[0] not in command.options:
                return False
        elif command.parts:
            return False
    return True

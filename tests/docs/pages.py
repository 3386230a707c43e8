"""The project's pages in Markdown, and what can be read from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(?P<text>.+)$", re.MULTILINE)


@cache
def pages() -> tuple[Path, ...]:
    """Return every page: those at the root, and all of docs."""
    return (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def place(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path, *languages: str) -> Iterator[str]:
    """Yield the blocks of code in these languages."""
    for fence in _FENCE.finditer(read(page)):
        if fence["language"] in languages:
            yield fence["text"]


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", read(page))


def links(page: Path) -> Iterator[str]:
    """Yield the targets of links to files of the project."""
    for link in _LINK.finditer(prose(page)):
        if "://" not in link["target"]:
            yield link["target"]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    texts = (heading["text"].lower() for heading in _HEADING.finditer(prose(page)))
    return {re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-") for text in texts}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every command line on a page, in a block or between backticks."""
    lines = [line for text in fences(page, "sh", "bash", "console") for line in text.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", prose(page))]:
        words = line.split("#")[0].split()
        if words:
            yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


def reference_text() -> str:
    """Return all reference pages in one."""
    return "\n".join(read(page) for page in sorted(REFERENCE.glob("*.md")))


def tables(page: Path) -> Iterator[list[str]]:
    """Yield the cells of each row of each table, without heads and rules."""
    lines = read(page).splitlines()
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("|--")
        if line.startswith("|") and not line.startswith("|--") and not is_head:
            yield [cell.strip() for cell in line.strip("|").split(" | ")]

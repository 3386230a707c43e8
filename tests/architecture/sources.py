"""The project's own files, parsed once for all rules."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tallystick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One Python file. `place` is its path below the package (`ledger/journal.py`), or below the root outside of it."""

    place: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The first part of the path: `ledger`, or `cli` for `cli.py`."""
        return self.place.split("/")[0].removesuffix(".py")

    def comments(self) -> Iterator[tuple[int, str]]:
        """Yield each comment with its line."""
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def source(place: str, text: str) -> Source:
    """Parse one file."""
    return Source(place=place, text=text, tree=ast.parse(text, filename=place))


@cache
def package_sources() -> tuple[Source, ...]:
    """Return every module of the package."""
    return tuple(_read(path, below=PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))


@cache
def other_sources() -> tuple[Source, ...]:
    """Return the tests and benchmarks."""
    paths = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])
    return tuple(_read(path, below=ROOT) for path in paths)


@cache
def repository_files() -> tuple[Path, ...]:
    """Return every committed file; in an unpacked archive, every file that is not made by a tool."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        made = {".venv", "__pycache__", "build", "dist"}
        paths = [path for path in ROOT.rglob("*") if not made & set(path.parts) and "_cache" not in str(path)]
    return tuple(path for path in paths if path.is_file())


def _read(path: Path, *, below: Path) -> Source:
    return source(path.relative_to(below).as_posix(), path.read_text(encoding="utf-8"))

"""What holds for the repository as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import tallystick
from architecture.sources import PACKAGE, ROOT, repository_files

PUBLIC_NAMES = [
    "Answer",
    "AsyncClient",
    "AsyncStream",
    "BudgetExceeded",
    "Client",
    "LiteLLMLogger",
    "RateLimited",
    "Record",
    "Recorded",
    "RequestError",
    "Stream",
    "TallystickError",
    "UpstreamError",
    "__version__",
    "acompletion",
    "aembedding",
    "amessages",
    "aresponses",
    "atext_completion",
    "close",
    "completion",
    "default_client",
    "embedding",
    "flush",
    "instrument",
    "messages",
    "responses",
    "text_completion",
]

# Addresses and phrases are put together here, so that this file does not contain what it looks for.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("repo", "maven", "apache", "org"),
        ("repo1", "maven", "org"),
        ("conda", "anaconda", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
]
DEVELOPMENT_PHRASES = [
    "-".join(parts)
    for parts in (
        ("ai", "generated"),
        ("llm", "generated"),
        ("ai", "assisted"),
        ("co", "authored", "by"),
        ("sub", "agent"),
        ("style", "anchors"),
    )
] + [
    " ".join(parts)
    for parts in (
        ("generated", "by", "ai"),
        ("written", "by", "ai"),
        ("written", "by", "an", "ai"),
        ("written", "by", "an", "llm"),
        ("as", "an", "ai"),
        ("claude", "code"),
    )
]
DEVELOPMENT_PHRASES += ["sub" + "agent", "/work/" + "shared"]
DEVELOPMENT_FILES = {"AGENTS.md", "CLAUDE.md", "GEMINI.md", ".cursorrules", "copilot-instructions.md"}
# What others wrote, kept as it is: recorded exchanges say anything, and a licence is a licence.
OTHERS_WORDS = ("tests/recordings/", "recordings/", "LICENSE")


def test_imports_keep_the_contracts() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_public_names() -> None:
    assert sorted(tallystick.__all__) == PUBLIC_NAMES
    assert [name for name in tallystick.__all__ if not hasattr(tallystick, name)] == []


def test_sql_files_are_in_stores() -> None:
    assert [path for path in PACKAGE.rglob("*.sql") if path.relative_to(PACKAGE).parts[0] != "stores"] == []


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile("|".join(re.escape(host) for host in REGISTRY_HOSTS), re.IGNORECASE)

    assert _matches(hosts) == []


def test_locks_name_no_place() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))

    assert [lock.name for lock in locks] == ["serve.txt", "test.txt"]
    assert [lock.name for lock in locks if "://" in lock.read_text() or "--index" in lock.read_text()] == []


def test_test_lock_contains_serve_lock() -> None:
    serve, test = (_pins(ROOT / "requirements" / name) for name in ("serve.txt", "test.txt"))

    assert serve
    assert serve - test == set()


def test_files_speak_of_the_product_only() -> None:
    phrases = re.compile("|".join(rf"\b{re.escape(phrase)}\b" for phrase in DEVELOPMENT_PHRASES if phrase[0] != "/"))
    paths = re.compile("|".join(re.escape(phrase) for phrase in DEVELOPMENT_PHRASES if phrase[0] == "/"))

    assert [path for path in repository_files() if path.name in DEVELOPMENT_FILES] == []
    assert _matches(phrases, but=OTHERS_WORDS) == []
    assert _matches(paths, but=OTHERS_WORDS) == []


def _matches(pattern: re.Pattern[str], *, but: tuple[str, ...] = ()) -> list[str]:
    found = []
    for path in repository_files():
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith(but):
            text = path.read_text(encoding="utf-8", errors="replace").lower()
            found += [f"{place}: {match.group()}" for match in pattern.finditer(text)]
    return found


def _pins(lock: Path) -> set[str]:
    return set(re.findall(r"^([A-Za-z0-9_.-]+==[^\s;]+)", lock.read_text(), re.MULTILINE))

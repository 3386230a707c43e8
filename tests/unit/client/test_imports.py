"""What importing and using the SDK loads: nothing of the server, and of itself nothing before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tallystick.__main__ import SERVER_PACKAGES

ROOT = Path(__file__).parents[3]
SECONDS_MAX = 0.1
# What is not installed without the extra: importing it fails, as it would there.
WITHOUT_SERVER = f"""
import importlib.abc, json, sys, time

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {sorted(SERVER_PACKAGES)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def python(code: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_SERVER + code, *arguments]
    environment = {"TALLYSTICK_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


def test_importing_the_package_is_quick_and_loads_nothing_else(tmp_path: Path) -> None:
    code = """
before = set(sys.modules)
begun = time.perf_counter()
import tallystick
seconds = time.perf_counter() - begun
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
others = sorted(loaded - set(sys.stdlib_module_names))
print(json.dumps([seconds, others, [each for each in sys.modules if "tally" in each]]))
"""
    runs = [json.loads(python(code, tmp_path).stdout) for _ in range(3)]

    assert min(run[0] for run in runs) < SECONDS_MAX
    assert all(run[1:] == [["tallystick"], ["tallystick"]] for run in runs)
    assert list(tmp_path.iterdir()) == []


def test_a_client_makes_calls_without_the_servers_packages(tmp_path: Path) -> None:
    code = f"""
import tallystick
answer = tallystick.completion("demo/demo", [{{"role": "user", "content": "Hello"}}])
tallystick.close()
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(json.dumps([answer.choices[0].message.content, sorted(loaded & set({sorted(SERVER_PACKAGES)!r}))]))
"""
    result = python(code, tmp_path)

    assert result.stderr == ""
    assert json.loads(result.stdout) == ["You said: Hello", []]


@pytest.mark.parametrize("command", ["serve", "verify"])
def test_the_command_line_says_how_to_install_what_is_missing(tmp_path: Path, command: str) -> None:
    result = python("import runpy; runpy.run_module('tallystick', run_name='__main__')", tmp_path, command)

    assert result.returncode == 2
    assert "pip install 'tallystick[server]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_extra_has_what_the_command_line_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {line.partition(">")[0] for line in project["optional-dependencies"]["server"]}

    assert extra <= SERVER_PACKAGES
    assert SERVER_PACKAGES - extra == {"click"}, "typer brings it"
    assert not {line.partition(">")[0] for line in project["dependencies"]} & SERVER_PACKAGES

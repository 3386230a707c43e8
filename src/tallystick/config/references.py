"""References: `os.environ/NAME` and `file:///path` stand for what a variable or a file holds.

Those in the configuration file are replaced when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tallystick.config.problems import KeyPath, Problem, show_path
from tallystick.config.yaml_file import Document

ENVIRONMENT_PREFIX = "os.environ/"
FILE_PREFIX = "file://"
REFERENCED_BYTES_MAX = 1024 * 1024
VALUES_MAX = 1_000_000
DEPTH_MAX = 64
_REFERENCE: Final = re.compile(r"os\.environ/[A-Za-z_][A-Za-z0-9_]*|file:///[^\x00-\x1f]+")


def is_reference(text: str) -> bool:
    """Whether a text is a well-formed reference: what it stands for is elsewhere."""
    return _REFERENCE.fullmatch(text) is not None


def resolve_text(text: str, environ: Mapping[str, str]) -> str:
    """Return what a reference stands for; other text stays. Raises ValueError that says what is not there."""
    if text.startswith(ENVIRONMENT_PREFIX):
        name = text.removeprefix(ENVIRONMENT_PREFIX)
        if name not in environ:
            raise ValueError(f"the environment variable {name} is not set")
        return environ[name]
    if text.startswith(FILE_PREFIX):
        return _read(Path(text.removeprefix(FILE_PREFIX)))
    return text


def resolve_references(
    document: Document, environ: Mapping[str, str]
) -> tuple[Document, dict[str, str], list[Problem]]:
    """Resolve every reference in a document; return it, its environment variables, and what could not be resolved.

    `environment_variables` comes first, line by line: what it sets is seen by later references, unless the real
    environment has a value, which goes before it.
    """
    resolver = _Resolver(document, environ)
    section = document.content.get("environment_variables")
    variables: dict[str, str] = {}
    if isinstance(section, dict):
        for name, value in section.items():
            text = _as_text(resolver.resolve(value, ("environment_variables", name)))
            if text is None:
                resolver.report(("environment_variables", name), "must be text, a number or a truth value")
                continue
            variables[name] = text
            resolver.environ = {name: text, **resolver.environ}
    rest = {name: value for name, value in document.content.items() if name != "environment_variables"}
    resolved = {name: resolver.resolve(value, (name,)) for name, value in rest.items()}
    if section is not None and not isinstance(section, dict):
        resolver.report(("environment_variables",), "must be a mapping of names to values")
    return Document(content=resolved, files=document.files), variables, resolver.problems


class _Resolver:
    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.problems: list[Problem] = []
        self._document = document
        self._values_left = VALUES_MAX

    def resolve(self, value: Any, path: KeyPath) -> Any:  # Any: whatever YAML holds.
        """Return the value with its references replaced; where one can't be, report it and return None."""
        self._values_left -= 1
        if self._values_left < 0 or len(path) > DEPTH_MAX:
            # Anchors that refer to each other can make a small file endless.
            if self._values_left >= -1:
                self.report(path, f"holds more than {VALUES_MAX} values or goes deeper than {DEPTH_MAX} levels")
            return None
        if isinstance(value, dict):
            return {name: self.resolve(item, (*path, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str):
            return self._resolve_text(value, path)
        return value

    def report(self, path: KeyPath, reason: str) -> None:
        self.problems.append(Problem(reason=reason, file=self._document.file_of(path), key_path=show_path(path)))

    def _resolve_text(self, text: str, path: KeyPath) -> str | None:
        try:
            return resolve_text(text, self.environ)
        except ValueError as error:
            self.report(path, str(error))
            return None


def _read(file: Path) -> str:
    if not file.is_absolute():
        raise ValueError(f"file:// needs an absolute path: file:///{file}")
    try:
        if file.stat().st_size > REFERENCED_BYTES_MAX:
            raise ValueError(f"{file} is larger than {REFERENCED_BYTES_MAX} bytes")
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None

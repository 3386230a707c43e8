"""Reading the YAML file and the files it includes, with the file that each part came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tallystick.config.problems import KeyPath
from tallystick.errors import ConfigError

FILE_BYTES_MAX = 16 * 1024 * 1024
INCLUDE_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A configuration file with everything it includes, merged."""

    content: dict[str, Any]  # Any: whatever YAML holds; Settings gives it types.
    files: dict[KeyPath, str] = field(default_factory=dict)
    """Which file the value at a path came from, for the first two steps of every path."""

    def file_of(self, path: KeyPath) -> str | None:
        """Name the file that the value at `path` came from."""
        return next((self.files[path[:length]] for length in (2, 1) if path[:length] in self.files), None)


def read_document(path: Path) -> Document:
    """Read a file and what it includes. Raises ConfigError naming the file, and the line where there is one.

    Lists of included files are appended to those of the including one; mappings are merged, and where both have a
    value, the including file's holds.
    """
    return _read(path, chain=())


def _read(path: Path, *, chain: tuple[str, ...]) -> Document:
    name = str(path)
    _check_chain(path, chain)
    content = _parse(_read_text(path, chain), name)
    included = content.pop("include", None) or []
    document = Document(content=content, files=_files_of(content, name))
    if isinstance(included, str):
        included = [included]
    if not isinstance(included, list) or not all(isinstance(item, str) for item in included):
        raise ConfigError("must be a list of file names", file=name, key_path="include")
    for item in included:
        _merge(document, _read(path.parent / item, chain=(*chain, name)))
    return document


def _check_chain(path: Path, chain: tuple[str, ...]) -> None:
    resolved = [Path(name).resolve() for name in chain]
    if path.resolve() in resolved:
        raise ConfigError(f"includes itself: {' -> '.join((*chain, str(path)))}", file=chain[0], key_path="include")
    if len(chain) > INCLUDE_DEPTH_MAX:
        raise ConfigError(f"includes go deeper than {INCLUDE_DEPTH_MAX} files", file=chain[0], key_path="include")


def _read_text(path: Path, chain: tuple[str, ...]) -> str:
    file, key_path = (chain[-1], "include") if chain else (str(path), None)
    subject = f"{' -> '.join((*chain, str(path)))}: " if chain else ""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{subject}larger than {FILE_BYTES_MAX} bytes", file=file, key_path=key_path)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{subject}can't be read: {error.strerror}", file=file, key_path=key_path) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{subject}is not UTF-8 text", file=file, key_path=key_path) from error


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader that is stricter.
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{place}{error.problem or error.context}", file=name) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError("is not valid YAML", file=name) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError("must be a mapping of sections such as model_list and general_settings", file=name)
    return content


def _files_of(content: Mapping[str, Any], name: str) -> dict[KeyPath, str]:
    files: dict[KeyPath, str] = {}
    for section, value in content.items():
        files[(section,)] = name
        steps = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        files.update({(section, step): name for step in steps})
    return files


def _merge(document: Document, included: Document) -> None:
    content = document.content
    for section, value in included.content.items():
        own = content.get(section)
        offset = len(own) if isinstance(own, list) else 0
        if own is None:
            content[section] = value
            document.files[section,] = included.files[section,]
        elif isinstance(own, list) and isinstance(value, list):
            own.extend(value)
        elif isinstance(own, dict) and isinstance(value, dict):
            _merge_mappings(own, value)
        elif value is not None:
            reason = f"has another kind of value than in {included.files[section,]}"
            raise ConfigError(reason, file=document.files[section,], key_path=section)
        for path, name in included.files.items():
            if len(path) == 2 and path[0] == section:
                step = path[1]
                document.files.setdefault((section, step + offset if isinstance(step, int) else step), name)


def _merge_mappings(own: dict[str, Any], included: Mapping[str, Any]) -> None:
    for name, value in included.items():
        if isinstance(own.get(name), dict) and isinstance(value, dict):
            _merge_mappings(own[name], value)
        elif isinstance(own.get(name), list) and isinstance(value, list):
            own[name].extend(value)
        else:
            own.setdefault(name, value)


_TEXT_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, which plain YAML readers let pass in silence.

    Every key is text as it is written, also `on` and `5`, which YAML would turn into a truth value and a number.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # Any: as the library has it.
        # Here and not when the mapping is constructed: by then `<<` may have put the merged keys beside its own.
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be text", key_node.start_mark)
            if key_node.tag == _MERGE_TAG:
                continue
            if key_node.value in seen:
                reason = f"the key {key_node.value!r} is written twice"
                raise yaml.composer.ComposerError(None, None, reason, key_node.start_mark)
            seen.add(key_node.value)
            key_node.tag = _TEXT_TAG
        return node

"""From an import path to the callback that it names: `my_module.my_instance`, as in LiteLLM's configuration.

A module is looked for beside the configuration file, then where Python looks. Modules beside the file find each other:
their directory is added to the end of Python's path.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tallystick.calls.callbacks.lists import require_callback
from tallystick.runtime.masking import mask_text

_REASON_LENGTH_MAX = 300


class CallbackLoader:
    """Loads callbacks for one configuration; each module once."""

    def __init__(self, directory: Path | None) -> None:
        """`directory` is that of the configuration file; None when there is no file."""
        self._directory = directory
        self._modules: dict[str, ModuleType] = {}
        self._callbacks: dict[str, object] = {}

    def load(self, path: str) -> object:
        """Return what a path names; of a class, one instance. Raises ValueError that says what is wrong."""
        if path in self._callbacks:
            return self._callbacks[path]
        module_name, _, name = path.rpartition(".")
        if not module_name:
            raise ValueError("is no import path: write `module.name`, where `name` is a function or an object")
        module = self._modules.get(module_name)
        if module is None:
            module = self._modules[module_name] = self._import(module_name)
        if not hasattr(module, name):
            raise ValueError(f"the module {module_name} ({_place_of(module)}) has no {name}")
        callback: object = getattr(module, name)
        if isinstance(callback, type):
            try:
                callback = callback()
            except Exception as error:
                raise ValueError(f"an instance of the class {name} can't be made: {_words(error)}") from error
        require_callback(callback)
        self._callbacks[path] = callback
        return callback

    def _import(self, name: str) -> ModuleType:
        directory = self._directory
        file = directory.joinpath(*name.split(".")).with_suffix(".py") if directory is not None else None
        try:
            if directory is None or file is None or not file.is_file():
                return importlib.import_module(name)
            return _load_file(name, file, directory)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                beside = f" beside the configuration file ({file})" if file is not None else ""
                raise ValueError(f"there is no module {name}{beside}, and Python finds none of that name") from error
            raise ValueError(f"the module {name} can't be imported: {_words(error)}") from error
        except (Exception, SystemExit) as error:
            raise ValueError(f"the module {name} can't be imported: {_words(error)}") from error


def _load_file(name: str, file: Path, directory: Path) -> ModuleType:
    """Load a module from its file, which goes before another module of the same name."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} can't be read as a module")
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)  # Dataclasses and pickle look themselves up there.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if sys.modules.get(name) is module:
            del sys.modules[name]
        raise
    return module


def _place_of(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "built in"


def _words(error: BaseException) -> str:
    return mask_text(f"{type(error).__name__}: {error}")[:_REASON_LENGTH_MAX]

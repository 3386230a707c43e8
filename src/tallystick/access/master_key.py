"""The master key: given in the settings, or made at the first start and shown once. Only its hash is ever kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tallystick.access.keys import hash_key, new_key
from tallystick.errors import ConfigError

_FILE = "master_key.sha256"


class MasterKey(NamedTuple):
    """The master key's hash; `made` is the key itself when it was made just now."""

    key_hash: str
    made: str | None
    file: Path | None


def load_master_key(given: str | None, *, home: Path) -> MasterKey:
    """Return the hash of the given key, else of the one made at the first start, else of one made now.

    Raises ConfigError when the home directory can't be used. Two processes that start at the same moment agree.
    """
    if given is not None:
        return MasterKey(hash_key(given), None, None)
    path = home / _FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        made = new_key()
        fresh = path.with_name(f"{_FILE}.{os.getpid()}")
        fresh.write_text(hash_key(made))
        fresh.chmod(0o600)
        try:
            os.link(fresh, path)  # Fails when there is one: whoever links first has made the key.
        except FileExistsError:
            return MasterKey(path.read_text().strip(), None, path)
        finally:
            fresh.unlink()
    except OSError as error:
        raise ConfigError(f"the master key can't be kept in {path}: {error.strerror}", key_path="home") from error
    return MasterKey(hash_key(made), made, path)

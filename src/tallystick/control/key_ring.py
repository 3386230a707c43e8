"""The keys that seal secrets: given in the settings, or made at the first start and kept in the home directory."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from tallystick.config.secret_keys import KEY_BYTES, SecretKey, parse_secret_keys, text_of_key
from tallystick.errors import ConfigError

FILE_NAME: Final = "secret_keys"
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FILE_BYTES_MAX: Final = 64 * 1024


class KeyRing:
    """Keys by id. The first seals; the others open what they sealed before."""

    def __init__(self, keys: Sequence[SecretKey]) -> None:
        assert keys, "a ring has at least one key"
        self.first = keys[0]
        self._keys = {key.key_id: key for key in keys}
        assert len(self._keys) == len(keys), "each key has an id of its own"

    def find(self, key_id: str) -> SecretKey | None:
        """Return the key of that id, or None when the ring does not have it."""
        return self._keys.get(key_id)

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(self._keys)


def new_secret_key(now: datetime) -> SecretKey:
    """Make a key. Its id says when, and is different at each time."""
    return SecretKey(key_id=f"k{now:%Y%m%d}-{secrets.token_hex(4)}", key=secrets.token_bytes(KEY_BYTES))


def load_key_ring(given: str | None, *, home: Path, may_keep: bool, now: datetime) -> KeyRing:
    """Return the ring that was given, else the one kept in the home directory, which is made at the first start.

    With `may_keep` False it must be given: several machines share a database, and they must share the keys. Raises
    ConfigError, which says how to make one.
    """
    if given is not None:
        return given_key_ring(given)
    if not may_keep:
        raise ConfigError(
            "without keys no secret can be kept in PostgreSQL. Make one with `tallystick secrets new-key`, keep it "
            "where you keep passwords, and give it to every instance as TALLYSTICK_SECRET_KEYS",
            key_path="secret_keys",
        )
    return kept_key_ring(home, now=now)


def find_key_ring(given: str | None, *, home: Path) -> KeyRing:
    """Return the ring that was given, else the one kept in the home directory. Makes none: raises ConfigError."""
    if given is not None:
        return given_key_ring(given)
    path = home / FILE_NAME
    try:
        return _read(path)
    except FileNotFoundError:
        reason = f"not set, and there is no {path}; `tallystick secrets new-key` makes a key"
        raise ConfigError(reason, key_path="secret_keys") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}", key_path="home") from error


def given_key_ring(text: str) -> KeyRing:
    """Return the ring that the setting `secret_keys` holds. Raises ConfigError that shows nothing of the keys."""
    try:
        return KeyRing(parse_secret_keys(text))
    except ValueError as error:
        raise ConfigError(str(error), key_path="secret_keys") from None


def kept_key_ring(home: Path, *, now: datetime) -> KeyRing:
    """Return the ring kept in the home directory; make it when there is none.

    Two processes that start at the same moment agree. Raises ConfigError when the file can't be kept or read, is
    malformed, or can be read by others.
    """
    path = home / FILE_NAME
    try:
        if not path.exists():
            _make(path, new_secret_key(now))
        return _read(path)
    except OSError as error:
        raise ConfigError(f"the secret keys can't be kept in {path}: {error.strerror}", key_path="home") from error


def _make(path: Path, key: SecretKey) -> None:
    """Put a key where none is, whole and on disk: what it will have sealed is lost without it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text_of_key(key) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # Fails when there is one: whoever links first has made the key.
        except FileExistsError:
            return
        _sync_directory(path.parent)
    finally:
        fresh.unlink()


def _read(path: Path) -> KeyRing:
    mode = path.stat().st_mode
    if mode & _OPEN_TO_OTHERS:
        raise ConfigError(
            f"others may read or write {path} (mode {stat.S_IMODE(mode):04o}): chmod 600 it, and rotate the keys if "
            "others may have read them",
            key_path="home",
        )
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES_MAX + 1)
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"holds more than {_FILE_BYTES_MAX} bytes", file=str(path))
    try:
        return KeyRing(parse_secret_keys(content.decode("ascii", "replace")))
    except ValueError as error:
        raise ConfigError(str(error), file=str(path)) from None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The keys that seal secrets, as the settings give them."""

from __future__ import annotations

from datetime import datetime

from tallystick.config.database_url import database_kind
from tallystick.config.settings import Settings
from tallystick.control.key_ring import KeyRing, load_key_ring


def open_key_ring(settings: Settings, *, now: datetime) -> KeyRing:
    """Return the keys that seal secrets. Made at the first start for SQLite, which is one machine's, and for a demo.

    Raises ConfigError when they are malformed, can't be kept, or are not given for PostgreSQL.
    """
    may_keep = settings.demo or database_kind(settings.database_url) == "sqlite"
    return load_key_ring(settings.secret_keys, home=settings.home, may_keep=may_keep, now=now)

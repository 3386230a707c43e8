"""The composition root: settings in, running services out. Only here are stores opened and adapters loaded by need."""

from __future__ import annotations

from tallystick.bootstrap.callbacks import load_callbacks
from tallystick.bootstrap.embedded import open_embedded
from tallystick.bootstrap.key_ring import open_key_ring
from tallystick.bootstrap.redis_look import look_at_redis
from tallystick.bootstrap.services import Services, snapshot_builder
from tallystick.bootstrap.sinks import Sinks, make_table, shown_place
from tallystick.bootstrap.stores import Store, open_store, sqlite_path

__all__ = [
    "Services",
    "Sinks",
    "Store",
    "load_callbacks",
    "look_at_redis",
    "make_table",
    "open_embedded",
    "open_key_ring",
    "open_store",
    "shown_place",
    "snapshot_builder",
    "sqlite_path",
]

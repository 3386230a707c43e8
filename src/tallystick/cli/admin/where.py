"""Where the commands that manage things do it: at a running gateway, or on the database."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
import uvloop

from tallystick.bootstrap import open_key_ring
from tallystick.cli.admin.api import AdminAPI
from tallystick.cli.admin.http_api import HTTPAdminAPI
from tallystick.cli.admin.local_api import with_local_api
from tallystick.cli.database import use_store
from tallystick.cli.options import settings_of
from tallystick.config.settings import Settings
from tallystick.control.key_ring import FILE_NAME, KeyRing, new_secret_key
from tallystick.errors import BadRequest
from tallystick.runtime.clock import SystemClock

URL_VARIABLE: Final = "TALLYSTICK_URL"
KEY_VARIABLES: Final = ("TALLYSTICK_API_KEY", "TALLYSTICK_MASTER_KEY", "LITELLM_MASTER_KEY")
ResultT = TypeVar("ResultT")

URLOption = Annotated[
    str | None,
    typer.Option("--url", help=f"A running gateway; else {URL_VARIABLE}, else the database.", show_default=False),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help=f"The key for --url; better in the environment: {', '.join(KEY_VARIABLES)}.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What a command was told of the place."""

    url: str | None
    api_key: str | None
    config: Path | None
    database_url: str | None

    def run(self, work: Callable[[AdminAPI], Awaitable[ResultT]], *, writes: bool, makes_database: bool) -> ResultT:
        """Return what `work` makes of the admin API there. Raises BadRequest, ConfigError, and what `work` raises.

        Without `writes` no key that seals secrets is made, and without `makes_database` no file and no table.
        """
        url = self._gateway()
        if url is not None:
            return uvloop.run(_awaited(work, HTTPAdminAPI(url, key=self._key())))
        settings = settings_of(self.config, self.database_url)
        key_ring = _key_ring(settings, may_make=makes_database or writes)
        return use_store(
            settings, lambda store: with_local_api(settings, store, key_ring, work), makes_database=makes_database
        )

    def _gateway(self) -> str | None:
        names_database = self.database_url is not None or self.config is not None
        if self.url is not None and names_database:
            raise BadRequest("Give either --url, or --database-url and --config: a gateway has its own database.")
        return self.url or (None if names_database else os.environ.get(URL_VARIABLE) or None)

    def _key(self) -> str:
        key = self.api_key or next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
        if key is None:
            raise BadRequest(f"A gateway asks for a key: set {KEY_VARIABLES[0]}, or give --api-key.")
        return key


def _key_ring(settings: Settings, *, may_make: bool) -> KeyRing:
    """Return the keys that seal secrets. Who only looks needs none, and makes none."""
    now = SystemClock().now()
    if may_make or settings.secret_keys is not None or (settings.home / FILE_NAME).exists():
        return open_key_ring(settings, now=now)
    return KeyRing((new_secret_key(now),))


async def _awaited(work: Callable[[AdminAPI], Awaitable[ResultT]], api: AdminAPI) -> ResultT:
    return await work(api)

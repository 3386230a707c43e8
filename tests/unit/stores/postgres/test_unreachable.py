"""What is told apart when a use of PostgreSQL fails: nobody there, or somebody who says no."""

from __future__ import annotations

import asyncpg
import pytest

from tallystick.errors import StoreUnavailable
from tallystick.stores.postgres.errors import is_unreachable, translated


@pytest.mark.parametrize(
    ("error", "unreachable"),
    [
        (ConnectionRefusedError(), True),
        (asyncpg.CannotConnectNowError("x"), True),
        (asyncpg.AdminShutdownError("x"), True),
        (asyncpg.ConnectionDoesNotExistError("x"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.TooManyConnectionsError("x"), False),
        (asyncpg.InvalidPasswordError("x"), False),
        (asyncpg.QueryCanceledError("x"), False),
        (TimeoutError(), False),
    ],
)
def test_a_server_that_refuses_is_there(error, unreachable) -> None:
    with pytest.raises(StoreUnavailable) as failed, translated():
        raise error
    assert is_unreachable(failed.value) is unreachable


def test_what_never_came_to_the_server_says_nothing_of_it() -> None:
    assert not is_unreachable(StoreUnavailable("Too many wait for a connection to PostgreSQL."))

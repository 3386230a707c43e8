"""A PostgreSQL whose password changes all the time: new connections know the new one, open ones go on."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from ledger_kit import make_event
from rotating import RotatingRole
from services import PostgresServer
from tallystick.errors import StoreUnavailable
from tallystick.ledger.batch import batch_of
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.audit import PostgresAuditor
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.ledger import PostgresLedger
from tallystick.stores.postgres.passwords import ExpiringPasswords, Token
from tallystick.testing import FakeClock

CHANGES = 40


@pytest.fixture
def role():
    with PostgresServer() as server:
        yield RotatingRole(server)


class Follows:
    """Issues whatever the password is now, and says that it lasts."""

    def __init__(self, role: RotatingRole) -> None:
        self._role = role
        self.issued = 0

    async def issue(self) -> Token:
        self.issued += 1
        return Token(text=self._role.password, lifetime_seconds=3600)


async def test_no_commit_fails_over_many_changes(role) -> None:
    await role.change()
    issuer = Follows(role)
    passwords = ExpiringPasswords(issuer, clock=SystemClock())
    database = PostgresDatabase(role.url, clock=SystemClock(), pool_size_max=2, passwords=passwords)
    ledger = PostgresLedger(database=database)
    seq = 0
    for _ in range(CHANGES):
        seq = await ledger.commit(batch_of("p", seq + 1, [make_event()]))
        await role.change()
        async with database.connection() as running:  # Open since before the change, and not cut by it.
            first = await running.fetchval("SELECT pg_backend_pid()")
            seq = await ledger.commit(batch_of("p", seq + 1, [make_event()]))  # On another connection.
            assert await running.fetchval("SELECT pg_backend_pid()") == first
        assert database._pool is not None
        await database._pool.expire_connections()  # As their age would.
    audit = await PostgresAuditor(database=database).audit()
    assert (audit.events, audit.difference_count) == (2 * CHANGES, 0)
    assert issuer.issued >= CHANGES
    await database.close()


async def test_a_wrong_password_is_asked_for_anew_once(role) -> None:
    await role.change()
    issuer = Follows(role)
    role.password = "wrong"
    clock = FakeClock()
    database = PostgresDatabase(role.url, clock=SystemClock(), passwords=ExpiringPasswords(issuer, clock=clock))
    with pytest.raises(StoreUnavailable) as failed:
        await database.ping()
    assert isinstance(failed.value.__cause__, asyncpg.InvalidPasswordError)
    assert issuer.issued == 2
    for _ in range(20):  # And not by each use again.
        with pytest.raises(StoreUnavailable, match="refuses the tokens"):
            await database.ping()
    assert issuer.issued == 2
    await role.change()
    clock.advance(1)
    async with asyncio.timeout(10):
        await database.ping()
    await database.close()


async def test_users_of_an_issuer_that_hangs_wait_for_their_connect_timeout_side_by_side(role) -> None:
    class Hangs:
        asked = 0

        async def issue(self) -> Token:
            self.asked += 1
            await asyncio.Event().wait()
            raise AssertionError("never")

    issuer = Hangs()
    passwords = ExpiringPasswords(issuer, clock=SystemClock())
    database = PostgresDatabase(
        role.url, clock=SystemClock(), pool_size_max=2, passwords=passwords, connect_timeout_seconds=0.5
    )
    await database._connected_pool()
    database._is_ready = True  # Past the opening, which all share anyway.
    async with asyncio.timeout(
        5
    ):  # One after the other 20 users would take 5 s at two connections, and 200 s at worst.
        outcomes = await asyncio.gather(*(database.ping() for _ in range(20)), return_exceptions=True)
    assert {str(each) for each in outcomes} == {"No token for PostgreSQL was issued in time."}
    assert issuer.asked == 1
    await database.close()
    await passwords.close()

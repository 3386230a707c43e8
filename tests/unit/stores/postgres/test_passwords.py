"""Passwords that expire: fetched once, ahead of their end, and never given again when they were refused."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.errors import StoreUnavailable
from tallystick.stores.postgres.passwords import ExpiringPasswords, Token
from tallystick.testing import FakeClock


class Issuer:
    def __init__(self, *, lifetime_seconds: float = 900) -> None:
        self.lifetime_seconds = lifetime_seconds
        self.issued = 0
        self.is_away = False

    async def issue(self) -> Token:
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("away")
        self.issued += 1
        return Token(text=f"t{self.issued}", lifetime_seconds=self.lifetime_seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def passwords(issuer, clock) -> ExpiringPasswords:
    return ExpiringPasswords(issuer, clock=clock)


async def sleeping(clock: FakeClock) -> None:
    while not clock.sleepers:
        await asyncio.sleep(0)


async def test_many_that_ask_at_once_share_one_token(passwords, issuer) -> None:
    assert set(await asyncio.gather(*(passwords.password() for _ in range(20)))) == {"t1"}
    assert issuer.issued == 1


async def test_a_token_is_given_until_it_ends(passwords, clock) -> None:
    assert await passwords.password() == "t1"
    clock.advance(899)
    assert await passwords.password() == "t1"
    clock.advance(1)
    assert await passwords.password() == "t2"


async def test_one_that_was_refused_is_not_given_again(passwords) -> None:
    assert await passwords.password() == "t1"
    passwords.refuse("another")
    assert await passwords.password() == "t1"
    passwords.refuse("t1")
    assert await passwords.password() == "t2"
    passwords.refuse("t1")  # Late news of a connection that began before.
    assert await passwords.password() == "t2"


async def test_the_next_one_is_fetched_ahead(passwords, issuer, clock) -> None:
    running = asyncio.create_task(passwords.run())
    await sleeping(clock)
    assert issuer.issued == 1
    clock.advance(599)
    await asyncio.sleep(0)
    assert issuer.issued == 1
    clock.advance(1)
    await sleeping(clock)
    assert issuer.issued == 2
    assert await passwords.password() == "t2"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_while_none_is_issued_the_old_one_is_given_until_it_ends(passwords, issuer, clock) -> None:
    running = asyncio.create_task(passwords.run())
    await sleeping(clock)
    issuer.is_away = True
    clock.advance(600)
    await sleeping(clock)
    assert await passwords.password() == "t1"
    clock.advance(300)
    with pytest.raises(StoreUnavailable):
        await passwords.password()
    issuer.is_away = False
    assert await passwords.password() == "t2"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nothing_shows_a_token(passwords, issuer) -> None:
    assert "secret" not in repr(Token(text="secret", lifetime_seconds=1))

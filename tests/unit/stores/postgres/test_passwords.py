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
        self.asked = 0
        self.is_away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def issue(self) -> Token:
        self.asked += 1
        await asyncio.sleep(0)
        await self.answers.wait()
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
    assert set(await asyncio.gather(*(passwords.password(seconds_max=5) for _ in range(20)))) == {"t1"}
    assert issuer.issued == 1


async def test_a_token_is_given_until_it_ends(passwords, clock) -> None:
    assert await passwords.password(seconds_max=5) == "t1"
    clock.advance(899)
    assert await passwords.password(seconds_max=5) == "t1"
    clock.advance(1)
    assert await passwords.password(seconds_max=5) == "t2"


async def test_one_that_was_refused_is_not_given_again(passwords) -> None:
    assert await passwords.password(seconds_max=5) == "t1"
    passwords.refuse("another")
    assert await passwords.password(seconds_max=5) == "t1"
    passwords.refuse("t1")
    assert await passwords.password(seconds_max=5) == "t2"
    passwords.refuse("t1")  # Late news of a connection that began before.
    assert await passwords.password(seconds_max=5) == "t2"


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
    assert await passwords.password(seconds_max=5) == "t2"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_while_none_is_issued_the_old_one_is_given_until_it_ends(passwords, issuer, clock) -> None:
    running = asyncio.create_task(passwords.run())
    await sleeping(clock)
    issuer.is_away = True
    clock.advance(600)
    await sleeping(clock)
    assert await passwords.password(seconds_max=5) == "t1"
    clock.advance(300)
    with pytest.raises(StoreUnavailable):
        await passwords.password(seconds_max=5)
    issuer.is_away = False
    clock.advance(1)
    assert await passwords.password(seconds_max=5) == "t2"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_many_that_ask_at_once_share_one_failure(passwords, issuer, clock) -> None:
    issuer.is_away = True
    outcomes = await asyncio.gather(*(passwords.password(seconds_max=5) for _ in range(20)), return_exceptions=True)
    assert {(type(each), str(each)) for each in outcomes} == {(StoreUnavailable, "away")}
    with pytest.raises(StoreUnavailable, match="away"):
        await passwords.password(seconds_max=5)
    assert issuer.asked == 1
    issuer.is_away = False
    clock.advance(1)
    assert await passwords.password(seconds_max=5) == "t1"


async def test_nobody_waits_longer_than_it_may_for_an_issuer_that_hangs(passwords, issuer, clock) -> None:
    issuer.answers.clear()
    outcomes = await asyncio.gather(*(passwords.password(seconds_max=0.01) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in outcomes} == {StoreUnavailable}
    clock.advance(5)
    async with asyncio.timeout(4):  # The attempt has had its 5 s already: who comes now does not wait 5 s more.
        with pytest.raises(StoreUnavailable, match="in time"):
            await passwords.password(seconds_max=5)
    issuer.answers.set()
    await asyncio.sleep(0.01)  # It was not given up, and what it brings in the end is used.
    assert await passwords.password(seconds_max=5) == "t1"
    assert issuer.asked == 1


async def test_one_that_gives_up_leaves_the_attempt_to_the_others(passwords, issuer) -> None:
    issuer.answers.clear()
    patient, hasty = (asyncio.create_task(passwords.password(seconds_max=5)) for _ in range(2))
    await asyncio.sleep(0)
    hasty.cancel()
    await asyncio.wait({hasty})
    issuer.answers.set()
    assert await patient == "t1"
    assert issuer.asked == 1


async def test_a_server_that_refuses_every_token_is_not_given_one_after_the_other(passwords, issuer, clock) -> None:
    for _ in range(2):
        passwords.refuse(await passwords.password(seconds_max=5))
    for _ in range(20):
        with pytest.raises(StoreUnavailable, match="refuses the tokens"):
            await passwords.password(seconds_max=5)
    assert issuer.issued == 2
    clock.advance(1)
    passwords.refuse(await passwords.password(seconds_max=5))
    with pytest.raises(StoreUnavailable, match="refuses the tokens"):
        await passwords.password(seconds_max=5)
    clock.advance(1)
    passwords.accept(await passwords.password(seconds_max=5))
    passwords.refuse("t4")  # Not in a row: it is replaced at once.
    assert await passwords.password(seconds_max=5) == "t5"


async def test_closing_ends_an_attempt(passwords, issuer) -> None:
    issuer.answers.clear()
    waiting = asyncio.create_task(passwords.password(seconds_max=5))
    while not issuer.asked:
        await asyncio.sleep(0)
    await passwords.close()
    with pytest.raises(StoreUnavailable):
        await waiting


async def test_nothing_shows_a_token(passwords, issuer) -> None:
    assert "secret" not in repr(Token(text="secret", lifetime_seconds=1))

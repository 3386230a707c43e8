"""The rows of the HTTP contract, each against the admin API in memory."""

from __future__ import annotations

import pytest

from contract.world import World


@pytest.fixture
async def world() -> World:
    return await World.build()

"""The fixture `engine`: every contract test runs once against each engine."""

from __future__ import annotations

import pytest

from conformance.engines import ENGINES


@pytest.fixture(params=ENGINES)
async def engine(request, tmp_path):
    place = request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path)
    async with ENGINES[request.param](place) as engine:
        yield engine

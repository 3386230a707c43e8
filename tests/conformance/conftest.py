"""The fixture `engine`: every contract test runs once against each engine."""

from __future__ import annotations

import pytest

from conformance.engines import ENGINES


@pytest.fixture(params=ENGINES)
async def engine(request, tmp_path):
    match request.param:
        case "postgres":
            place = request.getfixturevalue("postgres_url")
        case "pgbouncer":
            place = request.getfixturevalue("pooled_postgres_url")
        case _:
            place = str(tmp_path)
    async with ENGINES[request.param](place) as engine:
        yield engine

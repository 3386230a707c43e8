"""kill -9 of the process that charges a batch, at each step: the ledger has its cost once, and adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import apsw
import openai
import pytest

from acceptance.fault_points import sitecustomize as points
from file_upstream import calls, running_file_upstream
from server_kit import AUTHORIZATION, MASTER_KEY, ServerProcess, eventually, serving

_PRICES = {"input_cost_per_token": 0.000002, "output_cost_per_token": 0.000008}
_COST = 100 * 1_000 + 50 * 4_000
_POINTS = (
    "behind batch.id",
    "behind journal.intent",
    "before journal.event",
    "behind journal.event",
    "behind batch.row",
)


@pytest.mark.parametrize("point", _POINTS)
async def test_a_process_that_dies_while_it_charges(tmp_path: Path, session: aiohttp.ClientSession, point: str) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    variables = {points.FAULTS: str(faults), "PYTHONPATH": str(Path(points.__file__).parent)}
    async with running_file_upstream() as upstream:
        model = {
            "model_name": "house",
            "litellm_params": {"model": "openai/house-1", "api_base": upstream.url, "api_key": "up-key", **_PRICES},
            "model_info": {"id": "house-1"},
        }
        server = ServerProcess(
            tmp_path / "home",
            upstream_url=upstream.url,
            models=(),
            sections={"model_list": [model]},
            general={"journal_sync": "write"},
            variables=variables,
        )
        with serving(server):
            await server.ready(session)
            async with openai.AsyncOpenAI(api_key=MASTER_KEY, base_url=f"{server.url}/v1", max_retries=0) as client:
                file = await client.files.create(file=("calls.jsonl", calls("house")), purpose="batch")
                batch = await client.batches.create(
                    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
                upstream.work_off("batch_up0")
                assert server.process is not None
                if point.endswith("batch.row"):  # A caller's look writes into the row, too: have the leader do it.
                    _make_due(server.home)
                else:
                    await client.batches.retrieve(batch.id)
                (faults / str(server.process.pid)).write_text(f"kill {point}")
                await server.ended(seconds=60)
            assert list(faults.glob("*.reached")), "it died of something else"
            server.start()
            await server.ready(session)
            _make_due(server.home)

            async def is_charged() -> bool:
                return bool(_rows(server.home, "SELECT 1 FROM batch_jobs WHERE state = 'charged'"))

            await eventually(is_charged, seconds=60, what="the batch is charged", pause=0.2)
            events = await _events(session, server)
            assert [event["cost_nano_usd"] for event in events] == [_COST]
            assert events[0]["status"] == "success"
            assert await server.stop() == 0
        facts = await server.verify()
    assert facts["ok"], facts
    assert facts["events"] == 1


def _make_due(home: Path) -> None:
    """Let the time pass for which who died had taken the batch."""
    _rows(home, "UPDATE batch_jobs SET next_look_at = 0 WHERE state = 'open'")


def _rows(home: Path, statement: str) -> list[Any]:
    connection = apsw.Connection(str(home / "tallystick.db"))
    connection.set_busy_timeout(5000)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


async def _events(session: aiohttp.ClientSession, server: ServerProcess) -> list[dict[str, Any]]:
    async with session.get(f"{server.url}/ledger/events", headers=AUTHORIZATION) as response:
        assert response.status == 200
        return list((await response.json())["events"])

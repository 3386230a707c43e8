"""Who leads, as the pages of a gateway show it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from gateway_kit import running_gateway


async def test_an_instance_that_is_alone_leads_and_says_so(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, {"model_list": []}) as gateway:
        async with asyncio.timeout(10):
            while not gateway.services.shared_work.is_leader:
                await asyncio.sleep(0.01)
        health = json.loads((await gateway.get("/health"))[1])
        leadership = health["leadership"]
        assert (leadership["name"], leadership["is_leader"], leadership["term"]) == ("jobs", True, 1)
        assert leadership["holder"]
        assert health["redis_buffer"] == {"state": "off", "reason": ""}
        assert {"name": "leadership:jobs", "state": "running", "restarts": 0, "error": ""} in health["services"]
        assert b"\ntallystick_is_leader 1.0\n" in (await gateway.get("/metrics"))[1]

"""The fault matrix, line by line: alone in its group, and with another model group to fall back to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from docs.pages import ROOT, tables
from gateway_kit import running_gateway, scripted
from integration.gateway.faults import FAULTS, Fault
from tallystick.ledger.event import SpendEvent
from upstream import Upstream, running_upstream

BY_NAME = pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as upstream:
        yield upstream


def config_of(upstream: Upstream, fault: Fault, **router: Any) -> dict[str, Any]:
    """The faulty deployment, times that are short enough for a test, and another group."""
    config = scripted(upstream.url, fault.model, "plain", timeout=0.25, stream_timeout=0.25)
    if fault.model == "refuse":
        config["model_list"][0]["litellm_params"]["api_base"] = "http://127.0.0.1:1/v1"
    return {**config, "router_settings": router}


def pauses_fit(pauses: list[float], fault: Fault) -> bool:
    if fault.pauses is not None:
        return tuple(pauses) == fault.pauses
    first, second = pauses
    return 0.375 <= first <= 0.5 and 0.75 <= second <= 1.0


@BY_NAME
async def test_alone(upstream: Upstream, tmp_path: Path, fault: Fault) -> None:
    async with running_gateway(tmp_path, config_of(upstream, fault)) as gateway:
        status, body, headers = await gateway.chat(fault.model, stream=fault.stream)
        event: SpendEvent = await gateway.event()

    assert status == fault.status
    assert b"error" in body
    assert pauses_fit(gateway.pauses, fault)
    assert headers["x-litellm-model-id"] == fault.model
    assert headers["x-litellm-attempted-retries"] == str(fault.attempts - 1)
    assert headers["x-litellm-attempted-fallbacks"] == "0"
    assert (event.status, event.error_class) == ("failure", fault.error_class)
    assert max(1, len(event.attempts)) == fault.attempts
    assert {attempt.status for attempt in event.attempts} <= {"failure"}
    assert event.usage_source == fault.usage_source
    assert (event.cost_nano_usd > 0) == (fault.usage_source != "none")
    assert event.cost_nano_usd == sum(attempt.cost_nano_usd for attempt in event.attempts) or fault.attempts == 1


@BY_NAME
async def test_with_a_fallback(upstream: Upstream, tmp_path: Path, fault: Fault) -> None:
    config = config_of(upstream, fault, fallbacks=[{fault.model: ["plain"]}])
    async with running_gateway(tmp_path, config) as gateway:
        status, body, headers = await gateway.chat(fault.model, stream=fault.stream)
        event: SpendEvent = await gateway.event()

    assert status == 200
    assert b"The" in body  # Of the fallback, or what came before the stream broke.
    if not fault.fails_over:
        assert (event.status, event.model_group) == ("failure", fault.model)
        assert headers["x-litellm-attempted-fallbacks"] == "0"
        return
    assert headers["x-litellm-model-id"] == "plain"
    assert headers["x-litellm-attempted-fallbacks"] == "1"
    assert (event.status, event.model_group, event.usage_source) == ("success", "plain", "provider")
    tried = [(attempt.deployment_id, attempt.status, attempt.cost_nano_usd) for attempt in event.attempts]
    assert tried == [(fault.model, "failure", 0)] * fault.attempts + [("plain", "success", event.cost_nano_usd)]


def test_the_page_has_the_matrix() -> None:
    rows = [cells for cells in tables(ROOT / "docs" / "explanation" / "routing.md") if len(cells) == 6]
    sources = {"none": "nothing", "estimated": "an estimate"}
    expected = [
        [
            fault.name,
            str(fault.attempts),
            "yes" if fault.fails_over else "no: bytes have left",
            str(fault.status) + (" and an error event" if fault.status == 200 and fault.stream else ""),
            f"`{fault.error_class}`",
            sources[fault.usage_source],
        ]
        for fault in FAULTS
    ]
    assert [row for row in rows if row[0] in {fault.name for fault in FAULTS}] == expected

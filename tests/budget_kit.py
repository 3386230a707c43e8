"""Leases on windows, as instances take them, for tests of what is shown of budgets."""

from __future__ import annotations

from tallystick.access.budget_store import LeaseRequest


async def lease(budgets, window, *, limit, leased=0, **fields):
    """Let some instance lease exactly so much; the window is there afterwards."""
    request = LeaseRequest(window=window, limit_nano_usd=limit, need_nano_usd=leased, want_nano_usd=leased, **fields)
    reply = await budgets.lease("an-instance", [request], seconds=60, share=1)
    assert reply.granted

"""The spend event: the immutable record of one call, which is also what an intent holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from tallystick.wire.usage import Usage

Status = Literal["success", "failure", "interrupted"]
UsageSource = Literal["provider", "estimated", "none"]
CostStatus = Literal["priced", "unpriced", "reported", "free"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One try of a call on one deployment. Listed only when a call needed more than one."""

    deployment_id: str
    provider: str
    model: str
    status: Status
    error_class: str = ""
    error_code: str = ""
    cost_nano_usd: int = 0
    usage: Usage | None = None


class SpendEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call used, what it cost and whom it belongs to.

    Text that does not apply is '' (never NULL, so that it can be part of a key). Times are UTC; `started_at` is the
    time inside `event_id`, to the millisecond. Money is integer nano-USD. No text holds a NUL character. The event's
    number (producer and sequence number) is not part of it: the journal gives it by position.

    An intent, written before the upstream is called, is the event as it should read if nothing more is ever heard of
    the call: status `interrupted`, usage and cost estimated from the input alone.
    """

    event_id: str
    call_type: str
    endpoint: str
    status: Status
    started_at: datetime
    ended_at: datetime
    first_token_at: datetime | None = None
    error_code: str = ""
    error_class: str = ""
    error_message: str = ""
    key_hash: str = ""
    key_alias: str = ""
    user_id: str = ""
    team_id: str = ""
    organization_id: str = ""
    end_user_id: str = ""
    tags: tuple[str, ...] = ()
    session_id: str = ""
    model_group: str = ""
    model: str = ""
    deployment_id: str = ""
    provider: str = ""
    api_base: str = ""
    tool: str = ""
    attempts: tuple[Attempt, ...] = ()
    cache_hit: bool = False
    usage: Usage = Usage()
    usage_source: UsageSource = "none"
    cost_nano_usd: int = 0
    cost_status: CostStatus = "free"
    cost_breakdown: Mapping[str, int] = {}
    price_version: str = ""
    provider_response_id: str = ""
    requester_ip: str = ""
    user_agent: str = ""
    metadata: dict[str, Any] = {}  # Any: the caller's own JSON object, sanitized and size-capped.
    body_ref: str = ""

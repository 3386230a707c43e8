"""The events that the benches are made of: many keys, teams and end users, few models."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from tallystick.ledger.event import SpendEvent
from tallystick.runtime.ids import new_event_id, truncate_to_millisecond
from tallystick.wire.usage import Usage

KEYS = 1_000
TEAMS = 200
USERS = 500
END_USERS = 10_000
TAGS = 50
MODELS = ("gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-flash")
PROVIDERS = ("openai", "anthropic", "gemini")


class Workload:
    """Draws events. A key belongs to one team and one user, as keys do; model, end user and tags are drawn freely."""

    def __init__(self, *, seed: int = 7) -> None:
        self._random = random.Random(seed)
        self.now = truncate_to_millisecond(datetime.now(UTC))

    def events(self, count: int) -> list[SpendEvent]:
        return [self._event() for _ in range(count)]

    def scopes(self) -> list[tuple[str, str]]:
        """Return types and ids of the scopes of budgets that the events have, those of most events first."""
        return [
            ("global", ""),
            ("organization", "acme"),
            *(("team", f"team-{team}") for team in range(TEAMS)),
            *(("user", f"user-{user}") for user in range(USERS)),
            *(("key", _hash_of(key)) for key in range(KEYS)),
        ]

    def _event(self) -> SpendEvent:
        draw = self._random
        key = draw.randrange(KEYS)
        model = draw.randrange(len(MODELS))
        input_tokens = draw.randrange(20, 4_000)
        output_tokens = draw.randrange(1, 900)
        return SpendEvent(
            event_id=new_event_id(self.now),
            call_type="chat",
            endpoint="/v1/chat/completions",
            status="success",
            started_at=self.now,
            first_token_at=self.now + timedelta(milliseconds=draw.randrange(100, 900)),
            ended_at=self.now + timedelta(milliseconds=draw.randrange(900, 9_000)),
            key_hash=_hash_of(key),
            key_alias=f"service-{key}",
            user_id=f"user-{key % USERS}",
            team_id=f"team-{key % TEAMS}",
            organization_id="acme",
            end_user_id=f"customer-{draw.randrange(END_USERS)}",
            tags=(f"feature-{draw.randrange(TAGS)}", f"cost-centre-{draw.randrange(TAGS)}"),
            model_group=MODELS[model],
            model=MODELS[model],
            deployment_id=f"{MODELS[model]}-1",
            provider=PROVIDERS[model],
            api_base=f"https://api.{PROVIDERS[model]}.example/v1",
            usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=input_tokens // 2),
            usage_source="provider",
            cost_nano_usd=input_tokens * 250 + output_tokens * 2_000,
            cost_status="priced",
            cost_breakdown={"input_tokens": input_tokens * 250, "output_tokens": output_tokens * 2_000},
            price_version="2026-11-01",
            provider_response_id=f"chatcmpl-{draw.getrandbits(120):030x}",
            requester_ip="10.0.0.1",
            user_agent="OpenAI/Python 2.54.0",
        )


def _hash_of(key: int) -> str:
    return f"{key * 2654435761 % 2**32:08x}" * 8

"""Settings of budgets: those of the file itself, when their windows begin, and how they are held."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, time, tzinfo
from decimal import Decimal
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from tallystick.config.places import Given
from tallystick.config.record import Count, Frozen, PositiveCount, Seconds

_DURATION: Final = r"([1-9][0-9]{0,7}s|[1-9][0-9]{0,4}[mh]|[1-9][0-9]{0,3}d|[1-9][0-9]{0,2}(w|mo))"
_TIME: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_MINUTES_A_DAY: Final = 1_440
_SECONDS_A_DAY: Final = 86_400
_USD_MAX: Final = 1_000_000_000


def _duration(text: str) -> str:
    if text and re.fullmatch(_DURATION, text) is None:
        raise ValueError("it must be a number and a unit (s, m, h, d, w, mo), such as 24h, 7d, 30d or 1mo")
    return text


def _zone_name(name: str) -> str:
    try:
        zone_of(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            "it must be the name of a time zone such as UTC or Europe/Berlin, and this machine must know it: "
            "where there is no /usr/share/zoneinfo, install tzdata"
        ) from None
    return name


def _time_of_day(value: object) -> object:
    """Read `HH:MM`. YAML takes what is not quoted for a number of minutes (12:00) or of seconds (12:00:00)."""
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value * 60 if value < _MINUTES_A_DAY else value
        if 0 <= seconds < _SECONDS_A_DAY:
            return time(seconds // 3600, seconds // 60 % 60, seconds % 60)
    if isinstance(value, str) and (match := _TIME.fullmatch(value.strip())):
        return time(int(match[1]), int(match[2]), int(match[3] or 0))
    if isinstance(value, time):
        return value
    raise ValueError("it must be a time of day from 00:00 to 23:59, as in '12:00'")


def zone_of(name: str) -> tzinfo:
    """Return the time zone of this name."""
    return UTC if name == "UTC" else ZoneInfo(name)


USD = Annotated[Decimal, Field(ge=0, le=_USD_MAX, decimal_places=9)]
Duration = Annotated[str, AfterValidator(_duration)]


class ProviderBudget(Frozen):
    """What may be spent at one provider in a window."""

    budget_limit: Annotated[USD, Field(validation_alias=AliasChoices("budget_limit", "max_budget"))]
    time_period: Annotated[Duration, Field(validation_alias=AliasChoices("time_period", "budget_duration"))] = ""


class BudgetSettings(Frozen):
    """Budgets of the file, and how all budgets are held."""

    max_budget: Annotated[
        USD | None,
        Given(
            name="max_budget",
            description="USD that all calls together may cost in a window of `budget_duration`. 0 does not limit.",
            file=("litellm_settings.max_budget",),
        ),
    ] = None
    duration: Annotated[
        Duration,
        Given(
            name="budget_duration",
            description="Length of the window of `max_budget`: 24h, 7d, 30d, 1mo. None: it never resets.",
            file=("litellm_settings.budget_duration",),
        ),
    ] = ""
    max_end_user_budget: Annotated[
        USD | None,
        Given(
            name="max_end_user_budget",
            description="USD that each end user may cost who has no budget of its own, also one never seen before. It "
            "never resets; `max_end_user_budget_id` goes before it.",
            file=("litellm_settings.max_end_user_budget",),
        ),
    ] = None
    max_end_user_budget_id: Annotated[
        str | None,
        Field(min_length=1, max_length=256),
        Given(
            name="max_end_user_budget_id",
            description="The budget, made with `/budget/new`, of each end user who has none of its own, also of one "
            "never seen before. Each spends it for itself.",
            file=("litellm_settings.max_end_user_budget_id",),
        ),
    ] = None
    max_budget_per_session: Annotated[
        USD | None,
        Given(
            name="max_budget_per_session",
            description="USD that each session of a key may cost. `max_budget_per_session` in the metadata of the key "
            "or of its team goes before it.",
        ),
    ] = None
    provider_budgets: Annotated[
        Mapping[str, ProviderBudget],
        Given(
            name="provider_budget_config",
            description="Budget by provider: `{openai: {budget_limit: 100, time_period: 1d}}`.",
            file=("router_settings.provider_budget_config",),
            in_environment=False,
        ),
    ] = Field(default_factory=dict)
    zone_name: Annotated[
        str,
        AfterValidator(_zone_name),
        Given(
            name="budget_timezone",
            description="The time zone in which days, weeks and months of budgets begin, by its IANA name.",
            file=("litellm_settings.timezone",),
        ),
    ] = "UTC"
    reset_time: Annotated[
        time,
        BeforeValidator(_time_of_day),
        Given(
            name="budget_reset_time",
            description="The time of day, `HH:MM`, at which days, weeks and months of budgets begin.",
            file=("litellm_settings.budget_reset_time",),
        ),
    ] = time()
    rollover: Annotated[
        bool,
        Given(
            name="budget_rollover",
            description="Whether what was spent above the limit of a window counts in the next one too.",
            file=("litellm_settings.budget_rollover",),
        ),
    ] = False
    applies_user_budget_to_team_keys: Annotated[
        bool,
        Given(
            name="apply_user_budget_to_team_keys",
            description="Whether a user's budget holds for all of its calls. Without it, it holds for those by keys "
            "without a team.",
        ),
    ] = False
    unknown_price: Annotated[
        Literal["allow", "deny"],
        Given(
            name="budget_unknown_price",
            description="What happens to calls whose price is unknown: `allow` makes them, and their event says "
            "`unpriced`; `deny` refuses them.",
        ),
    ] = "allow"
    blocks_unpriced_models: Annotated[
        bool,
        Given(
            name="block_requests_for_models_without_pricing",
            description="The same as `budget_unknown_price: deny`.",
            file=("litellm_settings.block_requests_for_models_without_pricing",),
        ),
    ] = False
    exceeded_status_code: Annotated[
        int,
        Field(ge=400, le=499),
        Given(
            name="budget_exceeded_status_code",
            description="HTTP status of the answer to a call that a budget has no room for.",
        ),
    ] = 422
    is_fail_closed: Annotated[
        bool,
        Given(
            name="fail_closed_budget_enforcement",
            description="Whether calls get 503 when the database is away and it can't be told if their end user, tag "
            "or user has a budget of its own. Without it, they are taken to have none.",
        ),
    ] = False
    database_away: Annotated[
        Literal["deny", "allow"],
        Given(
            name="budget_database_away",
            description="When the database is away and what was leased of a budget is used up: `deny` answers 503, "
            "`allow` goes on without it.",
        ),
    ] = "deny"
    lease_seconds: Annotated[
        Seconds,
        Given(
            name="budget_lease_seconds",
            description="How long an instance that has died keeps what it had leased of a budget.",
        ),
    ] = 60.0
    idle_seconds: Annotated[
        Seconds,
        Given(name="budget_idle_seconds", description="After so long without calls, a lease is given back."),
    ] = 5.0
    wait_seconds: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)],
        Given(
            name="budget_wait_seconds",
            description="Longest wait of a call for room in a budget that others have leased or hold.",
        ),
    ] = 2.0
    waiting_max: Annotated[
        Count,
        Given(
            name="budget_waiting_max",
            description="Most calls of one worker that wait for room in a budget; further ones are refused at once.",
        ),
    ] = 1000
    lease_share: Annotated[
        PositiveCount,
        Given(
            name="budget_lease_share",
            description="An instance leases at most this part of what is left of a budget: 8 is an eighth.",
        ),
    ] = 8
    output_tokens_default: Annotated[
        PositiveCount,
        Given(
            name="budget_output_tokens_default",
            description="Output tokens that a call is taken to use at most when neither it nor its model says.",
        ),
    ] = 4096
    windows_keep_days: Annotated[
        PositiveCount,
        Given(name="budget_windows_keep_days", description="How long the sums of windows are kept that have ended."),
    ] = 35

    @property
    def zone(self) -> tzinfo:
        """Where days begin."""
        return zone_of(self.zone_name)

    @model_validator(mode="after")
    def _check_lease(self) -> BudgetSettings:
        if self.idle_seconds >= self.lease_seconds:
            raise ValueError("budget_idle_seconds must be less than budget_lease_seconds")
        return self

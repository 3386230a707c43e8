"""What is said of a budget that fills up: to machines in the shape of LiteLLM's webhook, to people as a text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from tallystick.access.scopes import LIFETIME_END, Window
from tallystick.pricing.money import format_usd
from tallystick.pricing.price import NANO_USD_PER_USD

AlertEvent = Literal["threshold_crossed", "soft_budget_crossed", "budget_crossed"]

_GROUPS: Final[Mapping[str, str]] = {
    "user": "internal_user",
    "personal": "internal_user",
    "end_user": "customer",
    "global": "proxy",
}
"""LiteLLM's words for groups, where they are others than the scopes'."""
_SAID: Final[Mapping[str, str]] = {"end_user": "customer", "personal": "user", "global": "the gateway"}


class ScopeNames(msgspec.Struct, frozen=True, kw_only=True):
    """Who is meant by a scope, as far as it is known. '' is unknown."""

    key_hash: str = ""
    """The key's present one."""
    key_alias: str = ""
    user_id: str = ""
    user_email: str = ""
    team_id: str = ""
    team_alias: str = ""
    organization_id: str = ""


class BudgetAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One level of one window that was passed. Money is as admins see it: carried and corrected."""

    window: Window
    rank: int
    """Orders the levels of a window, see `budget_alerts`."""
    event: AlertEvent
    percent: int
    """The level; 0 for the soft limit."""
    spent_nano_usd: int
    limit_nano_usd: int | None
    soft_limit_nano_usd: int | None
    names: ScopeNames = ScopeNames()

    def webhook_body(self) -> bytes:
        """Return it as JSON, with the fields of LiteLLM's webhook and a few of ours."""
        scope, names = self.window.scope, self.names
        is_customer = scope.type == "end_user"
        body: dict[str, Any] = {  # Any: JSON.
            "spend": _usd(self.spent_nano_usd),
            "max_budget": _usd(self.limit_nano_usd),
            "soft_budget": _usd(self.soft_limit_nano_usd),
            "token": names.key_hash or None,
            "customer_id": scope.id if is_customer else None,
            "user_id": names.user_id or None,
            "team_id": names.team_id or None,
            "team_alias": names.team_alias or None,
            "organization_id": names.organization_id or None,
            "user_email": names.user_email or None,
            "key_alias": names.key_alias or None,
            "projected_exceeded_date": None,
            "projected_spend": None,
            "event": self.event,
            "event_group": _GROUPS.get(scope.type, scope.type),
            "event_message": self.message(),
            "alert_id": self.alert_id(),
            "scope_type": scope.type,
            "scope_id": names.key_hash or scope.id if scope.type == "key" else scope.id,
            "model": scope.model or None,
            "threshold_percent": self.percent or None,
            "budget_reset_at": None if self._never_resets else self.window.ends_at.isoformat(),
        }
        return msgspec.json.encode(body)

    def slack_body(self) -> bytes:
        """Return it as a message of a Slack webhook; names can't make links or call people."""
        text = self.message().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return msgspec.json.encode({"text": text})

    def message(self) -> str:
        """Return it for people."""
        match self.event:
            case "budget_crossed":
                what = "Budget Crossed"
            case "soft_budget_crossed":
                what = "Soft Budget Crossed"
            case "threshold_crossed":
                what = f"{self.percent}% Threshold Crossed"
        bound = self.soft_limit_nano_usd if self.event == "soft_budget_crossed" else self.limit_nano_usd
        spent = format_usd(self.spent_nano_usd, decimals_min=2)
        of = "" if bound is None else f" of {format_usd(bound, decimals_min=2)}"
        resets = "" if self._never_resets else f"; resets {_moment(self.window.ends_at)}"
        group = self.window.scope.type.replace("_", " ").title()
        return f"{group} Budget: {what}. {self._who()} has spent {spent}{of}{resets}."

    def alert_id(self) -> str:
        """Return an id that is the same whenever this is sent, so that receivers can tell what they have already."""
        window = self.window
        parts = (*window.scope, window.starts_at.isoformat(), window.ends_at.isoformat(), str(self.rank))
        return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _who(self) -> str:
        scope, names = self.window.scope, self.names
        if scope.type == "key":
            name = names.key_alias or f"{(names.key_hash or scope.id)[:12]}…"
        elif scope.type in ("team", "team_member"):
            name = names.team_alias or scope.id
        else:
            name = scope.id
        said = _SAID.get(scope.type, scope.type)
        if scope.type in ("team_member", "organization_member"):
            who = f"User '{scope.member_id}' in {said.removesuffix('_member')} '{name}'"
        else:
            who = said.capitalize() if scope.type == "global" else f"{said.capitalize()} '{name}'"
        return f"{who} with model '{scope.model}'" if scope.model else who

    @property
    def _never_resets(self) -> bool:
        return self.window.ends_at == LIFETIME_END


def _usd(nano_usd: int | None) -> float | None:
    return None if nano_usd is None else nano_usd / NANO_USD_PER_USD


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")

"""In which budget scopes an event counts: the other side of `access.scopes`, from the event alone."""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.ledger.event import SpendEvent

ScopeKey = tuple[str, str, str]
"""Scope type, id and member id. The event counts there under no model ('') and under its own model group."""


def scopes_of(event: SpendEvent) -> Iterator[ScopeKey]:
    """Name each scope that an event counts in, once; what the event does not have ('') gives none."""
    yield "global", "", ""
    key, user, team, organization = event.key_hash, event.user_id, event.team_id, event.organization_id
    if key:
        yield "key", key, ""
        if event.session_id:
            yield "session", event.session_id, key
    if user:
        yield "user", user, ""
        if not team:
            yield "personal", user, ""
    if team:
        yield "team", team, ""
        if user:
            yield "team_member", team, user
    if organization:
        yield "organization", organization, ""
        if user:
            yield "organization_member", organization, user
    if event.provider:
        yield "provider", event.provider, ""
    if event.end_user_id:
        yield "end_user", event.end_user_id, ""
    for tag in dict.fromkeys(event.tags):
        yield "tag", tag, ""

"""What the admin API needs, of the services of this process."""

from __future__ import annotations

from tallystick.access.scopes import Budget, Scope
from tallystick.admin.services import AdminServices
from tallystick.bootstrap import Services
from tallystick.pricing.money import nano_usd_from_usd
from tallystick.runtime.ids import new_event_id


def admin_services_of(services: Services) -> AdminServices:
    """Return the part of the services with which the admin API works."""
    settings = services.settings
    header_name = settings.attribution.litellm_key_header_name
    return AdminServices(
        authenticator=services.authenticator,
        control=services.store.control,
        writer=services.writer,
        snapshots=services.snapshots,
        ledger_reader=services.store.reader,
        budgets=services.store.budgets,
        clock=services.clock,
        metrics=services.metrics,
        new_id=lambda: new_event_id(services.clock.now()),
        cache=None if services.caching.cache is None else services.caching.cache.store,
        cache_type=services.caching.kind,
        checker=services.health_checks.checker if services.health_checks else None,
        key_header=header_name.lower().encode() if header_name else None,
        body_bytes_max=settings.server.body_bytes_max,
        windows=services.windows,
        callbacks=services.callback_lists,
        request_timeout_seconds=settings.upstream.timeout_seconds,
        customer_budget_id=settings.budgets.max_end_user_budget_id or "",
        provider_budgets={
            name: Budget(
                scope=Scope("provider", name),
                limit_nano_usd=nano_usd_from_usd(each.budget_limit),
                duration=each.time_period,
            )
            for name, each in settings.budgets.provider_budgets.items()
        },
        user_budget_holds_in_teams=settings.budgets.applies_user_budget_to_team_keys,
    )

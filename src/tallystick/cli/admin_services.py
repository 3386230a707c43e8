"""What the admin API needs, of the services of this process."""

from __future__ import annotations

from tallystick.admin.services import AdminServices
from tallystick.bootstrap import Services
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
        clock=services.clock,
        metrics=services.metrics,
        new_id=lambda: new_event_id(services.clock.now()),
        key_header=header_name.lower().encode() if header_name else None,
        body_bytes_max=settings.server.body_bytes_max,
        windows=services.windows,
    )

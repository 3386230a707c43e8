"""The control plane over HTTP: virtual keys, and what the ledger says. `app.create_admin_app` builds it."""

from __future__ import annotations

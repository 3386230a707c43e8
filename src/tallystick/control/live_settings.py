"""Settings that may be changed while the gateway runs: which there are, and what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tallystick.config.accounting_settings import CostSettings


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force at a revision: the file's, and the database's where the file has none."""

    costs: CostSettings = CostSettings()
    num_retries: int = 2
    """Further tries of a call after one that failed in a way that may pass."""
    values: Mapping[str, Any] = {}  # Any: JSON.
    """Other settings that are stored, by their whole name, as in `litellm_settings.default_team_params`."""

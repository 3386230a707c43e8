"""The model group of `--demo`: an echo that needs no account, with a price, so that there is something to see."""

from __future__ import annotations

from tallystick.config.model_list import ModelEntry
from tallystick.config.settings import Settings

DEMO_GROUP = "demo"


def with_demo_group(settings: Settings) -> Settings:
    """Return the settings with the demo model group, unless the file has a group of that name."""
    if any(entry.model_name == DEMO_GROUP for entry in settings.model_list):
        return settings
    entry = ModelEntry.model_validate(
        {
            "model_name": DEMO_GROUP,
            "litellm_params": {
                "model": "demo/echo",
                "input_cost_per_token": "0.0000025",
                "output_cost_per_token": "0.00001",
            },
            "model_info": {"id": "demo"},
        }
    )
    return settings.model_copy(update={"model_list": (*settings.model_list, entry)})

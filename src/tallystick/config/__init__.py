"""Settings: the only reader of the environment and of the YAML file."""

from __future__ import annotations

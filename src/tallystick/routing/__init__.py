"""From a model name to the deployments to try, in order."""

from __future__ import annotations

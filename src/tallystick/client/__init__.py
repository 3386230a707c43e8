"""The SDK: calls that are recorded in a database of one's own, without a gateway. `tallystick` names what is public."""

from __future__ import annotations

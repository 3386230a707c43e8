"""The moment of an answer, and which budget windows run then."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from tallystick.access.windows import WindowRule


class Present(NamedTuple):
    """Now, as answers show it."""

    moment: datetime
    windows: WindowRule

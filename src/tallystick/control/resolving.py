"""What resolving a deployment may end with."""

from __future__ import annotations


class CannotServe(ValueError):
    """A deployment can't be called as it is written; `field` is what to mend, and nothing secret is said."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field

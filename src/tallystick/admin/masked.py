"""Specs as they may be shown: with `****` for each secret."""

from __future__ import annotations

from typing import TypeVar

from tallystick.control.objects import ControlObject, spec_as
from tallystick.control.secret_fields import masked

SpecT = TypeVar("SpecT")


def shown_spec(of: type[SpecT], held: ControlObject) -> SpecT:
    """Return the spec of an object as its type, secrets masked."""
    return spec_as(of, masked(held.kind, held.object_id, held.spec))

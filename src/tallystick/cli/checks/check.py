"""A check: what was looked at, how it is, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import structlog

from tallystick.errors import TallystickError
from tallystick.runtime.masking import mask_text

log = structlog.get_logger()

State = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's. `mend` says what to do; it is empty where nothing needs to be done."""

    name: str
    state: State
    found: str
    mend: str = ""


def guarded(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """Return what `look` found; when it fails itself, that is the finding."""
    try:
        return list(look())
    except TallystickError as error:
        return [Check(name=name, state="bad", found=mask_text(error.message), mend="Do what the message says.")]
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        return [
            Check(
                name=name,
                state="bad",
                found=f"{error.strerror or error}{place}",
                mend="Run this as the user that runs the server; check the path, its owner and the disk.",
            )
        ]
    except Exception as error:
        log.debug("check_failed", check=name, exc_info=True)
        return [
            Check(
                name=name,
                state="bad",
                found=f"this check failed: {type(error).__name__}: {mask_text(str(error))}",
                mend="This is a defect of tallystick: please report it.",
            )
        ]

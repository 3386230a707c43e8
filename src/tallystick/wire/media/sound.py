"""How long sound lasts, from its bytes: exactly for WAV, by a rate that is rather too low for others."""

from __future__ import annotations

from typing import Final

_BYTES_PER_SECOND: Final = 4_000
"""Speech in the common compressed formats has more: so this is rather too long than too short."""
_BYTES_PER_SECOND_MAX: Final = 400_000
"""More than four channels of 48 kHz: such a head is not to be believed."""
_RATE_AT: Final = 28
_WAV_HEAD_BYTES: Final = 44


def sound_milliseconds(sound: memoryview) -> int:
    """Return how long a file lasts, about."""
    if len(sound) > _WAV_HEAD_BYTES and bytes(sound[:4]) == b"RIFF" and bytes(sound[8:16]) == b"WAVEfmt ":
        rate = int.from_bytes(sound[_RATE_AT : _RATE_AT + 4], "little")
        if 0 < rate <= _BYTES_PER_SECOND_MAX:
            return max(1, (len(sound) - _WAV_HEAD_BYTES) * 1000 // rate)
    return max(1, len(sound) * 1000 // _BYTES_PER_SECOND)

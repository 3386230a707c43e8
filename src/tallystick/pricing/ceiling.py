"""The most that a call may cost, before it is made: its bounds on tokens times the dearest rate that may apply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallystick.pricing.cost import rate_in_force
from tallystick.pricing.price import UNITS_PER_PRICE, PriceSheet
from tallystick.wire.usage import Usage

_PPM: Final = 1_000_000
_MILLISECONDS_PER_HOUR: Final = 3_600_000
_INPUT: Final[tuple[str, ...]] = ("input", "image_input")
_CACHED_INPUT: Final[tuple[str, ...]] = ("cache_write", "cache_write_1h")
_COUNTED: Final[tuple[str, ...]] = ("images", "pixels", "characters", "searches")
_NOTHING: Final = Usage()
_OUTPUT: Final[tuple[str, ...]] = ("output", "reasoning", "image_output")
_ALL_OUTPUT: Final = frozenset((*_OUTPUT, "audio_output"))


def cost_ceiling(
    sheet: PriceSheet,
    *,
    input_tokens: int,
    output_tokens: int,
    writes_cache: bool = False,
    has_audio: bool = False,
    milliseconds: int = 0,
    units: Usage = _NOTHING,
) -> int:
    """Return the most, in nano-USD, that a call with so many tokens and of this length costs, rounded up.

    Parts of the input or the output may have rates of their own: the dearest counts for all. `units` are images,
    pixels, characters and searches, where the request tells them; others can't be known before the call.
    """
    inputs, outputs = _INPUT, _OUTPUT
    if writes_cache:
        inputs += _CACHED_INPUT
    if has_audio:
        inputs += ("audio_input",)
        outputs += ("audio_output",)
    exact = (
        input_tokens * _dearest(sheet, inputs, input_tokens)
        + output_tokens * _dearest(sheet, outputs, input_tokens)
        + _dearest(sheet, ("requests",), input_tokens)
    )
    if units != _NOTHING:
        exact += sum((getattr(units, unit) or 0) * _dearest(sheet, (unit,), input_tokens) for unit in _COUNTED)
    if milliseconds:
        exact -= -milliseconds * _dearest(sheet, ("hours",), input_tokens) // _MILLISECONDS_PER_HOUR
    if sheet.discount_ppm or sheet.margin_ppm:
        exact = -(-exact * (_PPM - sheet.discount_ppm) * (_PPM + sheet.margin_ppm) // _PPM**2)
    return -(-exact // UNITS_PER_PRICE) + sheet.margin_fixed_nano_usd


def is_free(sheet: PriceSheet) -> bool:
    """Return whether a call costs nothing, whatever it uses."""
    return not sheet.margin_fixed_nano_usd and not any(
        rate.nano_usd_per_million or any(tier.nano_usd_per_million for tier in rate.tiers)
        for rate in sheet.rates.values()
    )


def charges_output(sheets: Iterable[PriceSheet]) -> bool:
    """Return whether any of them charges for what is generated, the length of which nobody knows before."""
    return any(not _ALL_OUTPUT.isdisjoint(sheet.rates) for sheet in sheets)


def _dearest(sheet: PriceSheet, units: tuple[str, ...], input_tokens: int) -> int:
    rates = sheet.rates
    return max((rate_in_force(rates[unit], input_tokens) for unit in units if unit in rates), default=0)

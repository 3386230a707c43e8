"""The cost of one call: its usage times a price sheet, in integers, rounded once.

    billed quantities ── times rates ──> sum ── minus discount ──> ── plus margin ──> one half-even rounding ──> Cost

Units form two trees, because providers count parts inside wholes: cached, cache-writing, audio and image tokens are
part of the input; reasoning, audio and image tokens are part of the output. A part that has a rate of its own is taken
out of its whole and priced apart; a part without one stays in its whole and so costs what the whole costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from tallystick.pricing.price import UNITS_PER_PRICE, Cost, PriceSheet, Rate
from tallystick.wire.usage import Usage

_PPM = 1_000_000
_MILLISECONDS_PER_HOUR = 3_600_000
_SCALE = UNITS_PER_PRICE * _MILLISECONDS_PER_HOUR
"""How many of the smallest parts make a nano-USD: the common denominator of every quantity times rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One kind of thing that has a price. `parent` is the unit whose quantity contains this one's."""

    name: str
    counted: str
    """The field of Usage that holds its quantity; '' for the request itself."""
    parent: str = ""
    quantity_per_unit: int = 1
    """How many of the counted quantity make one unit: 3,600,000 milliseconds make an hour."""


_NOTHING = Usage()
_REQUESTS = "requests"


UNITS: Mapping[str, Unit] = {
    unit.name: unit
    for unit in (
        # Parts come before their wholes: billed_quantities walks upwards.
        Unit(name="cache_write_1h", counted="cache_write_1h_tokens", parent="cache_write"),
        Unit(name="cache_write", counted="cache_write_tokens", parent="input"),
        Unit(name="audio_cache_read", counted="audio_cache_read_tokens", parent="cache_read"),
        Unit(name="cache_read", counted="cache_read_tokens", parent="input"),
        Unit(name="audio_input", counted="audio_input_tokens", parent="input"),
        Unit(name="image_input", counted="image_input_tokens", parent="input"),
        Unit(name="input", counted="input_tokens"),
        Unit(name="reasoning", counted="reasoning_tokens", parent="output"),
        Unit(name="audio_output", counted="audio_output_tokens", parent="output"),
        Unit(name="image_output", counted="image_output_tokens", parent="output"),
        Unit(name="output", counted="output_tokens"),
        Unit(name="images", counted="images"),
        Unit(name="pixels", counted="pixels"),
        Unit(name="characters", counted="characters"),
        # Hours, not seconds: prices per hour, minute and second are all whole numbers per hour.
        Unit(name="hours", counted="milliseconds", quantity_per_unit=_MILLISECONDS_PER_HOUR),
        Unit(name="searches", counted="searches"),
        Unit(name="file_searches", counted="file_searches"),
        Unit(name="code_sessions", counted="code_sessions"),
        Unit(name=_REQUESTS, counted=""),
    )
}

_WALK = tuple((unit.name, unit.parent) for unit in UNITS.values() if unit.counted)
_counted = attrgetter(*(unit.counted for unit in UNITS.values() if unit.counted))
"""Returns the quantities of a Usage in the order of `_WALK`; in one step, as this is half of what pricing costs."""

_SCALE_PER_QUANTITY: Mapping[str, int] = {
    # A rate is per million units, so quantity times rate is this many of the smallest parts of a nano-USD.
    name: _MILLISECONDS_PER_HOUR // unit.quantity_per_unit
    for name, unit in UNITS.items()
}


def price_usage(usage: Usage, sheet: PriceSheet | None, *, reported_nano_usd: int | None = None) -> Cost:
    """Price one call.

    A cost reported by the upstream wins and is taken as it is, without discount and margin. Without a sheet, or when
    the sheet has no rate for anything that was used, the cost is 0 and `unpriced`. When every rate is 0, it is `free`.
    """
    if reported_nano_usd is not None and reported_nano_usd >= 0:
        return Cost(
            nano_usd=reported_nano_usd,
            status="reported",
            breakdown={"reported": reported_nano_usd} if reported_nano_usd else {},
            price_version="reported",
        )
    if sheet is None:
        return Cost(nano_usd=0, status="unpriced")
    quantities = billed_quantities(usage, sheet.rates)
    if not sheet.rates or (not quantities and _has_quantity(usage)):
        return Cost(nano_usd=0, status="unpriced", price_version=sheet.version)
    input_tokens, rates = usage.input_tokens or 0, sheet.rates
    breakdown = _break_down(
        {
            name: quantity * rate_in_force(rates[name], input_tokens) * _SCALE_PER_QUANTITY[name]
            for name, quantity in quantities.items()
        },
        sheet,
    )
    nano_usd = sum(breakdown.values())
    is_free = nano_usd == 0 and not any(_has_price(rate) for rate in sheet.rates.values())
    return Cost(
        nano_usd=nano_usd,
        status="free" if is_free else "priced",
        breakdown=breakdown,
        price_version=sheet.version,
    )


def billed_quantities(usage: Usage, rates: Mapping[str, Rate]) -> dict[str, int]:
    """Split the usage among the units that have a rate, so that nothing is billed twice. No quantity is negative.

    A provider may report parts that overlap (cached audio) or exceed their whole; then the whole is billed as 0 rather
    than less than 0.
    """
    inside: dict[str, int] = {}
    billed: dict[str, int] = {}
    for (name, parent), quantity in zip(_WALK, _counted(usage), strict=True):
        if not quantity and (not inside or name not in inside):
            continue
        parts = inside.get(name, 0)
        quantity = quantity or 0
        if name in rates and quantity > parts:
            billed[name] = quantity - parts
            parts = quantity
        if parent:
            inside[parent] = inside.get(parent, 0) + parts
    if _REQUESTS in rates and usage != _NOTHING:  # A call that failed before it used anything is not charged as one.
        billed[_REQUESTS] = 1
    return billed


def rate_in_force(rate: Rate, input_tokens: int) -> int:
    """Choose the highest tier that the whole prompt exceeds; it holds for the whole call."""
    nano_usd_per_million = rate.nano_usd_per_million
    if not rate.tiers:
        return nano_usd_per_million
    for tier in rate.tiers:
        if input_tokens > tier.above_input_tokens:
            nano_usd_per_million = tier.nano_usd_per_million
    return nano_usd_per_million


def _break_down(parts: Mapping[str, int], sheet: PriceSheet) -> dict[str, int]:
    """Round the sum once and lay it out by unit, so that the lines add up to it exactly.

    `parts` are the exact amounts in the smallest parts of a nano-USD. The total is the exact amount after discount and
    margin, rounded half-even. The lines differ from their exact amounts by less than a nano-USD each, but for the
    largest unit, which takes what the rounding of the others leaves over.
    """
    if not parts:
        return {}
    exact = sum(parts.values())
    if not (sheet.discount_ppm or sheet.margin_ppm or sheet.margin_fixed_nano_usd):
        total_nano_usd = _divide_half_even(exact, _SCALE)
        if len(parts) == 1:
            return dict.fromkeys(parts, total_nano_usd) if total_nano_usd else {}
        lines = {name: part // _SCALE for name, part in parts.items()}
        lines[max(parts, key=parts.__getitem__)] += total_nano_usd - sum(lines.values())
        return {name: nano_usd for name, nano_usd in lines.items() if nano_usd}
    discounted = exact * (_PPM - sheet.discount_ppm)
    with_margin = discounted * (_PPM + sheet.margin_ppm)
    list_nano_usd = _divide_half_even(exact, _SCALE)
    discounted_nano_usd = _divide_half_even(discounted, _SCALE * _PPM)
    total_nano_usd = _divide_half_even(with_margin, _SCALE * _PPM * _PPM) + sheet.margin_fixed_nano_usd
    lines = {name: part // _SCALE for name, part in parts.items()}
    lines[max(parts, key=lambda name: parts[name])] += list_nano_usd - sum(lines.values())
    lines["discount"] = discounted_nano_usd - list_nano_usd
    lines["margin"] = total_nano_usd - discounted_nano_usd
    assert sum(lines.values()) == total_nano_usd
    return {name: nano_usd for name, nano_usd in lines.items() if nano_usd}


def _divide_half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient % 2):
        return quotient + 1
    return quotient


def _has_quantity(usage: Usage) -> bool:
    return any(msgspec.structs.astuple(usage))


def _has_price(rate: Rate) -> bool:
    return bool(rate.nano_usd_per_million) or any(tier.nano_usd_per_million for tier in rate.tiers)

"""Money as integers: text, Decimals and JSON numbers in, nano-USD out, and back to text for people.

This module is the border that floats do not pass: a number that came as a float (YAML and JSON know no other) is read
by its shortest text, which is what its writer wrote.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation

from tallystick.pricing.price import NANO_USD_PER_USD, UNITS_PER_PRICE

# 60 digits hold the product of any 64-bit count and any price without rounding.
_CONTEXT = Context(prec=60, traps=[InvalidOperation])
_EXACT_CONTEXT = Context(prec=60, traps=[InvalidOperation, Inexact])


def to_decimal(number: str | int | float | Decimal) -> Decimal:  # noqa: PYI041 - int is named because bool is refused.
    """Read a number exactly as it was written. Raises ValueError for what is not a finite number."""
    if isinstance(number, bool):
        msg = "a truth value is not a number"
        raise ValueError(msg)  # noqa: TRY004 - a wrong value of a setting or an answer, not a wrong call.
    text = repr(number) if isinstance(number, float) else number
    try:
        value = _CONTEXT.create_decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{number!r} is not a number") from error
    if not value.is_finite():
        raise ValueError(f"{number!r} is not a finite number")
    return value


def nano_usd_from_usd(usd: str | int | Decimal) -> int:
    """Turn dollars into nano-USD exactly. Raises ValueError where a fraction of a nano-USD would be lost."""
    try:
        nano_usd = _EXACT_CONTEXT.multiply(to_decimal(usd), Decimal(NANO_USD_PER_USD))
        return int(nano_usd.to_integral_exact(context=_EXACT_CONTEXT))
    except Inexact as error:
        raise ValueError(f"{usd} USD is finer than a nano-USD") from error


def round_usd_to_nano(usd: str | int | float | Decimal) -> int:  # noqa: PYI041 - see to_decimal.
    """Turn dollars into nano-USD, half-even: for costs that an upstream reports with more digits than we keep."""
    return _to_int(_CONTEXT.multiply(to_decimal(usd), Decimal(NANO_USD_PER_USD)))


def nano_usd_per_million(usd_per_unit: Decimal) -> int:
    """Turn a price per unit (token, hour, image …) into nano-USD per million units.

    Finer than 10⁻¹⁵ $ per unit it is rounded half-even, which only happens to prices that some list keeps as floats.
    """
    return _to_int(_CONTEXT.multiply(usd_per_unit, Decimal(NANO_USD_PER_USD * UNITS_PER_PRICE)))


def parts_per_million(fraction: Decimal) -> int:
    """Turn a fraction such as 0.05 into parts per million. Raises ValueError when it is finer than that."""
    try:
        return int(_EXACT_CONTEXT.multiply(fraction, Decimal(1_000_000)).to_integral_exact(context=_EXACT_CONTEXT))
    except Inexact as error:
        raise ValueError(f"{fraction} has more than six decimals") from error


def format_usd(nano_usd: int, *, decimals_min: int = 6) -> str:
    """Show nano-USD as `$0.001234`: at least `decimals_min` decimals, and never fewer than it takes to be exact."""
    dollars, nano = divmod(abs(nano_usd), NANO_USD_PER_USD)
    digits = f"{nano:09d}"
    decimals = max(decimals_min, len(digits.rstrip("0")))
    sign = "-" if nano_usd < 0 else ""
    return f"{sign}${dollars:,}.{digits[:decimals]}" if decimals else f"{sign}${dollars:,}"


def _to_int(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN, context=_CONTEXT))

"""Prices as other shapes spell them → minor units."""

from decimal import ROUND_HALF_EVEN, Decimal

from shared.contracts.errors import Invalid

_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0),
    **dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Decimals of the currencies that do not have two (ISO 4217)."""
_MOST = 10**12


def cents(amount: float | str | None, currency: str | None, *, field: str) -> int | None:
    """Return `amount` in minor units of `currency` (two decimals if unknown), None for none.

    Raises
    ------
    Invalid
        Not a number, negative, or absurdly large.
    """
    if amount is None or amount == "":
        return None
    try:
        exact = Decimal(str(amount)).scaleb(_DIGITS.get(currency or "", 2))
    except ArithmeticError as error:
        raise Invalid(f"{amount!r} is not a number", field=field) from error
    if not exact.is_finite() or not 0 <= exact <= _MOST:
        raise Invalid(f"{amount!r} is not a price; send zero or more", field=field)
    return int(exact.to_integral_value(ROUND_HALF_EVEN))

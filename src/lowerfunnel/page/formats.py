"""Numbers as people read them."""

import math

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
"""Stands where there is no figure."""


def finite(value: float | None) -> float | None:
    """Return `value`, or None where it is missing, NaN or infinite: JSON and a reader have no use for these."""
    return None if value is None or not math.isfinite(value) else float(value)


def _decimals(value: float) -> int:
    """Decimals of a percentage: three significant digits for a small one, one decimal for the rest."""
    size = abs(value) * 100
    return 1 if size >= 1 or size == 0 else 2 if size >= 0.1 else 3


def percent(value: float) -> str:
    """0.2412 -> "24.1%", 0.00352 -> "0.35%"."""
    return f"{value * 100:.{_decimals(value)}f}%"


def interval(low: float, high: float, *, share: bool) -> str:
    """Return "22.3 to 25.9%"."""
    if not share:
        decimals = 3 if max(abs(low), abs(high)) >= 0.01 else 4
        return f"{low:.{decimals}f} to {high:.{decimals}f}"
    decimals = _decimals(max(abs(low), abs(high)))
    return f"{low * 100:.{decimals}f} to {high * 100:.{decimals}f}%"


def points(difference: float, *, share: bool) -> str:
    """Return the size of a difference: "4.0 points" of per cent for a share, else the number."""
    if not share:
        return f"{abs(difference):.4f}"
    size = abs(difference) * 100
    return f"{size:.{1 if size >= 1 else 2}f} points"


def signed_interval(low: float, high: float, *, share: bool) -> str:
    """Return the interval of a difference: "+15.8 to +18.1"."""
    if not share:
        return f"{low:+.4f} to {high:+.4f}".replace("-", MINUS)
    decimals = _decimals(max(abs(low), abs(high)))
    return f"{low * 100:+.{decimals}f} to {high * 100:+.{decimals}f}".replace("-", MINUS)


def relative(value: float | None) -> str:
    """0.1234 -> "+12.3%"."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0%"
    size = abs(value) * 100
    text = f"{size:,.0f}" if size >= 100 else f"{size:.1f}" if size >= 0.1 else f"{size:.2f}"
    return f"{'+' if value > 0 else MINUS}{text}%"


def count(value: float) -> str:
    """30113 -> "30,113"."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """1234567 -> "1.23M"; exact below 100,000."""
    for limit, unit in ((1e9, "B"), (1e6, "M")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value / 1e3:.0f}k" if value >= 1e5 else count(value)


def duration(seconds: float) -> str:
    """312 -> "5 min 12 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def hours(value: float) -> str:
    """0.5 -> "30 min", 30 -> "30 h", 100 -> "4.2 days"."""
    if value < 1 / 60:
        return f"{value * 3600:.0f} s"
    if value < 1:
        return f"{value * 60:.0f} min"
    return f"{value:.3g} h" if value < 48 else f"{value / 24:.2g} days" if value < 2400 else f"{value / 24:.0f} days"

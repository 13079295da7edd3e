"""Prices, times and scores as a person reads them."""

import math
from datetime import UTC, datetime, timedelta

from lowerfunnel.page.formats import NOTHING, count

_EARLIEST_DATE_US = 10**14
"""1973-03-03. What lies before it is a place in a log without times."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def price(value: float | None, currency: str | None) -> str:
    """1234.5, "EUR" -> "1,234.50 EUR"; without a price an en dash."""
    if value is None or not math.isfinite(value):
        return NOTHING
    number = f"{value:,.2f}" if value != round(value) or value < 1e5 else count(value)
    return f"{number} {currency}" if currency else number


def moment(ts_us: int) -> str:
    """Return the UTC time of an event, or its place in a log that has an order and no times."""
    if ts_us < _EARLIEST_DATE_US:
        return f"event {count(ts_us)}"
    try:
        return f"{_EPOCH + timedelta(microseconds=ts_us):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{count(ts_us)} µs"


def machine_moment(ts_us: int) -> str | None:
    """Return the same for the `datetime` of a `time` element; None where it is no date."""
    if ts_us < _EARLIEST_DATE_US:
        return None
    try:
        return f"{_EPOCH + timedelta(microseconds=ts_us):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return None


def dwell(seconds: float | None) -> str:
    """12.3 -> "12 s"; nothing for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def milliseconds(value: float | None) -> str:
    """0.1234 -> "0.12 ms", 34.5 -> "35 ms"; an en dash for None."""
    if value is None:
        return NOTHING
    if value < 1:
        return f"{value:.2f} ms"
    return f"{value:.1f} ms" if value < 10 else f"{count(value)} ms"


def score(value: float) -> str:
    """Return three digits behind the point; large scores get fewer."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def ago(seconds: float) -> str:
    """0.4 -> "now", 90 -> "1 min 30 s ago"."""
    whole = round(seconds)
    if whole <= 0:
        return "now"
    minutes, rest = divmod(whole, 60)
    parts = [f"{minutes} min" if minutes else "", f"{rest} s" if rest else ""]
    return " ".join(part for part in parts if part) + " ago"

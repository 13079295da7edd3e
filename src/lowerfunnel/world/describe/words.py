"""Figures of a description as people read them."""

from lowerfunnel.page.formats import hours, percent
from lowerfunnel.world.describe.comparison import Comparison


def shown(value: float, unit: str) -> str:
    """Return a figure with its unit."""
    if unit == "share":
        return percent(value)
    if unit == "s":
        return f"{value:.0f} s" if value < 120 else hours(value / 3600)
    return f"{value:.3g}"


def real_span(row: Comparison) -> str:
    """Return the real figure, or the lowest and the highest of several."""
    low, high = min(row.real.values()), max(row.real.values())
    return shown(low, row.unit) if low == high else f"{shown(low, row.unit)} to {shown(high, row.unit)}"

"""Simulated marginals beside real ones: which pairs are compared, and when they count as matched."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lowerfunnel.world.describe.measure import Measured


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure that is compared.

    Attributes:
        group: Group of the figure.
        figure: Its name in the group.
        name: What it is called on the page.
        sources: Sets that it is compared with; their lowest and highest value span what is real.
        unit: "", "s", "share" or "ratio".
        factor: Matched if the simulated figure lies within this factor of that span.
    """

    group: str
    figure: str
    name: str
    sources: tuple[str, ...]
    unit: str = ""
    factor: float = 1.5


_RETAIL = ("retailrocket",)
_SESSIONS = ("retailrocket", "rees46_sessions")
_BRANDS = ("rees46_sessions",)
_GROCERIES = ("complete_journey",)
_ITEMS = ("retailrocket", "rees46_sessions", "gowalla", "taobao_userbehavior", "mule_taobao", "mule_jdata")
_ADS = ("ipinyou_2997", "open_bandit")
_POSITIONS = ("open_bandit",)

COMPARED: tuple[Compared, ...] = (
    Compared("funnel", "carts_per_view", "Carts per view, of buyers", _RETAIL, unit="share"),
    Compared("funnel", "purchases_per_cart", "Purchases per cart, of buyers", _RETAIL, unit="share"),
    Compared("funnel", "purchases_per_buyer", "Purchases per buyer", _RETAIL),
    Compared("gaps_s", "q10", "Time between events of a user, 10%", _RETAIL, unit="s"),
    Compared("gaps_s", "q25", "Time between events of a user, 25%", _RETAIL, unit="s"),
    Compared("gaps_s", "median", "Time between events of a user, median", _RETAIL, unit="s"),
    Compared("gaps_s", "q75", "Time between events of a user, 75%", _RETAIL, unit="s"),
    Compared("gaps_s", "q90", "Time between events of a user, 90%", _RETAIL, unit="s"),
    Compared("cart_to_purchase_s", "median", "From cart to purchase, median", _RETAIL, unit="s"),
    Compared("cart_to_purchase_s", "q90", "From cart to purchase, 90%", _RETAIL, unit="s"),
    Compared("sessions", "events_mean", "Events of a session, mean", _SESSIONS),
    Compared("sessions", "events_q90", "Events of a session, 90%", _SESSIONS),
    Compared("sessions", "single_share", "Sessions of a single event", _RETAIL, unit="share"),
    Compared("items", "top1_share", "Events on the top 1% of items", _ITEMS, unit="share", factor=1.25),
    Compared("items", "top10_share", "Events on the top 10% of items", _ITEMS, unit="share", factor=1.25),
    Compared("items", "gini", "Gini of events over items", _ITEMS, factor=1.25),
    Compared("items", "zipf", "Zipf exponent of items", _ITEMS, factor=1.25),
    Compared("brands", "top10_share", "Events on the top 10% of brands", _BRANDS, unit="share"),
    Compared("brands", "gini", "Gini of events over brands", _BRANDS),
    Compared("advertisers", "top10_share", "Purchases from the top 10% of advertisers", _GROCERIES, unit="share"),
    Compared("categories", "top10_share", "Events on the top 10% of categories", _BRANDS, unit="share"),
    Compared("categories", "gini", "Gini of events over categories", _BRANDS),
    Compared("prices", "sd_log", "Spread of log prices", _GROCERIES),
    Compared("prices", "sd_log_within_category", "Spread of log prices within a category", _GROCERIES),
    Compared("prices", "q90_over_median", "Price, 90% over median", _GROCERIES, unit="ratio"),
    Compared("ads", "ctr", "Click-through rate", _ADS, unit="share", factor=2.0),
    Compared("ads", "position_2_over_1", "Click-through rate, position 2 over 1", _POSITIONS, unit="ratio"),
    Compared("ads", "position_3_over_1", "Click-through rate, position 3 over 1", _POSITIONS, unit="ratio"),
    Compared("rhythm", "peak_over_trough", "The busiest hour over the quietest", _RETAIL, unit="ratio"),
    Compared("rhythm", "weekend_over_weekday", "A weekend day over a weekday", _RETAIL, unit="ratio"),
)

UNMATCHED: tuple[tuple[str, str], ...] = (
    (
        "Coming back within hours",
        (
            "Real shoppers return the same day; here a user's visits are independent of each other, so long gaps are days. "
            "The upper quantiles of the times between events are too long for that reason."
        ),
    ),
    (
        "From cart to purchase",
        (
            "RetailRocket's buyers mostly pay within minutes of the cart. Here a checkout takes hours in the median and days for "
            "some (delays.checkout_h), so that late conversions are common: an assumption. 0.06 instead comes near the real one."
        ),
    ),
    (
        "The busiest hour over the quietest",
        (
            "RetailRocket has hours with hardly an event. Here users of five countries keep five clocks, and together they "
            "never sleep."
        ),
    ),
    (
        "Purchases per buyer, weekends",
        (
            "RetailRocket's copy covers four and a half months, a demo six weeks. It is quiet on weekends; here a sale may fall on "
            "them (season.weekend_lift, season.sale_first_day)."
        ),
    ),
    (
        "Position bias",
        (
            "Open Bandit shows three places side by side and has some hundred clicks here, too few to measure a decay. The "
            "simulated one is an assumption (response.position_decay)."
        ),
    ),
    (
        "Brand and category skew",
        (
            "REES46 has 1,969 brands and one category with a third of all views (smartphones); a demo with 120 advertisers and "
            "40 categories cannot be as skewed."
        ),
    ),
    (
        "Dwell times, saves, hides, view-through, incrementality, tracking",
        "No public set at hand has them next to purchases. Their levels are ours, within what advertising platforms report.",
    ),
)
"""What cannot be matched, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A simulated figure beside real ones of the same kind."""

    group: str
    figure: str
    name: str
    unit: str
    simulated: float
    real: dict[str, float]
    """Value by set."""
    factor: float
    matched: bool
    notes: dict[str, str]
    """What to mind of each set."""


def compare(measured: Measured) -> list[Comparison]:
    """Put each simulated figure beside its real counterparts; those that the log cannot give are left out."""
    real = {(entry["set"], entry["name"]): entry for entry in real_marginals()["group"]}
    rows = []
    for each in COMPARED:
        simulated = measured.groups.get(each.group, {}).get(each.figure)
        if simulated is None:
            continue
        entries = {name: real[name, each.group] for name in each.sources}
        values = {
            name: float(entry["figures"][each.figure])
            for name, entry in entries.items()
            if each.figure in entry["figures"]
        }
        rows.append(
            Comparison(
                group=each.group,
                figure=each.figure,
                name=each.name,
                unit=each.unit,
                simulated=simulated,
                real=values,
                factor=each.factor,
                matched=_within(simulated, list(values.values()), each.factor),
                notes={name: str(entries[name]["note"]) for name in values},
            )
        )
    return rows


def real_curve(name: str, sets: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Return the points of a real curve, by set."""
    return {
        entry["set"]: list(zip(entry["x"], entry["y"], strict=True))
        for entry in real_marginals()["curve"]
        if entry["name"] == name and entry["set"] in sets
    }


@cache
def real_marginals() -> dict[str, Any]:
    """Return what `benchmarks/measure_real_marginals.py` measured."""
    text = resources.files("lowerfunnel.world.describe").joinpath("real_marginals.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _within(value: float, real: list[float], factor: float) -> bool:
    return min(real) / factor <= value <= max(real) * factor

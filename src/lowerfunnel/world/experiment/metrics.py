"""What an experiment measures: each metric as a sum over users, or a ratio of two."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["count", "share", "money", "ratio"]

COLUMNS = (
    "impressions",
    "clicks",
    "long_clicks",
    "saves",
    "hides",
    "carts",
    "conversions",
    "view_through",
    "click_through",
    "revenue",
    "cost",
)
"""What is added up per user from the impressions of a policy; money in USD."""
AFTERWARDS = ("organic", "all_revenue", "one")
"""Columns made of these once all days are played: revenue without ads, revenue with it, and what makes totals."""

LONG_CLICK_S = 30.0
"""A click counts for `ctr30` when the user stayed longer than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric."""

    name: str
    shown: str
    numerator: str
    denominator: str = "one"
    """"one" for a total."""
    per: float = 1.0
    """The ratio is multiplied by this."""
    unit: Unit
    wanted: Literal["more", "less", "neither"]
    """Which way is better."""
    meaning: str


METRICS = (
    Metric(
        name="conversions",
        shown="Conversions",
        numerator="conversions",
        unit="count",
        wanted="more",
        meaning="purchases that an ad caused, after a click or a view",
    ),
    Metric(
        name="conversion_rate",
        shown="Conversion rate",
        numerator="conversions",
        denominator="impressions",
        unit="share",
        wanted="more",
        meaning="conversions by impressions",
    ),
    Metric(
        name="conversion_rate_of_clicks",
        shown="Conversion rate of clicks",
        numerator="click_through",
        denominator="clicks",
        unit="share",
        wanted="more",
        meaning="conversions after a click by clicks",
    ),
    Metric(
        name="ctr",
        shown="CTR",
        numerator="clicks",
        denominator="impressions",
        unit="share",
        wanted="more",
        meaning="clicks by impressions",
    ),
    Metric(
        name="ctr30",
        shown="CTR over 30 s",
        numerator="long_clicks",
        denominator="impressions",
        unit="share",
        wanted="more",
        meaning="clicks after which the user stayed longer than 30 s, by impressions",
    ),
    Metric(
        name="roas",
        shown="RoAS",
        numerator="revenue",
        denominator="cost",
        unit="ratio",
        wanted="more",
        meaning="revenue by cost: what advertisers earn for a dollar",
    ),
    Metric(
        name="revenue",
        shown="Revenue",
        numerator="revenue",
        unit="money",
        wanted="more",
        meaning="order value of the conversions, returned orders worth nothing",
    ),
    Metric(
        name="cost",
        shown="Cost",
        numerator="cost",
        unit="money",
        wanted="neither",
        meaning="what the advertisers pay for clicks, which is what the platform earns",
    ),
    Metric(
        name="revenue_per_mille",
        shown="Revenue per 1,000 ads",
        numerator="revenue",
        denominator="impressions",
        per=1000,
        unit="money",
        wanted="more",
        meaning="revenue per thousand impressions",
    ),
    Metric(
        name="cart_rate",
        shown="Cart rate",
        numerator="carts",
        denominator="impressions",
        unit="share",
        wanted="more",
        meaning="carts that an ad led to, by impressions",
    ),
    Metric(
        name="save_rate",
        shown="Save rate",
        numerator="saves",
        denominator="impressions",
        unit="share",
        wanted="more",
        meaning="saves by impressions",
    ),
    Metric(
        name="hide_rate",
        shown="Hide rate",
        numerator="hides",
        denominator="impressions",
        unit="share",
        wanted="less",
        meaning="ads that users hid, by impressions",
    ),
    Metric(
        name="view_through_share",
        shown="View-through share",
        numerator="view_through",
        denominator="conversions",
        unit="share",
        wanted="neither",
        meaning="share of the conversions that came without a click",
    ),
    Metric(
        name="all_revenue",
        shown="Revenue with organic",
        numerator="all_revenue",
        unit="money",
        wanted="more",
        meaning="revenue of ads and of purchases without any ad, of the users who saw ads",
    ),
    Metric(
        name="incremental_share",
        shown="Incremental share",
        numerator="revenue",
        denominator="all_revenue",
        unit="share",
        wanted="more",
        meaning="share of that revenue that would not be there without ads",
    ),
)
"""The metrics of users, in the order of the page; `item_coverage` and `advertiser_coverage` come after them."""

COVERAGES = {
    "item_coverage": "share of all items that fill 90% of the impressions",
    "advertiser_coverage": "share of all advertisers that fill 90% of the impressions",
}

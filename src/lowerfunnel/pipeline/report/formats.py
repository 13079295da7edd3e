"""Numbers as people read them, and the names of models, metrics and slices."""

import math
from typing import NamedTuple

MINUS = "\N{MINUS SIGN}"

SHARES = frozenset({"recall", "micro_recall", "hr", "coverage", "advertiser_coverage"})
"""Metrics that are shares of something and shown in per cent."""

MODEL_NAMES = {
    "lowerfunnel": "lowerfunnel",
    "popularity": "Popularity",
    "untrained": "Untrained",
    "itemknn": "ItemKNN",
    "als": "ALS",
    "own_history": "Own history",
}
"""Shown names, in the order of the page; a model that is not here keeps its own name and comes last."""

MODEL_MEANINGS = {
    "lowerfunnel": "the trained two-tower model",
    "popularity": "the same most popular items for everybody",
    "untrained": "the same model before its first step",
    "itemknn": "items that go together with the user's own, by co-occurrence",
    "als": "matrix factorisation by alternating least squares",
    "own_history": "the user's own carts and views, given back",
}

FAMILY_NAMES = {
    "recall": "Recall",
    "micro_recall": "Micro recall",
    "hr": "Hit rate",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "coverage": "Item coverage",
    "advertiser_coverage": "Advertiser coverage",
}

FAMILY_MEANINGS = {
    "recall": "share of a user's held-out items that are among the first K, averaged over users",
    "micro_recall": "share of all held-out items that are among the first K",
    "hr": "share of users with at least one held-out item among the first K",
    "ndcg": "rewards held-out items more the higher they stand (1 is perfect)",
    "mrr": "mean of 1 / rank of the first held-out item within the first K",
    "coverage": "share of items that fill 90% of all results",
    "advertiser_coverage": "share of advertisers that fill 90% of all results",
}

SLICE_ORDER = (
    "all",
    "retargeting",
    "discovery",
    "cold_items",
    "activity_none",
    "activity_low",
    "activity_middle",
    "activity_high",
)
SLICE_NAMES = {
    "all": "Everything",
    "retargeting": "Retargeting",
    "discovery": "Discovery",
    "cold_items": "Cold items",
    "activity_none": "No activity",
    "activity_low": "Low activity",
    "activity_middle": "Middle activity",
    "activity_high": "High activity",
}
SLICE_MEANINGS = {
    "retargeting": "items the user had touched before",
    "discovery": "items new to the user",
    "cold_items": "items with few events or none in training",
    "activity_none": "users without history",
    "activity_low": "the third of users with the shortest history",
    "activity_middle": "the third in the middle",
    "activity_high": "the third with the longest history",
}


class Metric(NamedTuple):
    """A metric's name, taken apart."""

    family: str
    k: int | None

    @property
    def is_share(self) -> bool:
        """Whether it is shown in per cent."""
        return self.family in SHARES


def parse_metric(name: str) -> Metric:
    """Take "recall@100" apart; a name without a K keeps None."""
    family, _, k = name.partition("@")
    return Metric(family, int(k)) if k.isdecimal() else Metric(name, None)


def metric_name(name: str) -> str:
    """Return the name a reader sees: "recall@100" -> "Recall@100"."""
    metric = parse_metric(name)
    shown = FAMILY_NAMES.get(metric.family, metric.family)
    return shown if metric.k is None else f"{shown}@{metric.k}"


def model_name(model: str) -> str:
    """Return the name a reader sees."""
    return MODEL_NAMES.get(model, model)


def slice_name(name: str) -> str:
    """Return the name a reader sees: "surface=home" -> "Surface: home"."""
    if name in SLICE_NAMES:
        return SLICE_NAMES[name]
    key, equals, value = name.partition("=")
    return f"{key.capitalize()}: {value}" if equals else name


def model_order(model: str) -> tuple[int, str]:
    """Sort key: known models in their order, then the others by name."""
    known = list(MODEL_NAMES)
    return (known.index(model), "") if model in known else (len(known), model)


def slice_order(name: str) -> tuple[int, str]:
    """Sort key: known slices in their order, then the others by name."""
    return (SLICE_ORDER.index(name), "") if name in SLICE_ORDER else (len(SLICE_ORDER), name)


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


def metric_value(value: float, metric: str) -> str:
    """Return a metric's value: a share in per cent, any other with four decimals."""
    return percent(value) if parse_metric(metric).is_share else f"{value:.4f}"


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

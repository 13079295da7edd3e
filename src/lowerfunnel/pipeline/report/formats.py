"""The names of models, metrics and slices as people read them."""

from typing import NamedTuple

from lowerfunnel.page.formats import percent

SHARES = frozenset({"recall", "micro_recall", "hr", "coverage", "advertiser_coverage"})
"""Metrics that are shares of something and shown in per cent."""

MODEL_NAMES = {
    "lowerfunnel": "lowerfunnel",
    "popularity": "Popularity",
    "untrained": "Untrained",
    "itemknn": "ItemKNN",
    "als": "ALS",
    "own_history": "Own history",
    "oracle": "Oracle",
}
"""Shown names, in the order of the page; a model that is not here keeps its own name and comes last."""

MODEL_MEANINGS = {
    "lowerfunnel": "the trained two-tower model",
    "popularity": "the same most popular items for everybody",
    "untrained": "the same model before its first step",
    "itemknn": "items that go together with the user's own, by co-occurrence",
    "als": "matrix factorisation by alternating least squares",
    "own_history": "the user's own carts and views, given back",
    "oracle": "what the synthetic world itself knows of each user's demand; it does not look into carts that are filled already",
}

FAMILY_NAMES = {
    "recall": "Recall",
    "micro_recall": "Micro recall",
    "hr": "Hit rate",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "coverage": "Item coverage",
    "advertiser_coverage": "Advertiser coverage",
    "within_advertiser_auc": "AUC within an advertiser",
}

FAMILY_MEANINGS = {
    "recall": "share of a user's held-out items that are among the first K, averaged over users",
    "micro_recall": "share of all held-out items that are among the first K",
    "hr": "share of users with at least one held-out item among the first K",
    "ndcg": "rewards held-out items more the higher they stand (1 is perfect)",
    "mrr": "mean of 1 / rank of the first held-out item within the first K",
    "coverage": "share of items that fill 90% of all results",
    "advertiser_coverage": "share of advertisers that fill 90% of all results",
    "within_advertiser_auc": "chance that a held-out item scores above another item of its advertiser; one half is luck",
}

SLICE_NAMES = {
    "all": "Everything",
    "retargeting": "Retargeting",
    "discovery": "Discovery",
    "cold_items": "Cold items",
    "activity_none": "No activity",
    "activity_low": "Low activity",
    "activity_middle": "Middle activity",
    "activity_high": "High activity",
    "conversions_0": "No past conversion",
    "conversions_1_2": "1 or 2 past conversions",
    "conversions_3_9": "3 to 9 past conversions",
    "conversions_10_up": "10 or more past conversions",
    "item_age_under_7d": "Items younger than 7 days",
    "item_age_7_28d": "Items of 7 to 28 days",
    "item_age_over_28d": "Items older than 28 days",
    "advertiser_small": "Small advertisers",
    "advertiser_middle": "Middle advertisers",
    "advertiser_large": "Large advertisers",
}
SLICE_ORDER = tuple(SLICE_NAMES)
SLICE_MEANINGS = {
    "retargeting": "items the user had touched before",
    "discovery": "items new to the user",
    "cold_items": "items with few events or none in training",
    "activity_none": "users without history",
    "activity_low": "the third of users with the shortest history",
    "activity_middle": "the third in the middle",
    "activity_high": "the third with the longest history",
    "conversions_0": "users who had converted on nothing before the request",
    "item_age_under_7d": "their first event in the log is less than 7 days before the request, or later",
    "advertiser_small": "the third of advertisers with the fewest events of training",
    "advertiser_large": "the third with the most",
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


def metric_value(value: float, metric: str) -> str:
    """Return a metric's value: a share in per cent, any other with four decimals."""
    return percent(value) if parse_metric(metric).is_share else f"{value:.4f}"

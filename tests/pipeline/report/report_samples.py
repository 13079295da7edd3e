"""Reports to render: one like a real run's, one with almost nothing, one with hostile text."""

import itertools
import math
import random
from typing import Any, Literal

from lowerfunnel.pipeline.report.data import (
    Comparison,
    Day,
    Example,
    ExampleCandidate,
    ExampleEvent,
    MetricRow,
    ReportData,
)

KS = (10, 20, 50, 100, 500, 1000)
_AT_1000 = {
    "lowerfunnel": 0.52,
    "popularity": 0.27,
    "untrained": 0.07,
    "itemknn": 0.36,
    "als": 0.43,
    "own_history": 0.245,
}
_GROWTH = {
    "lowerfunnel": 0.34,
    "popularity": 0.42,
    "untrained": 0.95,
    "itemknn": 0.16,
    "als": 0.33,
    "own_history": 0.02,
}
_SLICES = {
    "all": (1.0, 2174),
    "retargeting": (1.9, 655),
    "discovery": (0.55, 1519),
    "cold_items": (0.28, 402),
    "activity_low": (0.72, 731),
    "activity_middle": (1.05, 722),
    "activity_high": (1.22, 721),
    "surface=home_feed": (0.9, 840),
    "surface=search": (1.1, 690),
}


def row(model: str, value: float | None, metric: str = "recall@100", **changes: Any) -> MetricRow:
    base: Any = {"metric": metric, "task": "conversion", "slice": "all", "model": model, "value": value, "n": 500}
    base |= {"ci_low": None, "ci_high": None, "data": "real"}
    base |= changes
    made: MetricRow = base
    return made


def comparison(floor: str, difference: float, ci_low: float, ci_high: float, metric: str = "recall@100") -> Comparison:
    return {"metric": metric, "floor": floor, "difference": difference, "ci_low": ci_low, "ci_high": ci_high}


def metric_rows(data: Literal["real", "synthetic"]) -> list[MetricRow]:
    rows: list[MetricRow] = []
    for task in ("conversion", "engagement"):
        for name, (factor, n) in _SLICES.items():
            for model, at_1000 in _AT_1000.items():
                lift = (
                    3.0
                    if model == "own_history" and name == "retargeting"
                    else 0.0
                    if model == "own_history" and name == "discovery"
                    else 1.0
                )
                for k in KS:
                    recall = min(0.97, at_1000 * factor * lift * (k / 1000) ** _GROWTH[model])
                    values = {
                        "recall": recall,
                        "micro_recall": recall * 0.98,
                        "hr": recall * 1.02,
                        "ndcg": recall * 0.55,
                        "mrr": recall * 0.4,
                    }
                    for family, value in values.items():
                        half = 1.96 * math.sqrt(value * (1 - value) / n)
                        rows.append(
                            row(model, round(value, 6), f"{family}@{k}", task=task, slice=name, n=n, data=data)
                            | {"ci_low": round(max(0.0, value - half), 6), "ci_high": round(value + half, 6)}
                        )
    cover = {
        "lowerfunnel": 0.41,
        "popularity": 0.0033,
        "untrained": 0.62,
        "itemknn": 0.55,
        "als": 0.29,
        "own_history": 0.5,
    }
    for model, value in cover.items():
        rows.append(row(model, value, "coverage@100", data=data, n=2174))
        rows.append(row(model, value * 0.8 + 0.1, "advertiser_coverage@100", data=data, n=2174))
    return rows


_NAMES = [
    "Trail running shoe",
    "Merino base layer",
    "Cast-iron skillet 26 cm",
    "Espresso tamper",
    "Linen duvet cover",
    "Bike multitool",
    "Noise-cancelling earbuds",
    "Ceramic pour-over set",
    "Down jacket, women",
    "Climbing chalk bag",
]
_CATEGORIES = [
    "Outdoor / Shoes",
    "Outdoor / Clothing",
    "Kitchen / Pans",
    "Kitchen / Coffee",
    "Home / Bedding",
    "Cycling",
    "Audio",
    "Kitchen / Coffee",
    "Outdoor / Clothing",
    "Climbing",
]
_SELLERS = [
    "Fjordwear",
    "Fjordwear",
    "Smedja",
    "Kaffa",
    "Hygge Home",
    "Velo & Co",
    "Auris",
    "Kaffa",
    "Fjordwear",
    "Basecamp",
]


def _item(generator: random.Random, named: bool) -> dict[str, Any]:
    which = generator.randrange(len(_NAMES))
    number = generator.randrange(10_000, 460_000)
    if not named:
        return {"item_id": number, "category": str(1000 + which)}
    return {
        "item_id": number,
        "title": f"{_NAMES[which]} {'ABCDEFGH'[number % 8]}{number % 90 + 10}",
        "category": _CATEGORIES[which],
        "advertiser": _SELLERS[which],
        "price": round(generator.uniform(6, 240), 2),
        "currency": "EUR",
    }


def example(seed: int, *, rank: int | None, named: bool, events: int, candidates: int = 30) -> Example:
    generator = random.Random(seed)  # noqa: S311
    timeline: list[ExampleEvent] = []
    for place in range(events):
        action = generator.choices(["view", "add_to_cart", "checkout"], [8, 2, 1])[0]
        day = f"2015-0{5 + place // 14}-{1 + 2 * (place % 14):02d}"
        at = f"{day} {generator.randrange(8, 23):02d}:{generator.randrange(60):02d}"
        timeline.append({**_item(generator, named), "action": action, "time": at})  # type: ignore[typeddict-item]
    bought = _item(generator, named)
    found: list[ExampleCandidate] = []
    for place in range(1, candidates + 1):
        touched = bool(timeline) and generator.random() < 0.15
        chosen: dict[str, Any] = dict(generator.choice(timeline)) if touched else _item(generator, named)
        chosen = bought if place == rank else {k: v for k, v in chosen.items() if k not in ("action", "time")}
        score = 0.93 - 0.11 * math.log(place + 0.5) + generator.random() * 0.01
        found.append({**chosen, "rank": place, "score": score, "touched_before": touched, "held_out": place == rank})  # type: ignore[typeddict-item]
    if rank is not None and rank > candidates:
        found.append({**bought, "rank": rank, "score": 0.31, "touched_before": False, "held_out": True})  # type: ignore[typeddict-item]
    target: Any = {**bought, "rank": rank, "time": "2015-09-03 19:42"}
    return {
        "user_id": 100_000 + seed * 7919,
        "timeline": timeline,
        "candidates": found,
        "held_out": [target],
        "depth": 1000,
        "events_before": events + (131 if events > 18 else 0),
    }


def days(number: int) -> list[Day]:
    generator = random.Random(5)  # noqa: S311
    out: list[Day] = []
    for place in range(number):
        month, day = divmod(place, 30)
        weekly = 1 + 0.25 * math.sin(place / 7 * 2 * math.pi)
        views = int(560 * weekly * generator.uniform(0.9, 1.1))
        counts = {"view": views, "add_to_cart": views // 6, "checkout": views // 8 if place != 60 else 0}
        out.append({"day": f"2015-{5 + month:02d}-{day + 1:02d}", "counts": counts})
    return out


def sample(data: Literal["real", "synthetic"] = "real") -> ReportData:
    """Return a report like that of a finished run."""
    training = []
    for epoch in range(1, 19):
        recall = 0.235 * (1 - math.exp(-epoch / 3)) - 0.0012 * max(0, epoch - 13)
        loss = 4.1 + 3.2 * math.exp(-epoch / 4)
        training.append(
            {
                "epoch": float(epoch),
                "step": 41.0 * epoch,
                "loss": loss,
                "examples_per_s": 10_700.0,
                "recall@100": recall,
                "ndcg@10": recall / 4,
            }
            | {"learning_rate": 0.001 * (1 - epoch / 20)}
        )
    edges = [round(-0.4 + 0.035 * i, 4) for i in range(41)]

    def bell(centre: float, width: float, size: int) -> list[int]:
        return [
            round(size * math.exp(-0.5 * (((a + b) / 2 - centre) / width) ** 2)) for a, b in itertools.pairwise(edges)
        ]

    delay_edges = [0.0, *[10 ** (p / 4) / 60 for p in range(20)]]
    lead = "micro_recall@100"
    ours = 0.2329
    return ReportData(
        title="retailrocket",
        description="Views, carts and purchases of a shop over 139 days; the last purchase of each user is held out.",
        data=data,
        model_version="m-20260214-9f3ac1e7",
        created="2026-02-14 09:31 UTC",
        facts={
            "users": 2174,
            "items": 30113,
            "advertisers": 1187,
            "events": 97381,
            "train_examples": 84926,
            "test_users": 2174,
            "test_pairs": 2174,
            "parameters": 4_312_576,
            "training_s": 312.4,
            "device": "CPU, 2 cores",
            "span": "2015-05-03 to 2015-09-18",
        },
        rows=metric_rows(data),
        comparisons=[
            comparison(model, ours - value, ours - value - half, ours - value + half, lead)
            for model, value, half in (
                ("popularity", 0.1005, 0.016),
                ("untrained", 0.0077, 0.016),
                ("itemknn", 0.2443, 0.0085),
                ("als", 0.1973, 0.0155),
                ("own_history", 0.2286, 0.0145),
            )
        ],
        training=training,
        best_epoch=13,
        quality={
            "actions": {"view": 75374, "add_to_cart": 12456, "checkout": 9551},
            "days": days(139),
            "funnel": [
                {"origin": "view", "target": "add_to_cart", "rate": 0.118, "meaning": "of viewed (user, item) pairs"},
                {
                    "origin": "add_to_cart",
                    "target": "checkout",
                    "rate": 0.437,
                    "meaning": "of carted (user, item) pairs",
                },
            ],
            "delays": [
                {
                    "origin": "view",
                    "target": "checkout",
                    "edges_h": delay_edges,
                    "counts": [
                        round(
                            60 + 400 * math.exp(-0.5 * ((i - 6) / 3) ** 2) + 260 * math.exp(-0.5 * ((i - 13) / 2) ** 2)
                        )
                        for i in range(20)
                    ],
                    "median_h": 0.9,
                }
            ],
            "quarantined": {"time in the future": 12, "no item id": 3},
            "duplicates": 460,
            "days_each": 1,
            "remarks": ["On 2015-07-01 there is no purchase at all."],
            "cannot": [
                "It has no impressions: what was shown and not clicked is unknown.",
                "It has no prices: value is not learnt.",
            ],
        },
        scores={
            "edges": edges,
            "held_out": bell(0.5, 0.19, 300),
            "candidates": bell(0.62, 0.1, 9000),
            "random": bell(0.02, 0.12, 8000),
        },
        examples=[
            example(1, rank=3, named=True, events=9),
            example(2, rank=212, named=True, events=24),
            example(3, rank=None, named=False, events=4),
            example(4, rank=11, named=False, events=0),
        ],
        settings={
            "name": "retailrocket",
            "seed": 7,
            "model": {
                "tower": {"width": 64, "hidden": []},
                "history": {"length": 100},
                "objective": {"temperature": 0.1, "batch_size": 2048},
            },
            "training": {"epochs": 20, "learning_rate": 0.001, "patience": 5, "schedule": "linear"},
            "labels": {"weights": {"view": 0.2, "add_to_cart": 1.0, "checkout": 1.0}, "gap_h": 0},
        },
        warnings=["51 of 2,174 test users have no event before their held-out purchase: nothing is known of them."],
    )


def bare() -> ReportData:
    """Return a report of which almost nothing is known."""
    return ReportData(title="pairs", data="real", model_version="m-0", created="2026-02-14 09:31 UTC")


HOSTILE = "</script><script>alert(1)</script>"
MARKUP = "<img src=x onerror=alert(2)> \"quoted\" 'single' & {{ 7*7 }} {% raw %} <!-- -->"


def hostile() -> ReportData:
    """Return a report in which every text from outside tries to be markup, or is very long."""
    long = "x" * 900
    names = {"item_id": HOSTILE + long, "title": MARKUP + long, "category": HOSTILE, "advertiser": MARKUP}
    return ReportData(
        title=HOSTILE + long,
        description=MARKUP,
        data="synthetic",
        model_version=MARKUP,
        created=HOSTILE,
        noun=MARKUP,
        facts={"users": 3, "items": 5, "device": HOSTILE},
        rows=[
            row(model, value, f"recall@{k}", data="synthetic", slice=name, task=task)
            for model, value in (("lowerfunnel", 0.3), (HOSTILE, 0.1), (MARKUP, 0.2))
            for k in (10, 100)
            for name in ("all", MARKUP, "surface=" + HOSTILE + long)
            for task in ("conversion", HOSTILE)
        ],
        comparisons=[comparison(HOSTILE, 0.2, 0.1, 0.3)],
        training=[{"epoch": 1.0, "loss": math.nan, f"{HOSTILE}@10": 0.5}],
        quality={
            "actions": {HOSTILE: 5, MARKUP: 2},
            "days": [{"day": "2020-01-01", "counts": {HOSTILE: 3}}],
            "delays": [{"origin": HOSTILE, "target": MARKUP, "edges_h": [0, 1, 2], "counts": [1, 2]}],
            "quarantined": {HOSTILE: 1},
            "cannot": [MARKUP + long],
        },
        examples=[
            {
                "user_id": HOSTILE + long,
                "timeline": [{**names, "action": HOSTILE, "time": MARKUP}],  # type: ignore[typeddict-item]
                "candidates": [{**names, "rank": 1, "score": 0.5, "held_out": True}],  # type: ignore[typeddict-item]
                "held_out": [{**names, "rank": 1}],  # type: ignore[typeddict-item]
            }
        ],
        settings={HOSTILE: {MARKUP: HOSTILE}, "path": MARKUP},
        warnings=[HOSTILE, MARKUP + long],
    )

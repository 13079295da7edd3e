"""The marginals of a world's folder, day by day, without holding its impressions in memory.

Shape letters: E events that are no impressions, N impressions of one day.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lowerfunnel.errors import RunError
from lowerfunnel.world.describe import marginals
from lowerfunnel.world.describe.marginals import Figures

_STEPS = ("view", "add_to_cart", "checkout")
_COLUMNS = ("event_id", "ts", "user_id", "item_id", "action", "position", "dwell_s", "received_ts")
LONG_CLICK_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured in a log: figures by group, curves by name, and counts."""

    groups: dict[str, Figures]
    curves: dict[str, list[tuple[float, float]]]
    actions: dict[str, int]
    per_day: list[dict[str, int]]
    """Impressions, clicks and reported checkouts by the day on which they began."""
    truth: Figures
    """What no real log tells: the causes of the true purchases, and how many of them were reported."""


def measure_world(folder: Path) -> Measured:
    """Measure the log that `make_world` wrote to a folder.

    Raises:
        RunError: If a file of the world is missing or damaged.
    """
    try:
        return _measure(folder)
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(f"the synthetic world in {folder} is damaged ({error}); delete and make it") from error


def _measure(folder: Path) -> Measured:
    kept: list[pa.Table] = []
    shown_P, clicked_P = np.zeros(64, np.int64), np.zeros(64, np.int64)
    actions: dict[str, int] = {}
    per_day = []
    for path in sorted((folder / "events").glob("day-*.parquet")):
        events = pq.read_table(path, columns=list(_COLUMNS))
        counts = {entry["values"].as_py(): entry["counts"].as_py() for entry in pc.value_counts(events["action"])}
        for action, count in counts.items():
            actions[action] = actions.get(action, 0) + count
        per_day.append({name: counts.get(name, 0) for name in ("impression", "click", "checkout")})
        for action, counted_P in (("impression", shown_P), ("click", clicked_P)):
            position = events.filter(pc.equal(events["action"], action))["position"].to_numpy()
            counted_P[:] += np.bincount(np.minimum(position, len(counted_P) - 1), minlength=len(counted_P))
        kept.append(events.filter(pc.not_equal(events["action"], "impression")))
    if not kept:
        raise RunError(f"{folder / 'events'} holds no days; make the world again")
    events = pa.concat_tables(kept)
    action_E = np.asarray(events["action"].to_pylist(), np.str_)
    user_E, item_E = events["user_id"].to_numpy(), events["item_id"].to_numpy()
    t_us_E = events["ts"].cast(pa.int64()).to_numpy()
    t_s_E = t_us_E // 1_000_000
    step_E = np.full(len(events), -1, np.int64)
    for step, action in enumerate(_STEPS):
        step_E[action_E == action] = step
    shop_E = step_E >= 0
    items = pq.read_table(folder / "items.parquet")
    item_id_I = items["item_id"].to_numpy()
    place_E = np.searchsorted(item_id_I, item_E)
    advertiser_I, category_I = (_codes(items, name) for name in ("advertiser_id", "category_id"))
    tail_E = place_E[shop_E]
    groups: dict[str, Figures] = {
        "funnel": marginals.buyers_funnel(user_E, step_E),
        "gaps_s": marginals.gaps(user_E[shop_E], t_s_E[shop_E]),
        "cart_to_purchase_s": marginals.cart_to_purchase(user_E, item_E, t_s_E, step_E),
        "sessions": marginals.sessions(user_E[shop_E], t_s_E[shop_E]),
        "items": marginals.tail(tail_E),
        "brands": marginals.tail(advertiser_I[tail_E]),
        "advertisers": marginals.tail(advertiser_I[place_E[step_E == 2]]),
        "categories": marginals.tail(category_I[tail_E]),
        "prices": marginals.prices(items["price"].to_numpy(), category_I),
        "rhythm": marginals.rhythm(t_s_E[shop_E]),
        "ads": _ads(shown_P, clicked_P, events["dwell_s"], action_E),
        "reports": _reports(events, action_E, t_us_E),
    }
    return Measured(
        groups={name: figures for name, figures in groups.items() if figures},
        curves={
            "gaps": marginals.gap_curve(user_E[shop_E], t_s_E[shop_E]),
            "items": marginals.tail_curve(tail_E),
            "brands": marginals.tail_curve(advertiser_I[tail_E]),
        },
        actions=actions,
        per_day=per_day,
        truth=_truth(folder),
    )


def _codes(items: pa.Table, name: str) -> marginals.Ints:
    codes: marginals.Ints = (
        items[name].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    )
    return codes


def _ads(
    shown_P: marginals.Ints, clicked_P: marginals.Ints, dwell_s: pa.ChunkedArray, action_E: NDArray[Any]
) -> Figures:
    figures = marginals.clicks(shown_P, clicked_P)
    dwell_E = dwell_s.to_numpy()[action_E == "click"]
    if len(dwell_E):
        figures["long_click_share"] = float((dwell_E > LONG_CLICK_S).mean())
    return figures


def _reports(events: pa.Table, action_E: NDArray[Any], t_us_E: marginals.Ints) -> Figures:
    """Return what is only known of reported events: delays, repeats, returns."""
    received = events["received_ts"].cast(pa.int64()).to_numpy()
    conversion_E = action_E == "checkout"
    figures: Figures = {}
    if conversion_E.any():
        delay_h = (received[conversion_E] - t_us_E[conversion_E]) / 3.6e9
        figures["delay_h_median"] = float(np.median(delay_h))
        figures["delay_h_q90"] = float(np.quantile(delay_h, 0.9))
        figures["returns_per_checkout"] = float((action_E == "return").sum() / conversion_E.sum())
    reported = events.filter(events["received_ts"].is_valid())
    if len(reported):
        figures["repeated_id_share"] = 1.0 - pc.count_distinct(reported["event_id"]).as_py() / len(reported)
    return figures


def _truth(folder: Path) -> Figures:
    truth = pq.read_table(folder / "truth")
    if not len(truth):
        return {}
    causes = {entry["values"].as_py(): entry["counts"].as_py() for entry in pc.value_counts(truth["cause"])}
    figures = {f"by_{cause}": causes.get(cause, 0) / len(truth) for cause in ("click", "view", "organic")}
    return {
        "purchases": float(len(truth)),
        **figures,
        "reported_share": float(pc.mean(truth["reported"].cast(pa.float64())).as_py()),
        "returned_share": float(pc.mean(truth["returned"].cast(pa.float64())).as_py()),
    }

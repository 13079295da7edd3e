"""Marginals of a log: numbers that say what it looks like, the same for a real log and a simulated one.

All functions are pure. Each returns its figures by name; a figure that the rows cannot give is left out.

Shape letters: E events, G gaps, S sessions, I items (or brands, categories) that occur.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Figures = dict[str, float]

SESSION_GAP_S = 1800
"""Seconds without an event after which a new session begins."""
GAP_QUANTILES = {"q10": 0.1, "q25": 0.25, "median": 0.5, "q75": 0.75, "q90": 0.9}


def buyers_funnel(user_E: Ints, step_E: Ints) -> Figures:
    """Return carts per view and purchases per cart of the users with a purchase.

    Args:
        user_E: Users.
        step_E: 0 for a view, 1 for a cart, 2 for a purchase; others are left out.
    """
    buyer_E = np.isin(user_E, np.unique(user_E[step_E == 2]))
    views, carts, purchases = (int((buyer_E & (step_E == step)).sum()) for step in range(3))
    figures: Figures = {}
    if views:
        figures["carts_per_view"] = carts / views
    if carts:
        figures["purchases_per_cart"] = purchases / carts
    buyers = len(np.unique(user_E[step_E == 2]))
    if buyers:
        figures["purchases_per_buyer"] = purchases / buyers
    return figures


def gaps(user_E: Ints, t_s_E: Ints) -> Figures:
    """Return quantiles of the seconds between consecutive events of one user, events at the same second left out."""
    gap_G = _gaps(user_E, t_s_E)
    gap_G = gap_G[gap_G > 0]
    if not len(gap_G):
        return {}
    return {name: float(np.quantile(gap_G, q)) for name, q in GAP_QUANTILES.items()}


def gap_curve(user_E: Ints, t_s_E: Ints, *, points: int = 40) -> list[tuple[float, float]]:
    """Return (seconds, share of gaps that are at most as long) at even shares, for a plot."""
    gap_G = _gaps(user_E, t_s_E)
    gap_G = gap_G[gap_G > 0]
    share = np.linspace(0.01, 0.99, points)
    return [(float(np.quantile(gap_G, q)), float(q)) for q in share] if len(gap_G) else []


def cart_to_purchase(user_E: Ints, item_E: Ints, t_s_E: Ints, step_E: Ints) -> Figures:
    """Return quantiles of the seconds from a user's last cart of an item to its purchase.

    Purchases without a cart before them are left out, and repeats at the same second count once.

    Args:
        user_E: Users.
        item_E: Items.
        t_s_E: Seconds.
        step_E: 1 for a cart, 2 for a purchase; others are left out.
    """
    asked_E = (step_E == 1) | (step_E == 2)
    user_E, item_E, t_s_E, step_E = (column[asked_E] for column in (user_E, item_E, t_s_E, step_E))
    order_E = np.lexsort((step_E, t_s_E, item_E, user_E))
    user_E, item_E, t_s_E, step_E = (column[order_E] for column in (user_E, item_E, t_s_E, step_E))
    place_E = np.arange(len(user_E))
    new_E, repeat_E = np.ones(len(user_E), np.bool_), np.zeros(len(user_E), np.bool_)
    new_E[1:] = (user_E[1:] != user_E[:-1]) | (item_E[1:] != item_E[:-1])
    repeat_E[1:] = ~new_E[1:] & (t_s_E[1:] == t_s_E[:-1]) & (step_E[1:] == step_E[:-1])
    first_E = np.maximum.accumulate(np.where(new_E, place_E, 0))
    cart_E = np.maximum.accumulate(np.where(step_E == 1, place_E, -1))
    after_E = np.flatnonzero((step_E == 2) & ~repeat_E & (cart_E >= first_E))
    if not len(after_E):
        return {}
    delay_s = t_s_E[after_E] - t_s_E[cart_E[after_E]]
    return {name: float(np.quantile(delay_s, q)) for name, q in GAP_QUANTILES.items()}


def sessions(user_E: Ints, t_s_E: Ints) -> Figures:
    """Return the mean number of events of a session, the share of sessions with one event, and their 90% quantile."""
    if not len(user_E):
        return {}
    order_E = np.lexsort((t_s_E, user_E))
    user_E, t_s_E = user_E[order_E], t_s_E[order_E]
    begins_E = np.ones(len(user_E), np.bool_)
    begins_E[1:] = (user_E[1:] != user_E[:-1]) | (t_s_E[1:] - t_s_E[:-1] > SESSION_GAP_S)
    start_S = np.flatnonzero(begins_E)
    size_S = np.diff(np.append(start_S, len(user_E)))
    return {
        "events_mean": float(size_S.mean()),
        "single_share": float((size_S == 1).mean()),
        "events_q90": float(np.quantile(size_S, 0.9)),
    }


def tail(id_E: Ints) -> Figures:
    """Return how unevenly events fall on ids: shares of the top 1% and 10% of those that occur, Gini, Zipf exponent.

    The exponent is minus the slope of log count over log rank, by least squares over the ranks up to the median.
    """
    if not len(id_E):
        return {}
    count_I = np.sort(np.unique(id_E, return_counts=True)[1])[::-1].astype(np.float64)
    total = count_I.sum()
    rank_I = np.arange(1, len(count_I) + 1)
    figures = {
        "top1_share": float(count_I[: max(1, round(0.01 * len(count_I)))].sum() / total),
        "top10_share": float(count_I[: max(1, round(0.1 * len(count_I)))].sum() / total),
        "gini": float(1 - 2 * ((np.cumsum(count_I[::-1]) / total).mean() - 0.5 / len(count_I))),
    }
    half = max(2, len(count_I) // 2)
    if len(count_I) > 2:
        figures["zipf"] = float(-np.polyfit(np.log(rank_I[:half]), np.log(count_I[:half]), 1)[0])
    return figures


def tail_curve(id_E: Ints, *, points: int = 60) -> list[tuple[float, float]]:
    """Return (share of the ids, share of the events that the most frequent of them have), for a plot."""
    if not len(id_E):
        return []
    count_I = np.sort(np.unique(id_E, return_counts=True)[1])[::-1]
    share_I = np.cumsum(count_I) / count_I.sum()
    place = np.unique(np.geomspace(1, len(count_I), points).astype(np.int64))
    return [(float(p / len(count_I)), float(share_I[p - 1])) for p in place]


def prices(price_I: Floats, category_I: Ints) -> Figures:
    """Return the spread of log prices over everything and within categories, and the 90% quantile over the median."""
    known_I = np.isfinite(price_I) & (price_I > 0)
    if known_I.sum() < 2:
        return {}
    log_I, category_I = np.log(price_I[known_I]), category_I[known_I]
    _, place_I = np.unique(category_I, return_inverse=True)
    size_K = np.bincount(place_I)
    mean_K = np.bincount(place_I, log_I) / size_K
    return {
        "sd_log": float(log_I.std()),
        "sd_log_within_category": float(np.sqrt(((log_I - mean_K[place_I]) ** 2).mean())),
        "q90_over_median": float(np.exp(np.quantile(log_I, 0.9) - np.median(log_I))),
    }


def rhythm(t_s_E: Ints) -> Figures:
    """Return the busiest hour's events over those of the quietest, and a weekend day's over those of a weekday (UTC).

    Only whole weeks count for the weekdays.
    """
    if not len(t_s_E):
        return {}
    hour_E, day_E = t_s_E // 3600 % 24, t_s_E // 86400
    count_H = np.bincount(hour_E, minlength=24)
    figures = {"peak_over_trough": float(count_H.max() / max(count_H.min(), 1))}
    whole_E = day_E < day_E.min() + (day_E.max() + 1 - day_E.min()) // 7 * 7
    if whole_E.any():
        # 1970-01-01 was a Thursday.
        weekend_E = (day_E[whole_E] + 3) % 7 >= 5
        figures["weekend_over_weekday"] = float((weekend_E.sum() / 2) / max((~weekend_E).sum() / 5, 1e-9))
    return figures


def clicks(shown_P: Ints, clicked_P: Ints) -> Figures:
    """Return the click-through rate, and that of positions 2 and 3 relative to the first.

    Args:
        shown_P: Ads shown in each position; position 0 stands for one that is not known.
        clicked_P: Those of them that were clicked.
    """
    if not shown_P.sum():
        return {}
    figures = {"ctr": float(clicked_P.sum() / shown_P.sum())}
    if len(clicked_P) > 1 and clicked_P[1]:
        first = clicked_P[1] / shown_P[1]
        known = (position for position in (2, 3) if position < len(shown_P) and shown_P[position])
        figures |= {f"position_{p}_over_1": float(clicked_P[p] / shown_P[p] / first) for p in known}
    return figures


def _gaps(user_E: Ints, t_s_E: Ints) -> Ints:
    order_E = np.lexsort((t_s_E, user_E))
    user_E, t_s_E = user_E[order_E], t_s_E[order_E]
    gap_G: Ints = np.diff(t_s_E)[user_E[1:] == user_E[:-1]]
    return gap_G

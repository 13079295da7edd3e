"""Marginals by hand, and laws of theirs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.world.describe import marginals


def test_the_funnel_of_buyers_leaves_out_who_never_bought():
    user = np.array([1, 1, 1, 1, 2, 2, 3])
    step = np.array([0, 0, 1, 2, 0, 1, 2])  # user 2 only views and carts
    assert marginals.buyers_funnel(user, step) == {
        "carts_per_view": 1 / 2,
        "purchases_per_cart": 2 / 1,
        "purchases_per_buyer": 2 / 2,
    }
    assert marginals.buyers_funnel(user[:0], step[:0]) == {}


def test_gaps_are_within_users_and_in_order_of_time():
    user = np.array([2, 1, 1, 2, 1])
    t = np.array([100, 10, 40, 400, 10])  # user 1: 10, 10, 40; user 2: 100, 400
    assert marginals.gaps(user, t)["median"] == (30 + 300) / 2
    assert marginals.gaps(user[:1], t[:1]) == {}


def test_a_purchase_follows_the_last_cart_of_the_same_item_by_the_same_user():
    rows = [  # user, item, second, step
        (1, 7, 0, 1), (1, 7, 50, 1), (1, 7, 60, 2),  # 10 s after the last cart
        (1, 7, 60, 2),  # the same purchase once more
        (1, 8, 90, 2),  # never in a cart
        (2, 7, 100, 2), (2, 7, 110, 1),  # the cart comes later
        (2, 9, 5, 0), (2, 9, 20, 1), (2, 9, 50, 2),  # 30 s; a view is no cart
    ]  # fmt: skip
    user, item, t, step = np.array(rows)[::-1].T  # in any order
    figures = marginals.cart_to_purchase(user, item, t, step)
    assert figures["median"] == (10 + 30) / 2
    assert figures["q90"] == pytest.approx(10 + 0.9 * 20)
    assert marginals.cart_to_purchase(user[:1], item[:1], t[:1], step[:1]) == {}


def test_a_session_ends_after_half_an_hour_of_nothing():
    user = np.array([1, 1, 1, 1, 2])
    t = np.array([0, 1800, 3601, 3601, 5])
    assert marginals.sessions(user, t) == {
        "events_mean": 5 / 3,
        "single_share": 1 / 3,
        "events_q90": pytest.approx(2.0),
    }


def test_the_tail_of_even_counts_is_even_and_of_one_id_is_not():
    even = marginals.tail(np.repeat(np.arange(100), 3))
    assert even["gini"] == pytest.approx(0.0, abs=1e-12)
    assert even["zipf"] == pytest.approx(0.0, abs=1e-12)
    assert even["top1_share"] == 0.01
    assert even["top10_share"] == 0.1
    ranks = np.arange(1, 401)
    skewed = marginals.tail(np.repeat(ranks, np.round(1e6 / ranks).astype(int)))
    assert skewed["zipf"] == pytest.approx(1.0, abs=0.01)
    assert marginals.tail(np.zeros(0, np.int64)) == {}


@given(st.lists(st.integers(0, 20), min_size=1, max_size=200))
def test_gini_agrees_with_its_definition_and_does_not_depend_on_names(ids):
    count = np.unique(ids, return_counts=True)[1].astype(float)
    mean_difference = np.abs(count[:, None] - count[None, :]).mean()
    figures = marginals.tail(np.array(ids))
    assert figures["gini"] == pytest.approx(mean_difference / (2 * count.mean()), abs=1e-9)
    assert marginals.tail(np.array(ids) * 7 + 3) == figures


def test_prices_spread_over_everything_and_within_categories():
    price = np.exp(np.array([1.0, 3.0, 5.0, 7.0, np.nan]))
    figures = marginals.prices(price, np.array([0, 0, 1, 1, 1]))
    assert figures["sd_log_within_category"] == pytest.approx(1.0)
    assert figures["sd_log"] == pytest.approx(np.sqrt(5.0))


def test_clicks_by_position_are_relative_to_the_first():
    assert marginals.clicks(np.array([0, 100, 100, 100]), np.array([0, 20, 10, 5])) == {
        "ctr": 35 / 300,
        "position_2_over_1": 0.5,
        "position_3_over_1": 0.25,
    }
    assert marginals.clicks(np.array([200]), np.array([1])) == {"ctr": 0.005}
    assert marginals.clicks(np.zeros(4, np.int64), np.zeros(4, np.int64)) == {}


def test_a_weekend_is_told_from_weekdays():
    # 1970-01-05 was a Monday: a week with twice as much on its Saturday and Sunday.
    day = np.repeat(np.arange(4, 11), [10, 10, 10, 10, 10, 20, 20])
    assert marginals.rhythm(day * 86400 + 3600)["weekend_over_weekday"] == pytest.approx(2.0)

"""Slices by hand, and the laws that tie them to each other."""

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.evaluation.slices import build_slices, restrict
from lowerfunnel.events.schema import ACTION_CODE


def offsets_of(rows: list[list[int]]) -> np.ndarray:
    return np.cumsum([0, *map(len, rows)], dtype=np.int64)


def slices_of(
    pairs: list[list[int]], histories: list[list[int]], action: str = "view", **more: object
) -> dict[str, list[bool]]:
    arguments = {
        "pair_offsets": offsets_of(pairs),
        "pair_item_P": np.array(list(chain(*pairs)), np.int32),
        "history_offsets": offsets_of(histories),
        "history_item": np.array(list(chain(*histories)), np.int32),
        "history_action": np.full(sum(map(len, histories)), ACTION_CODE[action], np.int8),
        "train_count_I": np.full(10, 100),
        **more,
    }
    return {name: inside_P.tolist() for name, inside_P in build_slices(**arguments).items()}  # type: ignore[arg-type]


def test_what_was_touched_is_retargeting_and_the_rest_discovery() -> None:
    found = slices_of([[1, 2], [1, -1]], [[2, 5], [2, -1]])
    assert found["retargeting"] == [False, True, False, False]
    assert found["discovery"] == [True, False, True, True]


def test_an_impression_is_no_touch() -> None:
    assert slices_of([[1]], [[1]], action="impression")["retargeting"] == [False]


def test_cold_items_have_few_events_or_are_not_in_the_catalogue() -> None:
    found = slices_of([[0, 1, 2, -1]], [[]], train_count_I=np.array([0, 5, 6]), cold_at_most=5)
    assert found["cold_items"] == [True, True, False, True]


def test_users_are_split_into_thirds_by_the_length_of_their_history() -> None:
    found = slices_of([[0]] * 4, [[], [1], [1, 2], [1, 2, 3]])
    assert found["activity_none"] == [True, False, False, False]
    assert found["activity_low"] == [False, True, False, False]
    assert found["activity_middle"] == [False, False, True, False]
    assert found["activity_high"] == [False, False, False, True]


def test_users_of_one_length_share_a_slice() -> None:
    found = slices_of([[0]] * 3, [[1], [2], [3]])
    assert found["activity_low"] == [True, True, True]
    assert "activity_high" not in found


def test_surfaces_are_slices() -> None:
    found = slices_of([[0, 1, 2]], [[]], surface_P=np.array([1, -1, 0], np.int32), surfaces=("home", "search", "x"))
    assert found["surface=home"] == [False, False, True]
    assert found["surface=search"] == [True, False, False]
    assert "surface=x" not in found


def test_users_are_told_apart_by_how_often_they_had_converted() -> None:
    found = slices_of([[0]] * 6, [[1] * times for times in (0, 1, 2, 3, 9, 10)], "checkout", conversions=("checkout",))
    assert found["conversions_0"] == [True, False, False, False, False, False]
    assert found["conversions_1_2"] == [False, True, True, False, False, False]
    assert found["conversions_3_9"] == [False, False, False, True, True, False]
    assert found["conversions_10_up"] == [False, False, False, False, False, True]
    views = slices_of([[0]], [[1, 1]], "view", conversions=("checkout",))
    assert views["conversions_0"] == [True]


def test_an_item_without_an_event_before_the_request_is_among_the_youngest() -> None:
    day_us = 86_400_000_000
    age_us_P = np.array([-day_us, 0, 7 * day_us - 1, 7 * day_us, 28 * day_us - 1, 28 * day_us])
    found = slices_of([[0, 1, 2, 3, 4, 5]], [[]], item_age_us_P=age_us_P)
    assert found["item_age_under_7d"] == [True, True, True, False, False, False]
    assert found["item_age_7_28d"] == [False, False, False, True, True, False]
    assert found["item_age_over_28d"] == [False, False, False, False, False, True]


def test_advertisers_are_split_into_thirds_by_their_events_of_training() -> None:
    # Advertiser 0 has 2 + 1 events, 1 has 20, 2 has 9; item 4 has no advertiser.
    advertiser_I, count_I = np.array([0, 0, 1, 2, -1], np.int32), np.array([2, 1, 20, 9, 100])
    found = slices_of([[0, 1, 2, 3, 4, -1]], [[]], advertiser_I=advertiser_I, train_count_I=count_I)
    assert found["advertiser_small"] == [True, True, False, False, False, False]
    assert found["advertiser_middle"] == [False, False, False, True, False, False]
    assert found["advertiser_large"] == [False, False, True, False, False, False]


def test_advertisers_of_one_size_share_a_slice() -> None:
    advertiser_I = np.array([0, 1, 2], np.int32)
    found = slices_of([[0, 1, 2]], [[]], advertiser_I=advertiser_I, train_count_I=np.array([4, 4, 4]))
    assert found["advertiser_small"] == [True, True, True]
    assert "advertiser_large" not in found


lists = st.lists(st.integers(-1, 9), max_size=6)


@given(st.lists(st.tuples(lists.filter(bool), lists), min_size=1, max_size=6))
def test_slices_of_one_kind_split_all_pairs(rows: list[tuple[list[int], list[int]]]) -> None:
    ages = np.arange(sum(len(row[0]) for row in rows)) * 10**12
    found = slices_of(
        [row[0] for row in rows], [row[1] for row in rows], "checkout", conversions=("checkout",), item_age_us_P=ages
    )
    assert all(found["all"])
    kinds = [[name for name in found if name.startswith(kind)] for kind in ("activity_", "conversions_", "item_age_")]
    for kind in (("retargeting", "discovery"), *kinds):
        assert np.array([found[name] for name in kind]).sum(axis=0).tolist() == [1] * len(found["all"])


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=6))
def test_restricting_keeps_each_query_with_a_pair_and_its_pairs(rows: list[list[bool]]) -> None:
    row_S, offsets_S1 = restrict(np.array(list(chain(*rows))), offsets_of(rows))  # type: ignore[arg-type]
    assert row_S.tolist() == [row for row, marks in enumerate(rows) if any(marks)]
    assert np.diff(offsets_S1).tolist() == [sum(marks) for marks in rows if any(marks)]

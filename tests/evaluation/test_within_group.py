"""Whether the items of one advertiser are told apart: against a loop, and what says nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowerfunnel.evaluation import within_group
from lowerfunnel.evaluation.within_group import within_group_auc, within_group_row


def reference(query, item, offsets, pair_item, group):
    """One pair at a time."""
    out = []
    for q in range(len(offsets) - 1):
        for p in range(offsets[q], offsets[q + 1]):
            own = pair_item[p]
            others = [
                i for i in range(len(item)) if own >= 0 and group[own] >= 0 and group[i] == group[own] and i != own
            ]
            score = query[q] @ item.T
            wins = [float(score[i] < score[own]) + 0.5 * float(score[i] == score[own]) for i in others]
            out.append(np.mean(wins) if wins else np.nan)
    return np.array(out)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 5), st.sampled_from([3, 10**6]))
def test_each_pair_is_compared_with_the_others_of_its_group(seed, items, queries, at_once):
    generator = np.random.default_rng(seed)
    # Whole numbers, so that ties are ties.
    query = generator.integers(-2, 3, (queries, 2)).astype(np.float32)
    item = generator.integers(-2, 3, (items, 2)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(generator.integers(1, 4, queries))])
    pair_item = generator.integers(-1, items, offsets[-1]).astype(np.int32)
    group = generator.integers(-1, 3, items).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(within_group, "_MOST_COMPARISONS", at_once)
        found = within_group_auc(query, item, pair_offsets=offsets, pair_item_P=pair_item, group_I=group)
    np.testing.assert_allclose(found, reference(query, item, offsets, pair_item, group), atol=1e-6)


def test_a_model_for_which_all_items_are_one_is_at_one_half():
    one = np.ones((4, 2), np.float32)
    found = within_group_auc(
        one[:1], one, pair_offsets=np.array([0, 2]), pair_item_P=np.array([0, 3], np.int32),
        group_I=np.array([0, 0, 1, 1], np.int32),
    )  # fmt: skip
    assert found.tolist() == [0.5, 0.5]


def test_the_figure_is_a_mean_over_queries_of_those_that_say_something():
    auc = np.array([1.0, 0.5, np.nan, np.nan, 0.25], np.float32)
    row = within_group_row(
        auc, np.array([0, 2, 3, 5]), task="conversion", model="m", n_boot=100, seed=0, data="synthetic"
    )
    assert row is not None
    assert (row.value, row.n) == ((0.75 + 0.25) / 2, 2)
    assert row.ci_low <= row.value <= row.ci_high
    nothing = np.full(2, np.nan, np.float32)
    assert within_group_row(nothing, np.array([0, 1, 2]), task="t", model="m", n_boot=100, seed=0, data="real") is None

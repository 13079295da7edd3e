"""Bootstrap intervals: laws, and their coverage of a known mean."""

import numpy as np
import pytest

from lowerfunnel.metrics import bootstrap
from lowerfunnel.metrics.bootstrap import bootstrap_interval


def values(queries: int, metrics: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((queries, metrics))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    ends = [bootstrap_interval(values(50, 2), n_boot=200, generator=np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_interval(values(50, 3), n_boot=101, generator=np.random.default_rng(0))
    monkeypatch.setattr(bootstrap, "_DRAWS_PER_BLOCK", 500)
    blocks = bootstrap_interval(values(50, 3), n_boot=101, generator=np.random.default_rng(0))
    assert np.allclose(whole, blocks, rtol=0, atol=1e-14)


def test_a_single_query_has_an_interval_of_no_width() -> None:
    low, high = bootstrap_interval(np.array([[0.3, 0.7]]), n_boot=20, generator=np.random.default_rng(0))
    assert low.tolist() == high.tolist() == [0.3, 0.7]


def test_a_shift_of_the_values_shifts_the_interval() -> None:
    value_QM = values(40, 1)
    low, high = bootstrap_interval(np.hstack([value_QM, value_QM + 2]), n_boot=300, generator=np.random.default_rng(0))
    assert low[1] == pytest.approx(low[0] + 2)
    assert high[1] == pytest.approx(high[0] + 2)


def test_queries_of_weight_zero_do_not_count() -> None:
    value_QM = values(40, 1)
    weight_QM = np.ones((40, 1))
    weight_QM[20:] = 0
    changed_QM = value_QM.copy()
    changed_QM[20:] = 1e9
    one, other = (
        bootstrap_interval(v, n_boot=100, generator=np.random.default_rng(0), weight_QM=weight_QM)
        for v in (value_QM, changed_QM)
    )
    assert np.array_equal(one, other)


def test_a_weighted_mean_is_the_mean_of_repeated_values() -> None:
    value_QM, weight_QM = values(60, 1), np.full((60, 1), 3.0)
    one = bootstrap_interval(value_QM, n_boot=100, generator=np.random.default_rng(0), weight_QM=weight_QM)
    other = bootstrap_interval(value_QM, n_boot=100, generator=np.random.default_rng(0))
    assert np.allclose(one, other, rtol=0, atol=1e-14)


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    sample_QM = (rng.random((300, 400)) < 0.2).astype(float)  # 400 independent experiments side by side
    low, high = bootstrap_interval(sample_QM, n_boot=500, generator=rng)
    covered = ((low <= 0.2) & (high >= 0.2)).mean()
    assert 0.91 <= covered <= 0.98


@pytest.mark.parametrize(
    ("value_QM", "n_boot", "message"),
    [
        (np.zeros((0, 1)), 10, "got 0 and 10"),
        (np.zeros((3, 1)), 0, "got 3 and 0"),
        (np.array([[np.nan], [1.0]]), 10, "values are NaN or infinite"),
    ],
)
def test_what_has_no_interval_is_refused(value_QM: np.ndarray, n_boot: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(value_QM, n_boot=n_boot, generator=np.random.default_rng(0))

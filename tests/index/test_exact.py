"""What only the exact index has: tiles, thresholds, threads."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lowerfunnel.index.exact import ExactIndex


def unit_vectors(rows: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    unit: npt.NDArray[np.float32] = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("k", [1, 7, 100, 1000])
@pytest.mark.parametrize("tile_items", [300, 2_000, 100_000])
def test_tiles_and_thresholds_change_nothing(k: int, tile_items: int) -> None:
    vector_ID, query_QD = unit_vectors(5_000, 16, 0), unit_vectors(70, 16, 1)
    index = ExactIndex(vector_ID, block_queries=32, tile_items=tile_items)
    ranking = index.search(query_QD, k)
    score_QI = query_QD.astype(np.float64) @ vector_ID.astype(np.float64).T
    best_QK = -np.sort(-score_QI, axis=1)[:, :k]
    assert np.abs(ranking.score_QK - best_QK).max() < 1e-6
    assert np.abs(np.take_along_axis(score_QI, ranking.item_QK.astype(np.int64), 1) - ranking.score_QK).max() < 1e-6


@pytest.mark.parametrize("order", [1, -1])
def test_items_sorted_by_score_are_found_whichever_end_is_best(order: int) -> None:
    vector_ID = np.arange(10_000, dtype=np.float32)[::order, None]
    found = ExactIndex(vector_ID, tile_items=1_000).search(np.ones((1, 1), np.float32), 50)
    best = np.arange(9_999, 9_949, -1)
    assert found.score_QK[0].tolist() == best.tolist()
    assert found.item_QK[0].tolist() == (best if order == 1 else 9_999 - best).tolist()


def test_a_catalogue_of_equal_items_comes_back_in_order() -> None:
    found = ExactIndex(np.ones((9_000, 2), np.float32), tile_items=2_000).search(np.ones((3, 2), np.float32), 5)
    assert found.item_QK.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_negative_and_positive_zero_are_equal() -> None:
    found = ExactIndex(np.array([[-0.0], [0.0], [-1.0]], np.float32)).search(np.array([[1.0]], np.float32), 3)
    assert found.item_QK.tolist() == [[0, 1, 2]]


def test_threads_change_neither_the_answer_nor_torch() -> None:
    vector_ID, query_QD = unit_vectors(2_000, 8, 0), unit_vectors(300, 8, 1)
    threads_before = torch.get_num_threads()
    answers = [ExactIndex(vector_ID, threads=threads, block_queries=16).search(query_QD, 20) for threads in (1, 3)]
    assert torch.get_num_threads() == threads_before
    assert answers[0].item_QK.tolist() == answers[1].item_QK.tolist()


def test_settings_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1, got None, 0, 10"):
        ExactIndex(np.ones((1, 1), np.float32), block_queries=0, tile_items=10)

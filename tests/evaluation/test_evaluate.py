"""The whole evaluation on models whose lists are known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lowerfunnel.evaluation import measure as measure_module
from lowerfunnel.evaluation.evaluate import Evaluation, evaluate
from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.metrics_json import MetricRow
from lowerfunnel.index.ranking import Ranking

ITEMS = 40


@dataclass(frozen=True)
class Fixed:
    """Gives everyone the same order, leaving out what is excluded."""

    order: tuple[int, ...]
    obedient: bool = True

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        ranking = Ranking.empty(queries.queries, k)
        for query in range(queries.queries):
            start, stop = queries.excluded_offsets[query : query + 2]
            excluded = queries.excluded_item[start:stop].tolist() if self.obedient else []
            items = [item for item in self.order if item not in excluded][:k]
            ranking.item_QK[query, : len(items)] = items
            ranking.score_QK[query, : len(items)] = 1 / np.arange(1, len(items) + 1)
        return ranking


UPWARDS, DOWNWARDS = Fixed(tuple(range(ITEMS))), Fixed(tuple(reversed(range(ITEMS))))


def queries(count: int = 9) -> EvaluationSet:
    """Query q holds out items q and 20, and excludes item 0."""
    pair_item_P = np.stack([np.arange(1, count + 1), np.full(count, 20)], axis=1).ravel().astype(np.int32)
    return EvaluationSet(
        task="conversion",
        user_Q=np.arange(count, dtype=np.int32),
        at_us_Q=np.zeros(count, np.int64),
        pair_offsets=2 * np.arange(count + 1, dtype=np.int64),
        pair_item_P=pair_item_P,
        excluded_offsets=np.arange(count + 1, dtype=np.int64),
        excluded_item=np.zeros(count, np.int32),
        slices_P={
            "all": np.ones(2 * count, np.bool_),
            "the_20": pair_item_P == 20,
            "first": np.arange(2 * count) < 1,
            "nothing": np.zeros(2 * count, np.bool_),
        },
    )


def evaluated(**more: object) -> Evaluation:
    arguments = {"n_items": ITEMS, "data": "synthetic", "ks": (5, 10, 1000), "n_boot": 50, **more}
    return evaluate({"up": UPWARDS, "down": DOWNWARDS}, queries(), **arguments)  # type: ignore[arg-type]


def row_of(evaluation: Evaluation, metric: str, model: str = "up", slice_name: str = "all") -> MetricRow:
    (row,) = [row for row in evaluation.rows if (row.metric, row.model, row.slice) == (metric, model, slice_name)]
    return row


def test_figures_by_hand() -> None:
    result = evaluated()
    # Item 0 is excluded, so item q stands at rank q for q = 1..9, and item 20 at rank 20.
    assert row_of(result, "recall@5").value == pytest.approx((5 * 0.5 + 4 * 0) / 9)
    assert row_of(result, "hr@5").value == pytest.approx(5 / 9)
    assert row_of(result, "mrr@1000").value == pytest.approx(sum(1 / q for q in range(1, 10)) / 9)
    assert row_of(result, "micro_recall@10").value == pytest.approx(9 / 18)
    assert row_of(result, "recall@1000").value == 1.0, "the list holds the whole catalogue"
    assert row_of(result, "recall@10", slice_name="the_20").value == 0.0
    assert row_of(result, "mrr@1000", slice_name="the_20").value == pytest.approx(1 / 20), "ranks span the catalogue"
    first = row_of(result, "recall@5", slice_name="first")
    assert (first.value, first.ci_low, first.ci_high, first.n) == (1.0, 1.0, 1.0, 1)
    assert (first.task, first.data) == ("conversion", "synthetic")


def test_an_empty_slice_gives_no_rows() -> None:
    assert {row.slice for row in evaluated().rows} == {"all", "the_20", "first"}


def test_every_interval_holds_its_value() -> None:
    for row in evaluated(n_boot=300).rows:
        if row.ci_low is not None and row.ci_high is not None:
            assert row.ci_low - 1e-12 <= row.value <= row.ci_high + 1e-12


def test_coverage_counts_items_and_advertisers() -> None:
    # 39 items stand in every list; 36 of them fill 0.9 x 9 x 39 = 315.9 of the slots (36 x 9 = 324).
    advertiser = np.array([-1] * 10 + [0] * 10 + [2] * 20, np.int32)
    result = evaluated(advertiser_of_item=advertiser)
    assert row_of(result, "coverage@100").value == pytest.approx(36 / 40)
    assert row_of(result, "advertiser_coverage@100").value == 1.0, "two thirds of the slots go to one of two"
    assert row_of(result, "coverage@100").ci_low is None
    assert not [row for row in evaluated().rows if row.metric.startswith("advertiser")]


@pytest.mark.parametrize("block_queries", [1, 4, 100])
def test_blocks_of_queries_change_nothing(block_queries: int) -> None:
    assert evaluated(block_queries=block_queries).rows == evaluated().rows


def test_measuring_models_apart_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    together = evaluated().rows
    monkeypatch.setattr(measure_module, "_MOST_VALUES", 1)
    assert [(row.metric, row.model, row.slice) for row in evaluated().rows] == [
        (row.metric, row.model, row.slice) for row in together
    ]
    for apart, row in zip(evaluated().rows, together, strict=True):
        assert (apart.value, apart.ci_low, apart.ci_high) == pytest.approx((row.value, row.ci_low, row.ci_high))


def test_the_seed_moves_the_intervals_and_nothing_else() -> None:
    first, again, other = evaluated(seed=0).rows, evaluated(seed=0).rows, evaluated(seed=1).rows
    assert first == again
    assert first != other
    assert [row.value for row in first] == [row.value for row in other]


def test_a_model_that_returns_an_excluded_item_is_caught() -> None:
    with pytest.raises(RuntimeError, match="rude returned 9 excluded items, the first at rank 1"):
        evaluate({"rude": Fixed(tuple(range(ITEMS)), obedient=False)}, queries(), n_items=ITEMS, data="synthetic")


def test_score_quantiles_are_collected() -> None:
    kept = evaluated().lists["up"]
    assert kept.score_at_rank[1] == [1.0] * 7
    assert kept.score_at_rank[10] == pytest.approx([0.1] * 7)
    assert kept.score_held_out is not None
    assert kept.score_held_out[0] == pytest.approx(1 / 20)
    assert kept.score_held_out[-1] == 1.0


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    evaluated(block_queries=5, progress=lambda *step: told.append(step))
    assert told == [("up", 5, 9), ("up", 9, 9), ("down", 5, 9), ("down", 9, 9)]


def test_a_paired_difference_is_the_difference_of_the_figures() -> None:
    result = evaluated()
    for metric in ("recall@10", "ndcg@10", "micro_recall@10"):
        difference = result.difference("up", "down", metric, n_boot=100)
        assert difference.value == pytest.approx(row_of(result, metric).value - row_of(result, metric, "down").value)
        reverse = result.difference("down", "up", metric, n_boot=100)
        assert (reverse.ci_low, reverse.ci_high) == pytest.approx((-difference.ci_high, -difference.ci_low))
        assert difference.above
        assert reverse.below
        assert not reverse.above


def test_a_model_does_not_differ_from_itself() -> None:
    difference = evaluated().difference("up", "up", "recall@10")
    assert (difference.value, difference.ci_low, difference.ci_high) == (0, 0, 0)
    assert not difference.above
    assert not difference.below


def test_differences_that_make_no_sense_are_refused() -> None:
    result = evaluated()
    for metric in ("recall", "recall@", "auc@10"):
        with pytest.raises(ValueError, match="a metric is one of recall, hr"):
            result.difference("up", "down", metric)
    with pytest.raises(ValueError, match="nothing to compare"):
        result.difference("up", "down", "recall@10", slice_name="nothing")


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="0 models, 9 queries"):
        evaluate({}, queries(), n_items=ITEMS, data="real")
    with pytest.raises(ValueError, match="0 queries"):
        evaluate({"up": UPWARDS}, queries().block(0, 0), n_items=ITEMS, data="real")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slices_P": {}}, "slice 'all' is missing"),
        ({"slices_P": {"all": np.ones(3, np.bool_)}}, "must mark each of 18 pairs, got 3"),
        ({"user_Q": np.arange(3, dtype=np.int32)}, "3 queries"),
        ({"history_item": np.zeros(1, np.int32)}, "some of the three were not given"),
        ({"pair_offsets": np.array([0, 2, 2, 6, 8, 10, 12, 14, 16, 18])}, "1 have none"),
    ],
)
def test_an_evaluation_set_that_does_not_fit_together_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(queries(), **change)  # type: ignore[arg-type]

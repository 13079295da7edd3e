"""Settings of the labels that cannot mean anything are refused with the number that came."""

import pytest

from lowerfunnel.labels.settings import LabelConfig, SplitConfig
from lowerfunnel.retrieval.settings import TowerConfig


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ({"test_days": 0}, "test_days must be above 0, got 0"),
        ({"validation_days": -1}, "validation_days must be above 0, got -1"),
        ({"gap_h": -1}, "gap_h must not be negative, got -1"),
        ({"validation_share": 0}, r"validation_share must lie in \(0, 1\], got 0"),
        ({"validation_share": 1.5}, r"validation_share must lie in \(0, 1\], got 1.5"),
    ],
)
def test_a_split_that_holds_nothing_out_is_refused(split: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SplitConfig(**split)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"conversions": ("buy",)}, r"unknown actions \['buy'\]; the canonical ones are impression, view"),
        ({"weights": {"cart": 1.0}}, r"unknown actions \['cart'\]"),
        ({"conversions": ()}, "conversions must name at least one action"),
        ({"weights": {"checkout": 0.0}}, r"weights must be above 0, got \{'checkout': 0.0\}; leave out"),
        ({"weights": {"checkout": float("nan")}}, "weights must be above 0"),
        (
            {"weights": {"view": 1.0}},
            "every conversion is a positive and needs a weight; checkout has none in weights, which names view",
        ),
        ({"weights": {}}, "which names nothing"),
    ],
)
def test_labels_without_a_positive_are_refused(labels: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        LabelConfig(**labels)


def test_an_order_that_came_back_is_nothing_to_learn_from_unless_it_is_named() -> None:
    labels = LabelConfig()
    assert "return" not in {*labels.conversions, *labels.weights}
    assert "return" not in TowerConfig().history_actions
    assert "return" in TowerConfig(history_actions=("return",)).history_actions

"""Settings of the labels that cannot mean anything are refused with the number that came."""

import pytest

from lowerfunnel.labels.settings import DwellConfig, LabelConfig, SplitConfig
from lowerfunnel.retrieval.settings import HistoryConfig


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
        ({"touch_window_h": -1.0}, "touch_window_h must be a number of hours and not negative, got -1.0"),
        ({"touch_window_h": float("nan")}, "touch_window_h must be a number of hours"),
        (
            {"dwell": DwellConfig(weight="log2", actions=("checkout",))},
            "dwell.actions names checkout, which labels.conversions names too",
        ),
        (
            {"dwell": DwellConfig(weight="log2")},
            "dwell.actions names click and weights, which names checkout, does not",
        ),
    ],
)
def test_labels_without_a_positive_are_refused(labels: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        LabelConfig(**labels)


@pytest.mark.parametrize(
    ("dwell", "sentence"),
    [
        ({"t_max_s": 0.0}, "t_max_s must be a number of seconds above 0, got 0.0"),
        ({"t_max_s": float("inf")}, "t_max_s must be a number of seconds above 0, got inf"),
        ({"actions": ("tap",)}, r"unknown actions \['tap'\]; the canonical ones are"),
        ({"actions": ()}, "actions must name at least one action"),
    ],
)
def test_a_dwell_that_weighs_nothing_is_refused(dwell: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DwellConfig(**dwell)


def test_an_order_that_came_back_is_nothing_to_learn_from_unless_it_is_named() -> None:
    labels = LabelConfig()
    assert "return" not in {*labels.conversions, *labels.weights}
    assert "return" not in HistoryConfig().actions
    assert "return" in HistoryConfig(actions=("return",)).actions

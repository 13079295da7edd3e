"""Clicks that count by how long their user stayed."""

import itertools
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.labels.label_samples import DAY_US, Event, config_of, labels_of, store_of, table

from lowerfunnel.errors import UnavailableError
from lowerfunnel.labels.build import LabelInfo

WEIGHTS = {"checkout": 1.0, "click": 0.5, "view": 0.25}
FORMULAS = pytest.mark.parametrize("formula", ["log2", "log"])
END = [Event(9, 1, "checkout", 0), Event(9, 2, "checkout", 20 * DAY_US)]


def clicks(
    folder: Path, dwells: list[float | None], *, formula: str, t_max_s: float = 60.0
) -> tuple[dict[int, float], LabelInfo]:
    """Return the weight of the click on item i, which lasted `dwells[i]`, where it is an example."""
    log = [Event(1, item, "click", item, dwell_s=dwell) for item, dwell in enumerate(dwells)]
    config = config_of("temporal", weights=WEIGHTS, dwell={"weight": formula, "t_max_s": t_max_s})
    labels, info = labels_of(store_of(folder, [*log, *END]), config)
    return {row["item_id"]: row["weight"] for row in table(labels, "train") if row["action"] == "click"}, info


@FORMULAS
@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0.5, 1e4))
def test_weights_grow_with_dwell_from_nothing_at_zero_to_the_whole_at_the_maximum(
    formula: str, dwells: list[float], t_max_s: float
) -> None:
    dwells = sorted([*dwells, 0.0, t_max_s, 2 * t_max_s])
    with tempfile.TemporaryDirectory() as folder:
        found, _ = clicks(Path(folder), dwells, formula=formula, t_max_s=t_max_s)
    weights = [found.get(item, 0.0) for item in range(len(dwells))]
    assert all(later >= earlier - 1e-15 for earlier, later in itertools.pairwise(weights))
    for dwell, weight in zip(dwells, weights, strict=True):
        assert (weight == 0.0) == (1.0 + dwell / t_max_s == 1.0 if formula == "log2" else 1.0 + dwell == 1.0)
        assert weight == 0.5 or dwell < t_max_s
        part = min(dwell, t_max_s)
        expected = math.log2(1 + part / t_max_s) if formula == "log2" else math.log(1 + part) / math.log(1 + t_max_s)
        assert weight == pytest.approx(0.5 * expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("formula", "weight"), [("log2", 0.5), ("log", math.log(21.0) / math.log(61.0))])
def test_value_by_hand(tmp_path: Path, formula: str, weight: float) -> None:
    # log2(1 + 20/60) is not a round number, log2(1 + (sqrt(2) - 1)) is one half.
    seconds = 60 * (math.sqrt(2) - 1) if formula == "log2" else 20.0
    found, info = clicks(tmp_path, [seconds, 0.0, 60.0, None], formula=formula)
    assert found == {0: pytest.approx(0.5 * weight), 2: 0.5}
    assert (info.without_dwell, info.train) == (1, {"checkout": 1, "click": 2})


def test_other_actions_keep_their_weight_whatever_their_dwell(tmp_path: Path) -> None:
    log = [Event(1, 1, "view", 1, dwell_s=0.0), Event(1, 2, "view", 2), Event(1, 3, "click", 3, dwell_s=60.0)]
    config = config_of("temporal", weights=WEIGHTS, dwell={"weight": "log2"})
    labels, info = labels_of(store_of(tmp_path, [*log, *END]), config)
    assert [row["weight"] for row in table(labels, "train")] == [0.25, 0.25, 0.5, 1.0]
    assert info.without_dwell == 0


def test_without_the_setting_a_bounce_counts_as_any_click(tmp_path: Path) -> None:
    found, info = clicks(tmp_path, [0.0, None, 5.0], formula="none")
    assert (found, info.without_dwell) == ({0: 0.5, 1: 0.5, 2: 0.5}, 0)


def test_what_is_held_out_does_not_depend_on_the_weights_of_training(tmp_path: Path) -> None:
    log = [*END, Event(1, 3, "click", 1, dwell_s=9.0), Event(1, 1, "click", 20 * DAY_US - 1, dwell_s=0.0)]
    store = store_of(tmp_path, log)
    plain, _ = labels_of(store, config_of("temporal", weights=WEIGHTS), name="plain")
    config = config_of("temporal", weights=WEIGHTS, dwell={"weight": "log"})
    weighed, _ = labels_of(store, config, name="weighed")
    for part in ("validation", "test"):
        assert table(plain, part) == table(weighed, part)
    assert (1, 1) in {(row["user_id"], row["item_id"]) for row in table(weighed, "test")}


def test_a_log_without_dwell_says_which_column_is_missing(tmp_path: Path) -> None:
    store = store_of(tmp_path, [Event(1, 1, "click", 0), *END])
    config = config_of("temporal", weights=WEIGHTS, dwell={"weight": "log2"})
    with pytest.raises(UnavailableError, match=r'labels\.dwell\.weight "log2" needs .* dwell_s; map its column'):
        labels_of(store, config)

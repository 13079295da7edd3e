"""Experiments: what is counted, laws of the comparison, and what is refused."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
from small_arena import SLOTS, ByQuality, SmallArena

from lowerfunnel.errors import PolicyError, UnavailableError
from lowerfunnel.world.experiment import Experiment, experiment, write_experiment
from lowerfunnel.world.policy import Requests, Slate


@pytest.fixture(scope="module")
def arena() -> SmallArena:
    return SmallArena()


@pytest.fixture(scope="module")
def played(arena: SmallArena) -> Experiment:
    """A noisy ranking against a clean one."""
    return experiment(arena, ByQuality(arena, noise=0.5, name="noisy"), ByQuality(arena), days=range(3, 7), n_boot=300)


def test_equal_policies_differ_by_exactly_nothing(arena: SmallArena) -> None:
    found = experiment(arena, ByQuality(arena, noise=0.3), ByQuality(arena, noise=0.3), days=[0, 1], n_boot=50)
    for row in found.rows:
        for figure in (row.difference, row.relative):
            assert figure.value == 0, row
            assert figure.low in (0, None), row
            assert figure.high in (0, None), row
        assert row.a == row.b
    assert all(day.settled.low == day.settled.high == 0 for day in found.days)
    power = found.row("conversions").power
    assert power is not None
    assert (power.saved, power.paired_error, power.users_per_group) == (1.0, 0.0, None)


def test_less_noise_sells_more(played: Experiment) -> None:
    for metric in ("conversions", "ctr", "ctr30", "revenue", "conversion_rate"):
        low = played.row(metric).relative.low
        assert low is not None
        assert low > 0, metric


def test_every_figure_is_what_its_words_say(arena: SmallArena, played: Experiment) -> None:
    for side, policy in (("a", ByQuality(arena, noise=0.5)), ("b", ByQuality(arena))):
        parts = [arena.play(policy, day) for day in range(3, 7)]
        person = np.concatenate([part.is_person_N for part in parts])

        def total(name: str, parts: list = parts, person: np.ndarray = person) -> float:
            return float(np.concatenate([getattr(part, name) for part in parts])[person].sum())

        long = float((np.concatenate([part.dwell_s_N for part in parts])[person] > 30).sum())
        impressions, clicks, buys = float(person.sum()), total("clicked_N"), total("converted_N")
        wanted = {
            "conversions": buys,
            "conversion_rate": buys / impressions,
            "conversion_rate_of_clicks": (buys - total("view_through_N")) / clicks,
            "ctr": clicks / impressions,
            "ctr30": long / impressions,
            "roas": total("value_N") / total("cost_N"),
            "revenue": total("value_N"),
            "cost": total("cost_N"),
            "revenue_per_mille": 1000 * total("value_N") / impressions,
            "cart_rate": total("carted_N") / impressions,
            "save_rate": total("saved_N") / impressions,
            "hide_rate": total("hidden_N") / impressions,
            "view_through_share": total("view_through_N") / buys,
        }
        for metric, value in wanted.items():
            assert getattr(played.row(metric), side).value == pytest.approx(value), metric


def test_organic_purchases_of_those_who_saw_ads_are_the_rest_of_the_revenue(
    arena: SmallArena, played: Experiment
) -> None:
    saw = np.unique(np.concatenate([arena.play(ByQuality(arena), day).user_N for day in range(3, 7)]))
    saw = saw[arena.is_person_U[saw]]
    organic = sum(20.0 * np.isin(arena.organic(day).user_O, saw).sum() for day in range(3, 7))
    revenue, together = played.row("revenue").a.value, played.row("all_revenue").a.value
    assert revenue is not None
    assert together == pytest.approx(revenue + organic)
    assert played.row("incremental_share").a.value == pytest.approx(revenue / (revenue + organic))
    assert played.users == len(saw)


def test_slices_add_up_to_the_whole(played: Experiment) -> None:
    for kind in ("surface", "advertiser_size", "activity"):
        rows = [r for r in played.rows if r.slice.startswith(f"{kind}=") and r.metric == "conversions"]
        for side in ("a", "b"):
            whole = getattr(played.row("conversions"), side).value
            assert sum(getattr(row, side).value for row in rows) == pytest.approx(whole), kind


def test_days_add_up_to_the_whole(played: Experiment) -> None:
    assert [day.day for day in played.days] == [3, 4, 5, 6]
    assert [day.date for day in played.days] == ["2026-01-08", "2026-01-09", "2026-01-10", "2026-01-11"]
    assert sum(day.b["conversions"] for day in played.days) == pytest.approx(played.row("conversions").b.value)
    assert played.days[-1].settled.value == pytest.approx(played.row("conversions").relative.value)


def test_coverage_counts_items_and_advertisers_over_the_whole_catalogue(arena: SmallArena, played: Experiment) -> None:
    shown = np.bincount(np.concatenate([arena.play(ByQuality(arena), day).item_N for day in range(3, 7)]))
    assert (shown > 0).sum() == SLOTS
    row = played.row("item_coverage")
    assert row.b.value == SLOTS / 40
    assert row.b.low is row.relative.low is None
    curve = played.curves["b"][0]
    assert (curve.of, curve.total, curve.filled_90) == ("items", 40, SLOTS)
    assert curve.shares[0] == (0.0, 0.0)
    assert curve.shares[-1] == (1.0, 1.0)


def test_shared_luck_makes_differences_surer(played: Experiment) -> None:
    power = played.row("conversions").power
    assert power is not None
    assert power.saved is not None
    assert power.saved > 0.2
    assert power.paired_error is not None
    assert power.unpaired_error is not None
    assert power.paired_error < power.unpaired_error
    spread = played.row("conversions").difference
    assert spread.high is not None
    assert spread.low is not None
    assert (spread.high - spread.low) / (2 * 1.96) == pytest.approx(power.paired_error, rel=0.15)


def test_the_order_of_the_days_changes_no_total(arena: SmallArena) -> None:
    one, other = (
        experiment(arena, ByQuality(arena, noise=0.5), ByQuality(arena), days=days, n_boot=20)
        for days in ([2, 0, 1], [0, 1, 2])
    )
    for row, same in zip(one.rows, other.rows, strict=True):
        assert row.a.value == pytest.approx(same.a.value)
        assert row.relative.value == pytest.approx(same.relative.value)


def test_the_same_seed_gives_the_same_file(arena: SmallArena, played: Experiment, tmp_path: Path) -> None:
    again = experiment(arena, ByQuality(arena, noise=0.5, name="noisy"), ByQuality(arena), days=range(3, 7), n_boot=300)
    for folder, result in (("one", played), ("two", again)):
        write_experiment(result, tmp_path / folder)
    for name in ("experiment.json", "experiment.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_file_holds_one_flat_row_per_figure(played: Experiment, tmp_path: Path) -> None:
    write_experiment(played, tmp_path / "deep" / "out")
    written = json.loads((tmp_path / "deep" / "out" / "experiment.json").read_text())
    assert written["data"] == "synthetic"
    row = written["rows"][0]
    assert (row["metric"], row["slice"], row["policy_a"], row["policy_b"]) == (
        "conversions",
        "all",
        "noisy",
        "by quality",
    )
    assert row["difference_ci_low"] <= row["difference"] <= row["difference_ci_high"]
    assert row["relative"] == pytest.approx(row["value_b"] / row["value_a"] - 1, rel=1e-6)
    assert len({(row["metric"], row["slice"]) for row in written["rows"]}) == len(written["rows"])


def test_progress_is_told_of_each_policy_and_day(arena: SmallArena) -> None:
    told: list[tuple[int, int]] = []
    policy = ByQuality(arena)
    experiment(arena, policy, policy, days=[4, 9], n_boot=5, progress=lambda *at: told.append(at))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("days", [[], [1, 1], [-1, 0]])
def test_days_that_are_none_are_refused(arena: SmallArena, days: list[int]) -> None:
    with pytest.raises(ValueError, match="days from 0 on, each once"):
        experiment(arena, ByQuality(arena), ByQuality(arena), days=days)


def test_a_world_where_nobody_comes_is_refused() -> None:
    arena = SmallArena()
    arena.is_person_U = np.zeros_like(arena.is_person_U)
    with pytest.raises(UnavailableError, match="0 people saw an ad"):
        experiment(arena, ByQuality(arena), ByQuality(arena), days=[0])


@dataclasses.dataclass(frozen=True)
class Slow:
    """Takes its time."""

    name: str = "slow"

    def rank(self, requests: Requests, eligible_I: np.ndarray, slots: int) -> Slate:
        time.sleep(0.3)
        return Slate(item_id_RS=np.zeros((len(requests), slots), np.int64))


def test_a_policy_that_takes_too_long_is_stopped(arena: SmallArena) -> None:
    with pytest.raises(PolicyError, match=r"took longer than 0\.05 s"):
        experiment(arena, ByQuality(arena), Slow(), days=[0], limit_s=0.05)

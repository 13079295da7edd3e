"""The sentences on top of the page: they must be right in every case, or the page lies."""

import dataclasses

import pytest
from report_samples import comparison, row

from lowerfunnel.page.formats import MINUS
from lowerfunnel.pipeline.report.data import Comparison, MetricRow, ReportData
from lowerfunnel.pipeline.report.headline import Headline, headline


def report(rows: list[MetricRow], comparisons: tuple[Comparison, ...] = (), items: int = 30113) -> ReportData:
    return ReportData(
        title="t",
        data="real",
        model_version="m",
        created="now",
        facts={"items": items},
        rows=rows,
        comparisons=comparisons,
    )


def lead(data: ReportData) -> Headline:
    result = headline(data)
    assert result is not None
    return result


def rows_of(metric: str = "micro_recall@100", **values: float) -> list[MetricRow]:
    return [row(model, value, metric, ci_low=value - 0.01, ci_high=value + 0.01) for model, value in values.items()]


def test_a_win_over_every_floor() -> None:
    data = report(
        rows_of(lowerfunnel=0.241, popularity=0.072, als=0.181),
        (
            comparison("popularity", 0.169, 0.15, 0.19, "micro_recall@100"),
            comparison("als", 0.06, 0.04, 0.08, "micro_recall@100"),
        ),
    )
    result = lead(data)
    assert (
        result.sentence == "Finds 24.1% of held-out purchases in its first 100 of 30,113 items; popularity finds 7.2%."
    )
    assert result.intervals == "95% intervals: lowerfunnel 23.1 to 25.1%; Popularity 6.2 to 8.2%."
    assert result.summary == "Ahead of every floor."
    assert [verdict.sentence for verdict in result.verdicts] == [
        "Ahead of Popularity by 16.9 points (+15.0 to +19.0).",
        "Ahead of ALS by 6.0 points (+4.0 to +8.0).",
    ]


def test_a_loss_names_the_floor_that_is_still_ahead_and_shows_its_lead_as_a_gain() -> None:
    data = report(
        rows_of(lowerfunnel=0.15, popularity=0.01, itemknn=0.192),
        (
            comparison("popularity", 0.14, 0.13, 0.15, "micro_recall@100"),
            comparison("itemknn", -0.042, -0.05, -0.034, "micro_recall@100"),
        ),
    )
    result = lead(data)
    assert result.summary == "ItemKNN is still ahead of it. It is ahead of the others."
    assert result.verdicts[1].sentence == "ItemKNN is still ahead by 4.2 points (+3.4 to +5.0)."
    assert result.verdicts[1].outcome == "behind"


def test_a_tie_is_called_level_whichever_way_it_leans() -> None:
    data = report(
        rows_of(lowerfunnel=0.15, popularity=0.148, als=0.152),
        (
            comparison("popularity", 0.002, -0.004, 0.008, "micro_recall@100"),
            comparison("als", -0.002, -0.008, 0.004, "micro_recall@100"),
        ),
    )
    result = lead(data)
    assert result.summary == "Popularity and ALS are level with it."
    assert [verdict.outcome for verdict in result.verdicts] == ["level", "level"]
    assert result.verdicts[0].sentence == f"Level with Popularity: 0.20 points more ({MINUS}0.40 to +0.80), not clear."
    assert result.verdicts[1].sentence == f"Level with ALS: 0.20 points less ({MINUS}0.80 to +0.40), not clear."


def test_losing_to_all_is_said_of_all() -> None:
    rows = rows_of(lowerfunnel=0.1, popularity=0.3, itemknn=0.4, als=0.5)
    assert lead(report(rows)).summary == "Popularity, ItemKNN and ALS are still ahead of it."


@pytest.mark.parametrize(("floor", "outcome"), [(0.1, "ahead"), (0.31, "level"), (0.5, "behind")])
def test_without_a_paired_comparison_overlapping_intervals_decide(floor: float, outcome: str) -> None:
    verdict = lead(report(rows_of(lowerfunnel=0.3, popularity=floor))).verdicts[0]
    assert verdict.outcome == outcome
    assert "judged by separate intervals" in verdict.sentence


def test_without_any_interval_it_says_so() -> None:
    data = report([row("lowerfunnel", 0.3), row("popularity", 0.1)])
    assert lead(data).verdicts[0].sentence == "Ahead of Popularity by 20.0 points, without an interval."
    assert lead(data).intervals == ""


def test_the_paired_metric_leads_the_page() -> None:
    rows = rows_of("micro_recall@100", lowerfunnel=0.3, popularity=0.1) + rows_of(
        "hr@10", lowerfunnel=0.2, popularity=0.05
    )
    result = lead(report(rows, (comparison("popularity", 0.15, 0.1, 0.2, "hr@10"),)))
    assert result.metric == "hr@10"
    assert result.sentence == (
        "Finds a held-out one of their purchases in its first 10 of 30,113 items for 20.0% of users; "
        "popularity does for 5.0%."
    )


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (
            "recall@20",
            "Finds 17.5% of a user's held-out purchases in its first 20 of 30,113 items; popularity finds 4.0%.",
        ),
        ("ndcg@10", "Reaches NDCG@10 0.1750 on held-out purchases out of 30,113 items; popularity reaches 0.0400."),
    ],
)
def test_each_metric_has_its_own_words(metric: str, sentence: str) -> None:
    assert lead(report(rows_of(metric, lowerfunnel=0.175, popularity=0.04))).sentence == sentence


def test_a_list_longer_than_the_catalogue_says_so() -> None:
    data = report(rows_of(lowerfunnel=1.0, popularity=1.0), items=80)
    assert lead(data).sentence == (
        "Finds 100.0% of held-out purchases in its first 100 places, which hold all 80 items; popularity finds 100.0%."
    )


def test_no_floor_is_admitted() -> None:
    result = lead(report(rows_of(lowerfunnel=0.3)))
    assert result.sentence == "Finds 30.0% of held-out purchases in its first 100 of 30,113 items."
    assert result.summary == "No floor was evaluated beside it, so this figure alone says little."


def test_the_oracle_is_no_floor_and_told_of_as_the_ceiling() -> None:
    data = report(
        rows_of(lowerfunnel=0.3, popularity=0.1, oracle=0.6),
        (comparison("oracle", -0.3, -0.31, -0.29, "micro_recall@100"),),
    )
    result = lead(data)
    assert result.summary == (
        "Ahead of Popularity. It reaches 50.0% of the oracle, which knows the truth of this synthetic world."
    )
    assert [(verdict.floor, verdict.outcome) for verdict in result.verdicts] == [
        ("popularity", "ahead"),
        ("oracle", "ceiling"),
    ]


def test_an_oracle_alone_is_no_floor() -> None:
    summary = lead(report(rows_of(lowerfunnel=0.3, oracle=0.6))).summary
    assert summary.startswith("No floor was evaluated beside it, so this figure alone says little. It reaches 50.0%")


def test_no_results_have_no_headline() -> None:
    assert headline(report([])) is None
    assert headline(report([row("popularity", 0.1)])) is None
    assert headline(report([row("lowerfunnel", float("nan"))])) is None


def test_rows_of_the_other_kind_are_refused() -> None:
    data = report(rows_of(lowerfunnel=0.3))
    with pytest.raises(ValueError, match="about synthetic data, but some of its rows are real"):
        dataclasses.replace(data, data="synthetic")

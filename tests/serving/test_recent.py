import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.serving.recent import Moment, RecentAnswers
from lowerfunnel.serving.requests import Candidate, CandidateAnswer


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def answer(items: list[int] | None = None, **said: object) -> CandidateAnswer:
    candidates = tuple(Candidate(item_id=item, score=1.0, sources=("a",)) for item in items or [])
    values = {"version": "v1", "partial": False, "known_user": True, **said}
    return CandidateAnswer(request_id="r", candidates=candidates, **values)


def recent_of(clock: Clock, **settings: object) -> RecentAnswers:
    return RecentAnswers(clock=clock, **{"span_s": 60.0, "bucket_s": 2.0, **settings})


def one(recent: RecentAnswers, span_s: float = 60.0) -> Moment:
    return recent.series(step_s=span_s, span_s=span_s)[0]


@given(st.lists(st.floats(1e-5, 50.0), min_size=1, max_size=300))
def test_percentiles_are_those_of_the_durations_within_the_width_of_a_cell(durations_s):
    clock = Clock()
    recent = recent_of(clock)
    for duration_s in durations_s:
        recent.observe(answer(), duration_s=duration_s)
    clock.now_s += 2
    exact_ms = [np.quantile(durations_s, share, method="inverted_cdf") * 1000 for share in (0.5, 0.99)]
    moment = one(recent)
    assert [moment.p50_ms, moment.p99_ms] == pytest.approx(exact_ms, rel=0.023)


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from(["answer", "partial", "degraded", "shed", "probe"])), max_size=60
    )
)
def test_every_moment_counts_what_fell_into_its_window_and_nothing_else(events):
    clock = Clock()
    recent = recent_of(clock, span_s=40.0)
    happened = []
    for wait_s, kind in events:
        clock.now_s += wait_s
        happened.append((clock.now_s, kind))
        if kind == "shed":
            recent.observe_shed()
        elif kind == "probe":
            recent.observe_probe(0.5)
        else:
            recent.observe(
                answer(partial=kind == "partial", degraded=("store",) * (kind == "degraded")), duration_s=0.01
            )
    end_s = clock.now_s // 2 * 2
    for number, moment in enumerate(recent.series(step_s=4.0, span_s=20.0, window_s=8.0)):
        until_s = end_s - (4 - number) * 4.0
        within = [kind for when_s, kind in happened if until_s - 8 <= when_s < until_s]
        assert moment.answers == sum(kind in {"answer", "partial", "degraded"} for kind in within)
        assert (moment.partial, moment.degraded) == (within.count("partial"), within.count("degraded"))
        assert moment.shed == within.count("shed")
        assert (moment.recall is None) == ("probe" not in within)
        assert moment.per_s == moment.answers / 8
        assert moment.ago_s == pytest.approx(clock.now_s - until_s)


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=40), st.integers(1, 10), st.integers(1, 60))
def test_coverage_is_that_of_the_last_answers(answers, most_answers, most_candidates):
    recent = recent_of(Clock(), most_answers=most_answers, most_candidates=most_candidates)
    for items in answers:
        recent.observe(
            answer(items), duration_s=0.01, advertisers=[f"a{item % 5}" if item % 7 else None for item in items]
        )
    kept: list[list[int]] = []
    for items in reversed(answers):
        if len(kept) == most_answers or (kept and sum(map(len, kept)) + len(items) > most_candidates):
            break
        kept.append(items)
    flat = [item for items in kept for item in items]
    coverage = recent.coverage()
    assert (coverage.answers, coverage.candidates, coverage.items) == (len(kept), len(flat), len(set(flat)))
    assert coverage.advertisers == (len({item % 5 for item in flat if item % 7}) if kept else None)


def test_without_named_advertisers_nobody_says_how_many_there_are():
    recent = recent_of(Clock())
    recent.observe(answer([1, 2]), duration_s=0.01)
    assert recent.coverage().advertisers is None


def test_the_unfinished_bucket_is_left_out_and_the_old_ones_are_forgotten():
    clock = Clock()
    recent = recent_of(clock)
    recent.observe(answer(), duration_s=0.01)
    assert one(recent).answers == 0
    clock.now_s += 2
    assert one(recent).answers == 1
    clock.now_s += 58
    assert one(recent).answers == 1
    clock.now_s += 2
    assert one(recent).answers == 0


def test_after_a_long_rest_nothing_of_before_comes_back():
    clock = Clock()
    recent = recent_of(clock)
    for _ in range(40):
        recent.observe(answer(), duration_s=0.01)
        clock.now_s += 2
    clock.now_s += 62 * 1000
    assert one(recent).answers == 0


def test_versions_stand_in_the_order_of_their_first_answer():
    clock = Clock()
    recent = recent_of(clock)
    for version in ("b", "a", "a"):
        recent.observe(answer(version=version), duration_s=0.01)
    clock.now_s += 2
    assert list(one(recent).versions.items()) == [("b", 1), ("a", 2)]


def test_values_by_hand():
    clock = Clock()
    recent = recent_of(clock)
    for duration_s in (0.001, 0.002, 0.004):
        recent.observe(answer([1, 2], known_user=False), duration_s=duration_s)
    recent.observe_probe(0.9)
    recent.observe_probe(1.0)
    clock.now_s += 2.5
    moment = recent.series(step_s=2.0, span_s=2.0)[0]
    assert moment.answers == 3
    assert moment.per_s == 1.5
    assert moment.p50_ms == pytest.approx(2.0, rel=0.023)
    assert moment.p99_ms == pytest.approx(4.0, rel=0.023)
    assert moment.recall == pytest.approx(0.95)
    assert moment.unknown_user == 3
    assert moment.items == 2
    assert moment.ago_s == pytest.approx(0.5)


@pytest.mark.parametrize("duration_s", [0.0, -1e-9, 1e-9, 1e6])
def test_extreme_durations_are_counted(duration_s):
    clock = Clock()
    recent = recent_of(clock)
    recent.observe(answer(), duration_s=duration_s)
    clock.now_s += 2
    assert one(recent).p99_ms == pytest.approx(max(duration_s, 1e-6) * 1000, rel=0.05)


def test_memory_does_not_grow_with_traffic():
    recent = RecentAnswers(most_answers=50, clock=Clock())
    for number in range(5000):
        recent.observe(answer([number]), duration_s=1e-6 * 1.01 ** (number % 2000))
    assert len(recent._last) == 50
    assert max(len(bucket.latency) for bucket in recent._ring) < 600


def test_many_threads_lose_nothing():
    clock = Clock()
    recent = recent_of(clock)

    def work() -> None:
        for _ in range(500):
            recent.observe(answer([1]), duration_s=0.01)
            recent.observe_shed()
            recent.coverage()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now_s += 2
    moment = one(recent)
    assert (moment.answers, moment.shed) == (2000, 2000)


@pytest.mark.parametrize(
    "settings",
    [{"span_s": 0.0}, {"bucket_s": 0.0}, {"bucket_s": 7.0}, {"most_answers": 0}, {"most_candidates": 0}],
)
def test_a_ring_that_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match=r"got|above 0"):
        recent_of(Clock(), **settings)


@pytest.mark.parametrize(
    "asked",
    [
        {"step_s": 0.0, "span_s": 60.0},
        {"step_s": 3.0, "span_s": 60.0},
        {"step_s": 2.0, "span_s": 61.0},
        {"step_s": 2.0, "span_s": 62.0},
        {"step_s": 2.0, "span_s": 60.0, "window_s": 4.0},
        {"step_s": 2.0, "span_s": 10.0, "window_s": 3.0},
    ],
)
def test_a_series_that_cannot_be_is_refused(asked):
    with pytest.raises(ValueError, match="whole buckets"):
        recent_of(Clock()).series(**asked)


@pytest.mark.parametrize("recall", [-0.01, 1.01, float("nan")])
def test_a_recall_outside_its_range_is_refused(recall):
    with pytest.raises(ValueError, match="from 0 to 1"):
        recent_of(Clock()).observe_probe(recall)

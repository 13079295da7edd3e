"""Every caller gets its own answer or its own error, in time, however requests fall together."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowerfunnel.errors import UnavailableError
from lowerfunnel.serving.towers.micro_batcher import MicroBatcher


def doubled(requests: Sequence[int]) -> list[int]:
    if 13 in requests:
        raise ArithmeticError("13")
    return [2 * request for request in requests]


def outcome(batcher: MicroBatcher[int, int], request: int) -> object:
    try:
        return batcher.answer(request, timeout_s=30)
    except ArithmeticError as error:
        return str(error)


class Gate:
    """A function that runs its first batch until it is let go, so that others gather behind it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running, self.go = threading.Event(), threading.Event()

    def __call__(self, requests: Sequence[int]) -> list[int]:
        self.batches.append(list(requests))
        self.running.set()
        assert self.go.wait(30)
        return doubled(requests)


def waiting_for(batcher: MicroBatcher[int, int], count: int) -> None:
    """Wait until so many requests stand in line."""
    until = time.monotonic() + 30
    while len(batcher._queue) < count:
        assert time.monotonic() < until
        time.sleep(0.001)


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(st.integers(0, 20), max_size=30),
    most=st.integers(1, 8),
    workers=st.integers(1, 3),
    wait_ms=st.sampled_from([0.0, 0.5]),
)
def test_everyone_gets_what_it_would_get_alone(requests: list[int], most: int, workers: int, wait_ms: float) -> None:
    with (
        MicroBatcher(doubled, most=most, workers=workers, wait_ms=wait_ms) as batcher,
        ThreadPoolExecutor(8) as callers,
    ):
        answers = list(callers.map(lambda request: outcome(batcher, request), requests))
    assert answers == ["13" if request == 13 else 2 * request for request in requests]


def test_those_who_wait_are_answered_together_up_to_the_limit() -> None:
    gate = Gate()
    with MicroBatcher(gate, most=3) as batcher, ThreadPoolExecutor(6) as callers:
        first = callers.submit(outcome, batcher, 0)
        assert gate.running.wait(30)
        rest = []
        for number in range(1, 6):
            rest.append(callers.submit(outcome, batcher, number))
            waiting_for(batcher, number)
        gate.go.set()
        assert [first.result(), *(each.result() for each in rest)] == [0, 2, 4, 6, 8, 10]
    assert gate.batches == [[0], [1, 2, 3], [4, 5]]


def test_an_error_reaches_its_own_caller_alone() -> None:
    gate = Gate()
    with MicroBatcher(gate) as batcher, ThreadPoolExecutor(4) as callers:
        answers = [callers.submit(outcome, batcher, 0)]
        assert gate.running.wait(30)
        for place, number in enumerate((1, 13, 2), start=1):
            answers.append(callers.submit(outcome, batcher, number))
            waiting_for(batcher, place)
        gate.go.set()
        assert [each.result() for each in answers] == [0, 2, "13", 4]
        assert outcome(batcher, 7) == 14


def test_a_request_whose_time_is_over_is_not_run() -> None:
    gate = Gate()
    with MicroBatcher(gate) as batcher, ThreadPoolExecutor(1) as callers:
        first = callers.submit(outcome, batcher, 0)
        assert gate.running.wait(30)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
            batcher.answer(1, timeout_s=0.05)
        assert 0.05 <= time.monotonic() - began < 5
        gate.go.set()
        assert first.result() == 0
        assert batcher.answer(2) == 4
    assert gate.batches == [[0], [2]]


def test_a_wait_gathers_what_comes_within_it() -> None:
    batches: list[int] = []

    def counted(requests: Sequence[int]) -> list[int]:
        batches.append(len(requests))
        return doubled(requests)

    with MicroBatcher(counted, most=4, wait_ms=20_000) as batcher, ThreadPoolExecutor(4) as callers:
        began = time.monotonic()
        assert list(callers.map(batcher.answer, range(4))) == [0, 2, 4, 6]
        # A full batch does not wait any longer.
        assert time.monotonic() - began < 10
    assert batches == [4]


def test_closing_answers_what_waits_and_takes_nothing_more() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate)
    with ThreadPoolExecutor(3) as callers:
        answers = [callers.submit(outcome, batcher, 0)]
        assert gate.running.wait(30)
        answers.append(callers.submit(outcome, batcher, 1))
        waiting_for(batcher, 1)
        closing = callers.submit(batcher.close)
        gate.go.set()
        closing.result(timeout=30)
        assert [each.result() for each in answers] == [0, 2]
    batcher.close()
    with pytest.raises(UnavailableError, match="is closed"):
        batcher.answer(1)
    assert not any(worker.is_alive() for worker in batcher._workers)


def test_an_answer_too_few_is_an_error_and_no_mix_up() -> None:
    with (
        MicroBatcher(lambda requests: doubled(requests)[1:]) as batcher,
        pytest.raises(ValueError, match="1 requests were run together and 0 answers came"),
    ):
        batcher.answer(1)


@pytest.mark.parametrize("sizes", [{"most": 0}, {"workers": 0}, {"wait_ms": -1.0}, {"wait_ms": float("nan")}])
def test_sizes_that_make_no_sense_are_refused(sizes: dict) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        MicroBatcher(doubled, **sizes)

"""A slow or dead store never becomes an error or a hang: the answer is made from the request alone and says so."""

import threading
import time
from dataclasses import replace

import pytest

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.engine.timelines import TimelineReader
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.settings import StoreReadConfig
from lowerfunnel.serving.store.sqlite import SqliteStore
from lowerfunnel.serving.user_timeline import UserTimeline

NOTHING = UserTimeline.of()


class Hanging(SqliteStore):
    """A store that answers nothing, and gives up in time as every store promises to."""

    def __init__(self, path, **named):
        super().__init__(path, **named)
        self.go, self.asked = threading.Event(), 0

    def timeline(self, user_id, *, before_us=None, timeout_s=None):
        self.asked += 1
        if not self.go.wait(timeout_s):
            raise StoreError("late")
        return NOTHING


@pytest.fixture
def hanging(tmp_path):
    store = Hanging.open(tmp_path / "store.sqlite")
    yield store
    store.go.set()
    store.close()


def reader_of(store, **settings):
    return TimelineReader(store, StoreReadConfig(**settings))


def test_reads_go_on_being_tried_until_there_are_too_many_failures(hanging):
    reader = reader_of(hanging, timeout_ms=1.0, failures=3)
    for _ in range(2):
        with pytest.raises(StoreError, match="late"):
            reader.read(1, before_us=None, timeout_s=0.001)
    hanging.go.set()
    assert reader.read(1, before_us=None, timeout_s=5.0) == NOTHING
    hanging.go.clear()
    for _ in range(2):
        with pytest.raises(StoreError, match="late"):
            reader.read(1, before_us=None, timeout_s=0.001)
    assert not reader.resting


def test_a_failing_store_is_left_alone_and_then_tried_again(hanging):
    reader = reader_of(hanging, timeout_ms=10.0, failures=2, rest_s=0.3)
    for _ in range(2):
        with pytest.raises(StoreError):
            reader.read(1, before_us=None, timeout_s=0.01)
    with pytest.raises(StoreError, match="left alone after 2 failed reads"):
        reader.read(1, before_us=None, timeout_s=0.01)
    assert reader.resting
    hanging.go.set()
    time.sleep(0.35)
    assert reader.read(1, before_us=None, timeout_s=5.0) == NOTHING
    assert reader.read(1, before_us=None, timeout_s=5.0) == NOTHING
    assert not reader.resting


def test_who_cannot_wait_says_nothing_of_the_store(hanging):
    reader = reader_of(hanging, timeout_ms=10.0, failures=2, rest_s=60.0)
    for _ in range(5):
        with pytest.raises(StoreError, match="late"):
            reader.read(1, before_us=None, timeout_s=0.001)
    assert not reader.resting
    hanging.go.set()
    assert reader.read(1, before_us=None, timeout_s=0.001) == NOTHING


def test_answers_go_on_from_the_request_alone_and_say_so(start, hanging):
    engine = start(settings=["engine.store.timeout_ms=300"])
    user = engine.users(limit=1)[0]
    request = CandidateRequest(request_id="r", k=10, user_id=user, surface="search", deadline_ms=1000.0, at_us=2**51)
    whole = engine.candidates([request])[0]
    assert (whole.degraded, whole.known_user) == ((), True)
    real, engine._reader._store = engine._reader._store, hanging
    began_s = time.monotonic()
    answers = [engine.candidates([request])[0] for _ in range(20)]
    took_s = time.monotonic() - began_s
    assert {answer.degraded for answer in answers} == {("store",)}
    assert {len(answer.candidates) for answer in answers} == {10}
    # As before the user's first event.
    early = replace(request, at_us=1)
    # Five reads wait for the store, then it is left alone.
    assert took_s < 5.0
    assert hanging.asked <= 8
    engine._reader._store = real
    hanging.go.set()
    deadline_s = time.monotonic() + 10.0
    while engine.candidates([request])[0].degraded and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert engine.candidates([request])[0].candidates == whole.candidates
    assert engine.candidates([early])[0].candidates == answers[0].candidates

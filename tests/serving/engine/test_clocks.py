"""Clocks of several machines differ, and jump: what was acknowledged counts in the next answer all the same."""

import time

import pytest

from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.requests import CandidateRequest

MINUTE_US = 60_000_000
STRANGER = 10**12


@pytest.fixture
def engine(start):
    """An engine that waits for its store, however busy the machine is."""
    return start(settings=["engine.store.timeout_ms=2000"])


def ask(engine, user=STRANGER, at_us=None):
    return engine.candidates([CandidateRequest(request_id="r", k=20, user_id=user, at_us=at_us, deadline_ms=5000.0)])[0]


def ids(answer):
    return [found.item_id for found in answer.candidates]


def click(event_id, ts_us, item_id, action="click"):
    return EventRecord(event_id=event_id, ts_us=ts_us, user_id=STRANGER, item_id=item_id, action=action)


def set_clock(monkeypatch, ahead_us):
    """Let the wall clock of this process differ from the machine's."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead_us * 1000)


@pytest.mark.parametrize("ahead_us", [-5 * MINUTE_US, -1, 0, 1, MINUTE_US, 5 * MINUTE_US])
def test_an_event_counts_in_the_next_answer_whatever_the_clock_that_stamped_it(engine, ahead_us):
    unknown = ask(engine)
    assert not unknown.known_user
    item = ids(unknown)[0]
    ts_us = time.time_ns() // 1000 + ahead_us
    assert engine.add_events([click("e", ts_us, item)])[0].status == "accepted"
    answer = ask(engine)
    assert answer.known_user
    assert answer.candidates != unknown.candidates
    # The same as if it were asked for the moment right after the event.
    engine.add_events([click("bought", ts_us + 1, item, "checkout")])
    assert item not in ids(ask(engine))


@pytest.mark.parametrize("jump_us", [-60 * MINUTE_US, 60 * MINUTE_US])
def test_a_clock_that_jumps_loses_no_event(engine, monkeypatch, jump_us):
    item = ids(ask(engine))[0]
    now_us = time.time_ns() // 1000
    engine.add_events([click("before", now_us, item)])
    assert ask(engine).known_user
    set_clock(monkeypatch, jump_us)
    answer = ask(engine)
    assert answer.known_user
    assert len(answer.candidates) == 20
    engine.add_events([click("after", time.time_ns() // 1000, item, "checkout")])
    assert item not in ids(ask(engine))


def test_an_answer_as_of_a_moment_knows_nothing_from_then_on(engine):
    item = ids(ask(engine))[0]
    now_us = time.time_ns() // 1000
    engine.add_events([click("e", now_us + MINUTE_US, item)])
    assert not ask(engine, at_us=now_us + MINUTE_US).known_user
    assert ask(engine, at_us=now_us + MINUTE_US + 1).known_user

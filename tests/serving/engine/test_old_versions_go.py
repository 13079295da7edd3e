"""A version that is not served any more is let go: the memory does not grow with the publications."""

import gc
import time
import weakref

import pytest

from lowerfunnel.serving.requests import CandidateRequest


def ask(engine, number=0):
    user = engine.users(limit=1)[0]
    return engine.candidates([CandidateRequest(request_id=f"r{number}", k=10, user_id=user, deadline_ms=5000.0)])[0]


def large_parts(engine):
    """Weak references to what takes the memory of a version."""
    loaded = engine._live.loaded
    generator = loaded.generators["conversion"]
    parts = {
        "item inputs": generator.item_input_ID,
        "index": generator.index,
        "model": generator.artefact.model,
        "query tower": generator.tower,
        "embedder": generator.embedder,
        "eligibility": loaded.catalogue.eligibility,
    }
    return {name: weakref.ref(part) for name, part in parts.items()}


@pytest.mark.parametrize(
    "settings",
    [
        ["engine.probe.every_s=3600", "engine.request_log.share=1"],
        ["engine.probe.every_s=0.05", "engine.request_log.share=1", "engine.largest_tower_batch=8"],
    ],
)
def test_the_version_before_goes_when_the_next_one_serves(start, settings):
    engine = start(settings=settings)
    for name in ("second", "first"):
        for number in range(5):
            ask(engine, number)
        before = large_parts(engine)
        time.sleep(0.2)  # the background looks at the answers
        engine.publish(name)
        ask(engine)
        time.sleep(0.2)
        held = [part for part, reference in before.items() if reference() is not None]
        assert held == [], [type(who) for part in held for who in gc.get_referrers(before[part]())]


def test_a_cycle_that_holds_a_version_is_found_although_versions_are_frozen(start):
    engine = start()
    before = large_parts(engine)
    cycle = [engine._live]
    cycle.append(cycle)
    del cycle
    engine.publish("second")
    held = [part for part, reference in before.items() if reference() is not None]
    assert held == []


def test_a_frozen_cycle_that_holds_a_version_goes_with_the_next_publication(start):
    engine = start()
    before = large_parts(engine)
    cycle = [engine._live]
    cycle.append(cycle)
    kept = [cycle]
    engine.publish("second")  # freezes the cycle, which something still holds
    assert before["index"]() is not None
    del cycle, kept
    engine.publish("first")
    held = [part for part, reference in before.items() if reference() is not None]
    assert held == []

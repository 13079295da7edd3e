import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.serving.catalogue.eligibility_state import EligibilityState
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Filters

ADVERTISERS = ["a0", "a1", "a2", "a3", "unknown"]


def segment_of(items: int, advertisers: int = 4, first: int = 0) -> CatalogueSegment:
    """Items `first`.. of which every fifth has no advertiser."""
    records = [
        ItemRecord(item_id=item, advertiser_id=None if item % 5 == 0 else f"a{item % advertisers}")
        for item in range(first, first + items)
    ]
    return CatalogueSegment.of_records(records, "int64")


def expected(segment: CatalogueSegment, unfunded: set[str], sold_out: set[int], removed: set[int]) -> list[int]:
    views = segment.views(np.arange(segment.items))
    return [
        place
        for place, view in enumerate(views)
        if view.advertiser_id not in unfunded and view.item_id not in sold_out and place not in removed
    ]


OPERATIONS = st.lists(
    st.tuples(st.just("budget"), st.sampled_from(ADVERTISERS), st.booleans())
    | st.tuples(st.just("stock"), st.integers(-3, 140), st.booleans())
    | st.tuples(st.just("remove"), st.integers(0, 63), st.booleans())
    | st.tuples(st.just("build"), st.just(0), st.booleans()),
    max_size=30,
)


@given(OPERATIONS)
def test_bits_agree_with_sets_whatever_happens_in_whichever_order(operations: list[tuple[str, object, bool]]) -> None:
    state = EligibilityState()
    segments = [segment_of(130)]
    state.attach(segments[0].eligibility)
    unfunded: set[str] = set()
    sold_out: set[int] = set()
    removed: set[int] = set()  # of the first segment
    for what, which, on in operations:
        if what == "budget":
            state.update(advertisers={str(which): on}, items={})
            (unfunded.discard if on else unfunded.add)(str(which))
        elif what == "stock":
            state.update(advertisers={}, items={int(str(which)): on})
            (sold_out.discard if on else sold_out.add)(int(str(which)))
        elif what == "remove":
            segments[0].eligibility.remove(np.array([which, which]))
            removed.add(int(str(which)))
        else:
            segments.append(segment_of(15, first=128))
            state.attach(segments[-1].eligibility)
        for segment in segments:
            wanted = expected(segment, unfunded, sold_out, removed if segment is segments[0] else set())
            assert segment.allowed(Filters()).places().tolist() == wanted
    assert state.advertisers_without_budget == unfunded
    assert state.items_out_of_stock == sold_out
    restored = EligibilityState(advertisers_without_budget=unfunded, items_out_of_stock=sold_out)
    later = segment_of(130)
    restored.attach(later.eligibility)
    assert later.allowed(Filters()).places().tolist() == expected(later, unfunded, sold_out, set())


def test_one_cause_that_ends_does_not_end_another() -> None:
    segment = segment_of(10)
    eligibility = segment.eligibility
    eligibility.set_budget(["a1"], has_budget=False)
    eligibility.set_stock([1], in_stock=False)
    eligibility.set_stock([1], in_stock=True)
    assert not segment.allowed(Filters()).contains(np.array([1]))[0]
    eligibility.set_stock([1], in_stock=False)
    eligibility.set_budget(["a1"], has_budget=True)
    assert segment.allowed(Filters()).places().tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    eligibility.remove(np.array([1]))
    eligibility.set_stock([1], in_stock=True)
    assert not segment.allowed(Filters()).contains(np.array([1]))[0]


def test_the_state_remembers_what_no_segment_holds_yet() -> None:
    state = EligibilityState()
    state.update(advertisers={"a9": False}, items={1_000: False, "1000": False})
    segment = CatalogueSegment.of_records(
        [ItemRecord(item_id=1_000), ItemRecord(item_id=1_001, advertiser_id="a9"), ItemRecord(item_id=1_002)], "int64"
    )
    state.attach(segment.eligibility)
    assert segment.allowed(Filters()).places().tolist() == [2]
    state.update(advertisers={"a9": True}, items={1_000: True})
    assert segment.allowed(Filters()).count == 3
    assert state.items_out_of_stock == {"1000"}


def test_a_small_segment_takes_its_part_of_a_long_list() -> None:
    state = EligibilityState(items_out_of_stock=[*range(5, 5_000), "1"])
    segment = segment_of(10)
    state.attach(segment.eligibility)
    assert segment.allowed(Filters()).places().tolist() == [0, 1, 2, 3, 4]


def test_places_outside_the_segment_cannot_be_removed() -> None:
    for place in (-1, 10):
        with pytest.raises(ValueError, match=r"places must lie in 0\.\.9"):
            segment_of(10).eligibility.remove(np.array([place]))


def test_a_reader_cannot_write() -> None:
    with pytest.raises(ValueError, match="read-only"):
        segment_of(10).eligibility.words()[0] = 0


def test_a_segment_that_is_no_longer_served_is_let_go() -> None:
    state = EligibilityState()
    segment = segment_of(10)
    state.attach(segment.eligibility)
    gone = weakref.ref(segment.eligibility)
    del segment
    gc.collect()
    assert gone() is None
    state.update(advertisers={"a1": False}, items={})


def run_beside(writer: Callable[[], None], reader: Callable[[], None], readers: int = 2) -> None:
    """Run one writer beside readers that go round until it is done; raise what any of them raised."""
    done = threading.Event()
    problems: list[BaseException] = []

    def guarded(step: Callable[[], None], *, once: bool) -> None:
        try:
            step()
            while not once and not done.is_set():
                step()
        except BaseException as problem:
            problems.append(problem)
            raise
        finally:
            if once:
                done.set()

    threads = [threading.Thread(target=guarded, args=(reader,), kwargs={"once": False}) for _ in range(readers)]
    threads.append(threading.Thread(target=guarded, args=(writer,), kwargs={"once": True}))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def test_no_read_that_begins_after_a_write_returned_sees_the_state_before() -> None:
    segment = segment_of(70_000, advertisers=16)
    state = EligibilityState()
    state.attach(segment.eligibility)
    items_of = {
        name: np.flatnonzero([view.advertiser_id == name for view in segment.views(np.arange(segment.items))])
        for name in ("a1", "a2")
    }
    stocked = items_of["a2"][::7]
    # Who is off for certain: put here after the write has returned, taken away, with a new number, before the opposite.
    surely_off: tuple[int, frozenset[str]] = (0, frozenset())
    rng = np.random.default_rng(0)
    looked = 0

    def write() -> None:
        nonlocal surely_off
        for turn in range(150):
            for off in (["a1"], ["a1", "a2"]):
                state.update(advertisers={off[-1]: False}, items={})
                surely_off = (turn, frozenset(off))
            # Writes to other bits of the same words must not bring anything back.
            some = segment.ids_of(rng.choice(stocked, 50))
            for in_stock in (False, True):
                state.update(advertisers={"a3": in_stock}, items=dict.fromkeys(some, in_stock))
            surely_off = (turn + 1, frozenset())
            state.update(advertisers={"a1": True, "a2": True}, items={})

    def read() -> None:
        nonlocal looked
        turn, off = surely_off
        allowed = segment.allowed(Filters(country="DE"))
        if surely_off[0] == turn:
            for name in off:
                assert not allowed.contains(items_of[name]).any()
                looked += 1

    run_beside(write, read)
    assert looked > 0
    assert segment.allowed(Filters()).contains(items_of["a1"]).all()


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads take turns at every few steps instead of every 5 ms, so that what can cross does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
def test_writers_side_by_side_lose_nothing() -> None:
    # Two advertisers whose items share every word, and thousands of items a write: numpy lets other threads run in the
    # middle of such a step.
    segment = segment_of(50_000, advertisers=2)
    places_of = [np.flatnonzero(segment.advertiser_of(np.arange(50_000)) == code) for code in (0, 1)]
    names = [segment.views(places[:1])[0].advertiser_id for places in places_of]
    together = threading.Barrier(2, timeout=60)
    wrong: list[tuple[int, int]] = []

    def write(own: int) -> None:
        for turn in range(300):
            has_budget = turn % 2 == 1
            together.wait()
            segment.eligibility.set_budget([str(names[own])], has_budget=has_budget)
            together.wait()
            if (segment.allowed(Filters()).contains(places_of[own]) != has_budget).any():
                wrong.append((turn, own))

    threads = [threading.Thread(target=write, args=(own,)) for own in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

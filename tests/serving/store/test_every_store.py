"""What every online store promises, against a model that is a few dicts and lists."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.serving.records import EligibilityChange, EventRecord, ItemChange, ItemRecord
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.store.load import load_events
from lowerfunnel.serving.user_timeline import UserTimeline

EMPTY = UserTimeline.of()
WHOLE = st.characters(codec="utf-8")
INT64 = st.integers(-(2**63), 2**63 - 1)
# Few ids, so that they meet again; among them the ends of 64 bits, what a float would round, and digits as text.
IDS = (
    st.sampled_from([0, 7, "7", -1, "", "ü\x00é", "i7", 2**53 + 1, 2**63 - 1, -(2**63), "🛒" * 40])
    | INT64
    | st.text(WHOLE)
)
TIMES = st.integers(-2, 2) | st.sampled_from([1_700_000_000_000_000, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]) | INT64
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def maybe(values):
    return st.none() | values


def events():
    return st.builds(
        EventRecord,
        event_id=st.sampled_from("abcdefghij") | st.text(WHOLE),
        ts_us=TIMES,
        user_id=IDS,
        item_id=IDS,
        action=st.sampled_from(ACTIONS),
        surface=maybe(st.text(WHOLE)),
        dwell_s=maybe(NUMBERS),
        request_id=maybe(st.text(WHOLE)),
        position=maybe(INT64),
        value=maybe(NUMBERS),
        currency=maybe(st.sampled_from(["EUR", "USD"])),
        context_item_id=maybe(IDS),
        query=maybe(st.text(WHOLE)),
    )


def items():
    vectors = st.lists(NUMBERS, max_size=4).map(tuple)
    return st.builds(
        ItemRecord,
        item_id=IDS,
        advertiser_id=maybe(st.text(WHOLE)),
        category_id=maybe(st.text(WHOLE)),
        price=maybe(NUMBERS),
        currency=maybe(st.sampled_from(["EUR", "USD"])),
        title=maybe(st.text(WHOLE)),
        attributes=st.lists(st.text(WHOLE), max_size=3).map(tuple),
        content=maybe(vectors),
        visual=maybe(vectors),
        image_url=maybe(st.text(WHOLE)),
    )


def key_of(value):
    """7 and "7" are two keys of a dict, and 1 and True are one; here the type counts."""
    return type(value).__name__, value


@dataclass
class Model:
    """What a store should hold."""

    events: dict[str, EventRecord] = field(default_factory=dict)
    items: dict[tuple[str, object], tuple[int, ItemRecord | None]] = field(default_factory=dict)
    eligibility: dict[tuple[str, str, object], tuple[int, bool]] = field(default_factory=dict)

    def add(self, batch: list[EventRecord]) -> list[bool]:
        new = []
        for event in batch:
            new.append(event.event_id not in self.events)
            self.events.setdefault(event.event_id, event)
        return new

    def timeline(self, user_id, before_us=None) -> UserTimeline:
        own = [event for event in self.events.values() if key_of(event.user_id) == key_of(user_id)]
        own = [event for event in own if before_us is None or event.ts_us < before_us]
        own.sort(key=lambda event: event.ts_us)  # stable: at one time by arrival
        return UserTimeline.of(
            ts_us=[event.ts_us for event in own],
            item_id=[event.item_id for event in own],
            action=[event.action for event in own],
            surface=[event.surface for event in own],
            dwell_s=[event.dwell_s for event in own],
        )


def assert_same(store: OnlineStore, model: Model) -> None:
    users = {key_of(event.user_id): event.user_id for event in model.events.values()}
    for user_id in users.values():
        found = store.timeline(user_id)
        assert found == model.timeline(user_id)
        assert [type(item) for item in found.item_id] == [type(item) for item in model.timeline(user_id).item_id]
    assert {key_of(user) for user in store.users(limit=1000)} == set(users)
    changes = store.items_since(0)
    assert [change.sequence for change in changes] == sorted(sequence for sequence, _ in model.items.values())
    assert {key_of(c.item_id): (c.sequence, c.record) for c in changes} == model.items
    eligible = {}
    for change in store.eligibility_since(0):
        assert (change.advertiser_id is None) != (change.item_id is None)
        kind = "item" if change.advertiser_id is None else "advertiser"
        eligible[kind, *key_of(change.item_id if kind == "item" else change.advertiser_id)] = change
    assert {key: (change.sequence, change.eligible) for key, change in eligible.items()} == model.eligibility


STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(events(), max_size=6)),
    st.tuples(st.just("put"), st.lists(items(), max_size=4)),
    st.tuples(st.just("delete"), st.lists(IDS, max_size=3)),
    st.tuples(
        st.just("eligibility"),
        st.tuples(
            st.dictionaries(st.text(WHOLE), st.booleans(), max_size=3), st.dictionaries(IDS, st.booleans(), max_size=3)
        ),
    ),
    st.tuples(st.just("reopen"), st.none()),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=12))
def test_a_store_holds_what_a_dict_would_whenever_it_is_reopened(new_place, steps):
    place, model, last = new_place(), Model(), 0
    store = place.open()

    def take(returned: int, keys: list) -> None:
        """The numbers of a call are the `len(keys)` that end with the one it returned, all above any before."""
        nonlocal last
        if keys:
            assert returned - len(keys) >= last
            last = returned

    for step, what in steps:
        if step == "add":
            assert store.add_events(what) == model.add(what)
        elif step == "put":
            returned = store.put_items(what)
            take(returned, what)
            for place_of, item in enumerate(what):
                model.items[key_of(item.item_id)] = returned - len(what) + 1 + place_of, item
        elif step == "delete":
            returned = store.delete_items(what)
            take(returned, what)
            for place_of, item_id in enumerate(what):
                model.items[key_of(item_id)] = returned - len(what) + 1 + place_of, None
        elif step == "eligibility":
            returned = store.set_eligibility(advertisers=what[0], items=what[1])
            keys = [("advertiser", *key_of(key)) for key in what[0]] + [("item", *key_of(key)) for key in what[1]]
            take(returned, keys)
            for place_of, (key, value) in enumerate(zip(keys, [*what[0].values(), *what[1].values()], strict=True)):
                model.eligibility[key] = returned - len(keys) + 1 + place_of, value
        else:
            store = place.reopen(store)
    assert_same(store, model)
    assert_same(place.reopen(store), model)
    place.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(events(), max_size=12), before_us=TIMES)
def test_a_timeline_before_a_time_is_what_came_strictly_before_it(new_place, batch, before_us):
    place, model = new_place(), Model()
    store = place.open()
    store.add_events(batch)
    model.add(batch)
    for event in batch:
        assert store.timeline(event.user_id, before_us=before_us) == model.timeline(event.user_id, before_us)
        assert store.timeline(event.user_id, before_us=event.ts_us) == model.timeline(event.user_id, event.ts_us)
    place.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(events(), min_size=1, max_size=8), repeats=st.data())
def test_repeats_change_nothing(new_place, batch, repeats):
    place = new_place()
    store = place.open()
    store.add_events(batch)
    before = [store.timeline(event.user_id) for event in batch]
    again = repeats.draw(st.lists(st.sampled_from(batch)))
    other = [replace(event, ts_us=0, item_id="another") for event in again]
    assert store.add_events(again + other) == [False] * (2 * len(again))
    assert [store.timeline(event.user_id) for event in batch] == before
    place.close()


def click(number: int, **changes) -> EventRecord:
    event = EventRecord(event_id=f"e{number}", ts_us=number, user_id="u", item_id=number, action="click")
    return replace(event, **changes)


def test_a_timeline_by_hand(store):
    early = EventRecord(
        event_id="b", ts_us=10, user_id=1, item_id=2**63 - 1, action="view", surface="home", dwell_s=0.1
    )
    late = EventRecord(event_id="a", ts_us=20, user_id=1, item_id="x", action="checkout")
    same = EventRecord(event_id="c", ts_us=10, user_id=1, item_id=5, action="hide")
    assert store.add_events([late, early]) == [True, True]
    assert store.add_events([same, early]) == [True, False]
    assert store.timeline(1) == UserTimeline.of(
        ts_us=[10, 10, 20],
        item_id=[2**63 - 1, 5, "x"],
        action=["view", "hide", "checkout"],
        surface=["home", None, None],
        dwell_s=[0.1, None, None],
    )
    assert store.timeline(1, before_us=20).item_id == [2**63 - 1, 5]
    assert store.timeline(1, before_us=10) == EMPTY
    assert store.timeline("1") == EMPTY
    assert len(store.timeline(1, timeout_s=5)) == 3


def test_sequences_by_hand(place):
    store = place.open()
    shirt, cap = ItemRecord(item_id=1, title="shirt"), ItemRecord(item_id=2, title="cap")
    assert store.put_items([]) == 0
    assert store.put_items([shirt, cap]) == 2
    assert store.delete_items([1, "never there"]) == 4
    assert store.set_eligibility(advertisers={"adidas": False}, items={1: True, "1": False}) == 7
    store = place.reopen(store)
    assert store.put_items([]) == 4
    assert store.set_eligibility(advertisers={}, items={}) == 7
    assert store.put_items([shirt]) == 8
    assert store.items_since(0) == [
        ItemChange(sequence=2, item_id=2, record=cap),
        ItemChange(sequence=4, item_id="never there", record=None),
        ItemChange(sequence=8, item_id=1, record=shirt),
    ]
    assert store.items_since(4) == [ItemChange(sequence=8, item_id=1, record=shirt)]
    assert store.items_since(8) == []
    assert store.set_eligibility(advertisers={"adidas": True}, items={}) == 9
    assert store.eligibility_since(6) == [
        EligibilityChange(sequence=7, item_id="1", eligible=False),
        EligibilityChange(sequence=9, advertiser_id="adidas", eligible=True),
    ]


def test_a_number_is_not_used_again_when_what_had_it_is_overwritten(place):
    store = place.open()
    numbers = []
    for _ in range(3):
        numbers.append(store.put_items([ItemRecord(item_id=1)]))
        numbers.append(store.delete_items([1]))
        store = place.reopen(store)
    assert numbers == sorted(set(numbers))


def test_more_than_a_page_of_changes_comes_whole_and_in_order(store):
    count = 1234
    store.put_items([ItemRecord(item_id=number) for number in range(count)])
    store.set_eligibility(advertisers={}, items={number: number % 2 == 0 for number in range(count)})
    assert [change.item_id for change in store.items_since(0)] == list(range(count))
    assert [change.item_id for change in store.eligibility_since(0)] == list(range(count))


def test_threads_that_write_and_read_at_once_lose_nothing_and_see_their_own_writes(store):
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(30):
                own = click(number, event_id=f"{worker}/{number}", user_id=worker)
                shared = click(number, event_id=f"shared {number}", user_id="shared")
                assert store.add_events([own, shared])[0]
                assert store.timeline(worker, timeout_s=30).item_id == list(range(number + 1))
                sequence = store.put_items([ItemRecord(item_id=worker, price=float(number))])
                assert any(c.item_id == worker and c.record.price == number for c in store.items_since(sequence - 1))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.timeline("shared").item_id == list(range(30))
    assert [len(store.timeline(worker)) for worker in range(8)] == [30] * 8
    assert {change.item_id: change.record.price for change in store.items_since(0)} == dict.fromkeys(range(8), 29.0)
    assert store.put_items([]) == 8 * 30


def test_of_many_that_send_one_event_at_once_one_is_told_that_it_is_new(store):
    answers: list[bool] = []
    barrier = threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        answers.extend(store.add_events([click(1)]))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]
    assert len(store.timeline("u")) == 1


@pytest.mark.parametrize(
    "event",
    [
        click(1, action="stare"),
        click(1, item_id=2**63),
        click(1, user_id=-(2**63) - 1),
        click(1, ts_us=2**64),
        click(1, user_id="\ud800"),
        click(1, event_id="\udfff"),
        click(1, dwell_s=math.nan),
        click(1, value=math.inf),
        click(1, user_id=True),
        click(1, item_id=1.5),
        click(1, context_item_id=b"x"),
    ],
)
def test_an_event_that_cannot_be_kept_is_refused_with_all_of_its_call(store, event):
    with pytest.raises(DataError):
        store.add_events([click(0), event])
    assert store.users(limit=10) == []


@pytest.mark.parametrize(
    "item",
    [ItemRecord(item_id=2**63), ItemRecord(item_id=1, price=math.nan), ItemRecord(item_id=1, content=(math.inf,))],
)
def test_an_item_that_cannot_be_kept_is_refused_with_all_of_its_call(store, item):
    with pytest.raises(DataError):
        store.put_items([ItemRecord(item_id=0), item])
    assert store.items_since(0) == []


def test_some_users_are_given_and_no_more_than_asked_for(store):
    store.add_events([click(number, user_id=number % 5) for number in range(50)])
    store.add_events([click(number, event_id=f"s{number}", user_id=str(number % 5)) for number in range(50)])
    everybody = {*range(5), *map(str, range(5))}
    assert set(store.users(limit=100)) == everybody
    assert len(store.users(limit=3)) == 3
    assert set(store.users(limit=3)) < everybody
    assert store.users(limit=0) == []


def test_many_events_load_at_once_and_a_second_time_change_nothing(store):
    count = 12_000
    stream: Callable[[], object] = lambda: (click(number, user_id=number % 7) for number in range(count))  # noqa: E731
    assert load_events(store, stream()) == count
    assert load_events(store, stream()) == 0
    assert store.timeline(3).item_id == list(range(3, count, 7))


def test_a_store_answers_a_ping(store):
    store.ping(timeout_s=10)
    assert isinstance(store, OnlineStore)


def test_what_changes_while_changes_are_read_is_in_them_once(store):
    count = 1200
    store.put_items([ItemRecord(item_id=number, price=0.0) for number in range(count)])
    stop = threading.Event()

    def change() -> None:
        rng = np.random.default_rng(0)
        while not stop.is_set():
            store.put_items([ItemRecord(item_id=int(number), price=1.0) for number in rng.integers(count, size=20)])

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(20):
            changes = store.items_since(0)
            assert sorted(change.item_id for change in changes) == list(range(count))
            sequences = [change.sequence for change in changes]
            assert sequences == sorted(set(sequences))
    finally:
        stop.set()
        writer.join()

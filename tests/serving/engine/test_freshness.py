"""New and changed items and events are part of the next answer."""

import time

import pytest

from lowerfunnel.errors import UnavailableError
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.requests import CandidateRequest, Choice, Filters
from lowerfunnel.serving.store.open import open_store


def ask(engine, user=None, **options):
    options = {"k": 1000, **options}
    return engine.candidates([CandidateRequest(request_id="r", user_id=user, deadline_ms=10_000, **options)])[0]


def ids(answer):
    return [found.item_id for found in answer.candidates]


@pytest.fixture
def held(engine, run):
    """One item of the catalogue, as it was imported."""
    live = engine._live.loaded
    return live.records(live.catalogue.places_of([ids(ask(engine))[0]]))[0]


def test_a_new_item_is_found_at_once_and_like_its_own_kind(engine, held):
    new = ItemRecord(**{**{name: getattr(held, name) for name in held.__slots__}, "item_id": 7})
    assert [outcome.status for outcome in engine.put_items([new])] == ["accepted"]
    answer = ask(engine)
    assert 7 in ids(answer)
    assert answer.eligible_items == 121
    # It has no id embedding of its own and is described alike: among the nearer half to what it copies.
    card = engine.inspect(CandidateRequest(request_id="r", k=200, subject_item_id=7)).cards
    assert any(one.item.item_id == 7 and one.item.title == held.title for one in card)


def test_a_changed_item_takes_the_place_of_the_old_one(engine, held):
    changed = ItemRecord(**{**{name: getattr(held, name) for name in held.__slots__}, "price": 9999.0, "title": "gold"})
    engine.put_items([changed])
    answer = ask(engine, filters=Filters(least_price=9000.0))
    assert ids(answer) == [held.item_id]
    assert ids(ask(engine)).count(held.item_id) == 1
    assert engine.views([held.item_id])[0].title == "gold"
    engine.put_items([held])
    assert ids(ask(engine, filters=Filters(least_price=9000.0))) == []
    assert ids(ask(engine)).count(held.item_id) == 1


def test_a_deleted_item_is_gone_and_can_come_back(engine, held):
    engine.delete_items([held.item_id, 12345])
    assert held.item_id not in ids(ask(engine))
    assert len(ids(ask(engine))) == 119
    engine.put_items([held])
    assert held.item_id in ids(ask(engine))


def test_an_item_of_history_keeps_its_vector_after_it_was_put_unchanged(engine, held):
    user = engine.users(limit=1)[0]
    before = ask(engine, user, at_us=2**51)
    engine.put_items([held])
    after = ask(engine, user, at_us=2**51)
    assert {found.item_id: round(found.score, 4) for found in before.candidates} == {
        found.item_id: round(found.score, 4) for found in after.candidates
    }


def test_an_event_changes_the_next_answer_of_its_user_alone(engine):
    user, other = 10**14, 10**14 + 1
    before, of_other = ask(engine, user, at_us=2**52), ask(engine, other, at_us=2**52)
    liked = ids(before)[-1]
    event = EventRecord(
        event_id="x1", ts_us=2**51, user_id=user, item_id=liked, action="add_to_cart", surface="homefeed"
    )
    assert [outcome.status for outcome in engine.add_events([event, event])] == ["accepted", "duplicate"]
    after = ask(engine, user, at_us=2**52)
    assert ids(after).index(liked) < len(ids(before)) / 2
    assert ask(engine, other, at_us=2**52).candidates == of_other.candidates
    # What lies at or after the time asked for changes nothing.
    assert ask(engine, user, at_us=2**51).candidates == before.candidates


def test_what_was_bought_is_not_served_again(engine):
    first = ids(ask(engine, 10**12))[0]
    engine.add_events([EventRecord(event_id="b", ts_us=1, user_id=10**12, item_id=first, action="checkout")])
    assert first not in ids(ask(engine, 10**12))
    assert first in ids(ask(engine, 10**12, filters=Filters(exclude_purchased=False)))


def test_an_unknown_user_gets_an_answer_from_the_context(engine):
    answer = ask(engine, 10**13, surface="search", query="blue", k=5)
    assert (answer.known_user, answer.partial, len(answer.candidates)) == (False, False, 5)
    assert ids(answer) == ids(ask(engine, None, surface="search", query="blue", k=5))


def test_ids_of_another_type_are_refused_one_by_one(engine):
    events = [
        EventRecord(event_id="a", ts_us=1, user_id="7", item_id=1, action="click"),
        EventRecord(event_id="b", ts_us=1, user_id=7, item_id=1, action="click"),
    ]
    outcomes = engine.add_events(events)
    assert [outcome.status for outcome in outcomes] == ["rejected", "accepted"]
    assert outcomes[0].reason == "user_id must be an integer as in the log, got '7'"
    put = engine.put_items([ItemRecord(item_id="x"), ItemRecord(item_id=8)])
    assert [outcome.status for outcome in put] == ["rejected", "accepted"]
    assert "int64" in put[0].reason or "integer" in put[0].reason


def test_items_that_cannot_be_embedded_are_refused_and_the_others_served(engine):
    wrong = ItemRecord(item_id=9, content=(1.0, 2.0))
    outcomes = engine.put_items([wrong, ItemRecord(item_id=10)])
    assert [outcome.status for outcome in outcomes] == ["rejected", "accepted"]
    assert 10 in ids(ask(engine))
    assert 9 not in ids(ask(engine))


def test_more_fresh_items_than_there_is_room_for_are_refused(start):
    engine = start(settings=["engine.freshness.most_items=2"])
    engine.put_items([ItemRecord(item_id=1), ItemRecord(item_id=2)])
    engine.put_items([ItemRecord(item_id=2, price=3.0)])
    with pytest.raises(UnavailableError, match="2 items stand beside"):
        engine.put_items([ItemRecord(item_id=3)])
    assert ids(ask(engine, filters=Filters(items=Choice(allow=frozenset({1, 2, 3}))))) != []


def test_what_servers_of_other_machines_wrote_is_followed(start, tmp_path):
    engine = start()
    best = ids(ask(engine))[0]
    elsewhere = open_store(str(tmp_path / "state" / "store.sqlite"))
    elsewhere.put_items([ItemRecord(item_id=77)])
    elsewhere.set_eligibility(advertisers={}, items={best: False})
    elsewhere.close()
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline and (77 not in ids(ask(engine)) or best in ids(ask(engine))):
        time.sleep(0.02)
    assert 77 in ids(ask(engine))
    assert best not in ids(ask(engine))


def test_what_one_server_acknowledges_the_others_of_its_machine_hold_already(start, held):
    asks_never = ["engine.freshness.poll_s=600"]
    one, other = start(settings=asks_never), start(settings=asks_never)
    new = ItemRecord(**{**{name: getattr(held, name) for name in held.__slots__}, "item_id": 7})
    one.put_items([new])
    assert 7 in ids(ask(other))
    for eligible in (False, True, False):
        other.set_eligibility(advertisers={}, items={7: eligible})
        assert (7 in ids(ask(one))) is eligible
    other.delete_items([7])
    other.set_eligibility(advertisers={}, items={7: True})
    assert 7 not in ids(ask(one))
    version = one.publish("second").version
    assert ask(other).version == version
    before = other.rollback().version
    assert before != version
    assert ask(one).version == before


def test_everything_put_is_there_after_a_restart(start, held):
    first = start()
    changed = ItemRecord(**{**{name: getattr(held, name) for name in held.__slots__}, "price": 1.0})
    first.put_items([changed, ItemRecord(item_id=5, title="new")])
    first.delete_items([ids(ask(first))[-1]])
    first.set_eligibility(advertisers={held.advertiser_id: False}, items={5: False})
    before = ask(first)
    first.close()
    again = start()
    assert ask(again).candidates == before.candidates
    assert ask(again).eligible_items == before.eligible_items
    again.set_eligibility(advertisers={held.advertiser_id: True}, items={5: True})
    assert {5, held.item_id} <= set(ids(ask(again)))


def test_many_items_at_once_are_each_accepted_or_told_why(engine):
    items = [ItemRecord(item_id=10**6 + n, price=float(n)) for n in range(300)]
    items[7] = ItemRecord(item_id="seven")
    items[200] = ItemRecord(item_id=10**6 + 200, visual=(float("nan"),))
    outcomes = engine.put_items(items)
    rejected = {place: outcome.reason for place, outcome in enumerate(outcomes) if outcome.status == "rejected"}
    assert set(rejected) == {7, 200}
    assert all(rejected.values())
    allowed = Filters(items=Choice(allow=frozenset(item.item_id for item in items if item.item_id != "seven")))
    assert ask(engine, filters=allowed).eligible_items == 298

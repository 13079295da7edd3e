"""Nothing that a filter, stock or a budget forbids is ever part of an answer, and a short answer says so."""

import threading

import pytest

from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import CandidateRequest, Choice, Filters

NO_FILTERS = Filters()


def ask(engine, filters=NO_FILTERS, k=1000, user=None):
    return engine.candidates(
        [CandidateRequest(request_id="r", k=k, user_id=user, deadline_ms=10_000, filters=filters)]
    )[0]


@pytest.fixture
def views(engine):
    answer = ask(engine)
    ids = [found.item_id for found in answer.candidates]
    return {view.item_id: view for view in engine.views(ids)}


def test_every_filter_holds_for_every_candidate(engine, views):
    engine.put_items([ItemRecord(item_id=1, attributes=("country=DE",), price=5.0, advertiser_id="new")])
    advertiser = next(iter(views.values())).advertiser_id
    category = next(iter(views.values())).category_id
    price = sorted(view.price for view in views.values())[60]
    cases = {
        "advertiser allow": (Filters(advertisers=Choice(allow=frozenset({advertiser}))), lambda v: v.advertiser_id == advertiser),
        "advertiser deny": (Filters(advertisers=Choice(deny=frozenset({advertiser}))), lambda v: v.advertiser_id != advertiser),
        "category": (Filters(categories=Choice(allow=frozenset({category}))), lambda v: v.category_id == category),
        "price": (Filters(most_price=price), lambda v: v.price is not None and v.price <= price),
        "country": (Filters(country="FR"), lambda v: v.item_id != 1),
        "items": (Filters(items=Choice(allow=frozenset([*list(views)[:3], 1]))), lambda v: v.item_id in [*list(views)[:3], 1]),
    }  # fmt: skip
    everything = {**views, 1: engine.views([1])[0]}
    for name, (filters, holds) in cases.items():
        answer = ask(engine, filters)
        found = {candidate.item_id for candidate in answer.candidates}
        assert found == {item for item, view in everything.items() if holds(view)}, name
        assert answer.partial
        assert answer.eligible_items == len(found)


def test_filters_that_exclude_all_give_an_empty_answer_that_says_so(engine):
    answer = ask(engine, Filters(advertisers=Choice(allow=frozenset({"nobody"}))))
    assert (answer.candidates, answer.partial, answer.eligible_items) == ((), True, 0)


def test_the_cap_per_advertiser_holds_and_the_answer_is_full_while_it_can_be(engine, views):
    answer = ask(engine, Filters(most_per_advertiser=2), k=8)
    counts = {}
    for view in engine.views([found.item_id for found in answer.candidates]):
        counts[view.advertiser_id] = counts.get(view.advertiser_id, 0) + 1
    assert max(counts.values()) <= 2
    assert len(answer.candidates) == 8
    everything = ask(engine, Filters(most_per_advertiser=2), k=1000)
    advertisers = {view.advertiser_id for view in views.values()}
    assert len(everything.candidates) == sum(
        min(2, sum(view.advertiser_id == one for view in views.values())) for one in advertisers
    )


def test_an_advertiser_without_budget_is_never_served_from_the_moment_the_call_returns(engine, views):
    advertiser = next(iter(views.values())).advertiser_id
    theirs = {item for item, view in views.items() if view.advertiser_id == advertiser}
    wrong, stop = [], threading.Event()
    # Odd while the budget is known to be gone; a reader that sees one odd number throughout was within such a time.
    phase = 0

    def read():
        while not stop.is_set():
            began = phase
            found = {candidate.item_id for candidate in ask(engine, k=200).candidates}
            if began % 2 and began == phase and found & theirs:
                wrong.append(found & theirs)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        engine.set_eligibility(advertisers={advertiser: False}, items={})
        phase += 1
        assert not theirs & {candidate.item_id for candidate in ask(engine).candidates}
        phase += 1
        engine.set_eligibility(advertisers={advertiser: True}, items={})
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert theirs <= {candidate.item_id for candidate in ask(engine).candidates}


def test_a_person_is_told_what_was_taken_out_and_why(engine, views):
    best = next(iter(views))
    engine.set_eligibility(advertisers={}, items={best: False})
    request = CandidateRequest(
        request_id="r", k=20, filters=Filters(advertisers=Choice(deny=frozenset({"advertiser 0003"})))
    )
    inspection = engine.inspect(request)
    reasons = {removal.reason: removal for removal in inspection.removed}
    assert reasons["out of stock"].examples[0].item_id == best
    assert all(card.item.advertiser_id != "advertiser 0003" for card in inspection.cards)
    assert len(inspection.cards) == 20

from dataclasses import replace

import pytest
from sample_service import SampleService

from lowerfunnel.serving.console.explain import basis, headline, left_out, why_short
from lowerfunnel.serving.requests import CandidateRequest, Choice, Filters
from lowerfunnel.serving.service import Inspection, Removal


def inspected(**said: object) -> tuple[CandidateRequest, Inspection]:
    request = CandidateRequest(request_id="r", **{"k": 20, "user_id": 7, **said})
    return request, SampleService().inspect(request)


def reworded(inspection: Inspection, **said: object) -> Inspection:
    return replace(inspection, answer=replace(inspection.answer, **said))


def test_an_answer_in_full_needs_no_reason():
    assert why_short(*inspected()) == []


def test_each_reason_by_hand():
    request, full = inspected(k=5)
    asked = replace(request, k=9)
    assert why_short(asked, full) == ["296 items may be served and 5 came: the generators found no more."]
    assert why_short(asked, reworded(full, degraded=("deadline",))) == [
        "296 items may be served and 5 came: time ran out: the deadline is 50 ms."
    ]
    capped = replace(asked, filters=Filters(most_per_advertiser=1))
    assert why_short(capped, full) == ["296 items may be served and 5 came: of one advertiser, at most 1 may come."]
    assert why_short(asked, reworded(full, eligible_items=5)) == ["Only 5 items may be served, and 9 were asked for."]
    assert why_short(asked, reworded(full, eligible_items=0)) == [
        "No item may be served: the filters, the stock and the budgets leave none."
    ]


def test_two_reasons_are_both_said():
    filters = Filters(advertisers=Choice(allow=frozenset({"Mira Co"})), most_per_advertiser=1)
    request, inspection = inspected(k=40, filters=filters)
    said = why_short(request, replace(inspection, removed=()))
    assert said[0].startswith("Only ")
    assert said[0].endswith("Loosen the advertisers to see more.")
    assert said[1].endswith("1 came: of one advertiser, at most 1 may come.")


def test_the_chief_removal_is_named():
    request, inspection = inspected(k=20)
    removed = tuple(Removal(reason=reason, count=count, examples=()) for reason, count in (("a", 2), ("b", 1)))
    short = replace(inspection, cards=inspection.cards[:3], removed=removed)
    assert why_short(request, short)[-1] == "Most were taken out for one reason: a (2 items that would have come)."


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"k": 1}, "1 candidate for user 7"),
        ({"k": 2, "user_id": None}, "2 candidates for nobody in particular"),
        ({"filters": Filters(most_price=0.0)}, "No candidates for user 7"),
    ],
)
def test_the_headline(said, expected):
    assert headline(*inspected(**said)) == expected


def test_what_an_answer_rests_on():
    request, inspection = inspected(surface="search", subject_item_id=120, query="lamp")
    context = "the surface search, item 120, the words of the query"
    assert basis(request, inspection.answer) == f"The user is known: the answer rests on the timeline, {context}."
    request, inspection = inspected(user_id="new")
    assert (
        basis(request, inspection.answer) == "Nothing is known of this user: the answer rests on what everybody likes."
    )


def test_everything_that_was_left_out_has_a_sentence():
    _, inspection = inspected()
    said = left_out(replace(inspection.answer, degraded=("store", "deadline", "new reason")))
    assert len(said) == 3
    assert "context alone" in said[0]
    assert "new reason" in said[2]

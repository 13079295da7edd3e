"""An answer in plain sentences: whom it is for, why it is short, what was left out."""

from collections.abc import Sequence

from lowerfunnel.page.formats import count
from lowerfunnel.serving.requests import CandidateAnswer, CandidateRequest
from lowerfunnel.serving.service import Inspection, Removal

_LEFT_OUT = {
    "store": "The store did not answer in time: the answer is made from the context alone, without what the user did.",
    "deadline": "Time ran out: at least one generator was skipped.",
}


def headline(request: CandidateRequest, inspection: Inspection) -> str:
    """Return what came, for whom: "20 candidates for user 7"."""
    cards = len(inspection.cards)
    came = "No candidates" if not cards else "1 candidate" if cards == 1 else f"{count(cards)} candidates"
    return f"{came} for {'nobody in particular' if request.user_id is None else f'user {request.user_id}'}"


def basis(request: CandidateRequest, answer: CandidateAnswer) -> str:
    """Return what the answer rests on."""
    context = [
        words
        for name, given, words in (
            ("surface", request.surface, f"the surface {request.surface}"),
            ("subject_item_id", request.subject_item_id, f"item {request.subject_item_id}"),
            ("query", request.query, "the words of the query"),
        )
        if given is not None and name not in answer.ignored
    ]
    said = ", ".join(context) or "what everybody likes"
    if answer.known_user:
        return "The user is known: the answer rests on the timeline" + (f", {said}" if context else "") + "."
    if request.user_id is None:
        return f"No user was named: the answer rests on {said}."
    return f"Nothing is known of this user: the answer rests on {said}."


def left_out(answer: CandidateAnswer) -> list[str]:
    """Return a sentence for everything that was left out to answer in time."""
    return [_LEFT_OUT.get(name, f"“{name}” was left out to answer in time.") for name in answer.degraded]


def not_known(request: CandidateRequest, answer: CandidateAnswer, *, surfaces: Sequence[str]) -> list[str]:
    """Return a sentence for everything that was asked with and that the model does not know.

    Args:
        request: What was asked.
        answer: What came.
        surfaces: Those that the model knows.
    """
    known = f"; it knows {', '.join(surfaces)}" if surfaces else ""
    sentences = {
        "surface": f"The model knows no surface “{request.surface}”{known}.",
        "subject_item_id": f"The model knows no item {request.subject_item_id}, or does not look at what stands beside.",
        "query": "The model knows none of the words of the query.",
        "user_attributes": "The model knows none of the user's attributes.",
    }
    return [f"{sentences[name]} The answer is made without it." for name in answer.ignored]


def why_short(request: CandidateRequest, inspection: Inspection) -> list[str]:
    """Return why fewer candidates came than were asked for, the chief reason first; nothing if enough came."""
    answer, came = inspection.answer, len(inspection.cards)
    if came >= request.k:
        return []
    said = []
    eligible, most = answer.eligible_items, request.filters.most_per_advertiser
    if eligible == 0:
        said.append(f"No item may be served: the filters, the stock and the budgets leave none.{_loosen(request)}")
    elif eligible < request.k:
        said.append(
            f"Only {count(eligible)} {_items(eligible)} may be served, and {count(request.k)} were asked for."
            f"{_loosen(request)}"
        )
    if came < eligible:
        if "deadline" in answer.degraded:
            reason = f"time ran out: the deadline is {request.deadline_ms:g} ms"
        elif most is not None:
            reason = f"of one advertiser, at most {count(most)} may come"
        else:
            reason = "the generators found no more"
        said.append(f"{count(eligible)} {_items(eligible)} may be served and {count(came)} came: {reason}.")
    chief = _chief(inspection.removed)
    if chief is not None:
        share = f"{count(chief.count)} {_items(chief.count)} that would have come"
        said.append(f"Most were taken out for one reason: {chief.reason} ({share}).")
    return said


def _loosen(request: CandidateRequest) -> str:
    filters = request.filters
    tight = [
        ("the country", filters.country is not None),
        ("the advertisers", filters.advertisers.allow is not None or bool(filters.advertisers.deny)),
        ("the categories", filters.categories.allow is not None or bool(filters.categories.deny)),
        ("the price", filters.least_price is not None or filters.most_price is not None),
        (
            "the attributes",
            bool(filters.attributes_all or filters.attributes_none) or filters.attributes_any is not None,
        ),
    ]
    names = [name for name, given in tight if given]
    if not names:
        return ""
    return f" Loosen {names[0] if len(names) == 1 else ', '.join(names[:-1]) + ' or ' + names[-1]} to see more."


def _chief(removed: Sequence[Removal]) -> Removal | None:
    return max(removed, key=lambda one: one.count, default=None)


def _items(number: int) -> str:
    return "item" if number == 1 else "items"

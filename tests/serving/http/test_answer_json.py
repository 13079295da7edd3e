"""An answer is written piece by piece, as `json` writes the whole."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.serving.http.candidate_bodies import answer_json
from lowerfunnel.serving.requests import Candidate, CandidateAnswer

SOURCES = st.lists(st.sampled_from(["conversion", "popular", 'a "quoted" \\ name', "né"]), max_size=3).map(tuple)
CANDIDATES = st.builds(
    Candidate,
    item_id=st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    score=st.floats(allow_nan=False, allow_infinity=False),
    sources=SOURCES,
)


def answer_of(candidates: list[Candidate]) -> CandidateAnswer:
    return CandidateAnswer(
        request_id="r\n1",
        version='v"',
        candidates=tuple(candidates),
        partial=False,
        degraded=("store",),
        ignored=("surface",),
        known_user=True,
        eligible_items=7,
        plans={"conversion": "lists"},
        stage_ms={"total": 0.25},
    )


@given(candidates=st.lists(CANDIDATES, max_size=5), debug=st.booleans())
def test_an_answer_is_the_json_of_its_fields(candidates: list[Candidate], debug: bool) -> None:
    answer = answer_of(candidates)
    fields = {
        "request_id": answer.request_id,
        "version": answer.version,
        "candidates": [{"item_id": c.item_id, "score": c.score, "sources": c.sources} for c in candidates],
        "partial": False,
        "degraded": ("store",),
        "ignored": ("surface",),
        "known_user": True,
        "eligible_items": 7,
        **({"plans": answer.plans, "stage_ms": answer.stage_ms} if debug else {}),
    }
    assert answer_json(answer, debug=debug) == json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_never_written(score: float) -> None:
    with pytest.raises(ValueError, match="no number of JSON"):
        answer_json(answer_of([Candidate(item_id=1, score=score, sources=("a",))]), debug=False)

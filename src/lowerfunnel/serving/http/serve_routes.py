"""`POST /v1/candidates`, and many of them at once.

Everything but reading the body happens in a thread of the lane: the event loop only moves bytes, and what is shed has
cost nothing yet.
"""

from collections.abc import Sequence
from time import perf_counter

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.serving.http.bodies import plain_body
from lowerfunnel.serving.http.candidate_bodies import (
    BatchAnswer,
    BatchBody,
    CandidatesAnswer,
    CandidatesBody,
    answer_json,
    candidate_request,
)
from lowerfunnel.serving.http.edge import Edge, Facts, facts_of, json_response, json_text
from lowerfunnel.serving.http.operations import Operation
from lowerfunnel.serving.http.refusals import RefusalError, refusal_of_values, shed
from lowerfunnel.serving.http.strict_json import parse_json
from lowerfunnel.serving.requests import CandidateAnswer

_ANSWER_EXAMPLE = {
    "request_id": "5f2c",
    "version": "2026-07-01-a",
    "candidates": [{"item_id": "i-4", "score": 0.83, "sources": ["conversion", "popular"]}],
    "partial": True,
    "degraded": [],
    "ignored": [],
    "known_user": True,
    "eligible_items": 1,
}


async def answer_candidates(edge: Edge, request: Request) -> Response:
    """Answer one request for candidates."""
    body = await edge.read_body(request)
    facts = facts_of(request)
    came = perf_counter()

    def work() -> bytes:
        try:
            asked = CandidatesBody.model_validate(parse_json(_plain(edge, facts, body)))
        except ValidationError as error:
            raise refusal_of_values(error) from error
        left_ms = asked.deadline_ms - (perf_counter() - came) * 1000
        if left_ms <= 0:
            raise too_late(asked.deadline_ms)
        wanted = candidate_request(asked, request_id=facts.request_id, deadline_ms=left_ms)
        (answer,) = edge.service.candidates([wanted])
        note_answers(edge, facts, [answer], k=wanted.k)
        return answer_json(answer, debug=asked.debug).encode()

    return json_response(await edge.serve_lane.run(work))


async def answer_batch(edge: Edge, request: Request) -> Response:
    """Answer many requests by one version."""
    body = await edge.read_body(request)
    facts = facts_of(request)
    came = perf_counter()

    def work() -> bytes:
        try:
            asked = BatchBody.model_validate(parse_json(_plain(edge, facts, body))).requests
        except ValidationError as error:
            raise refusal_of_values(error) from error
        waited_ms = (perf_counter() - came) * 1000
        longest_ms = max(one.deadline_ms for one in asked)
        if longest_ms <= waited_ms:
            raise too_late(longest_ms)
        wanted = [
            candidate_request(
                one,
                request_id=f"{facts.request_id}.{number}",
                # One whose own deadline has passed is answered with what costs nothing, as the rest is answered anyway.
                deadline_ms=max(one.deadline_ms - waited_ms, 0.001),
                place=f"requests[{number}].",
            )
            for number, one in enumerate(asked)
        ]
        answers = edge.service.candidates(wanted)
        note_answers(edge, facts, answers, k=sum(one.k for one in asked))
        facts.fields["requests"] = len(asked)
        texts = [answer_json(answer, debug=one.debug) for one, answer in zip(asked, answers, strict=True)]
        return f'{{"version":{json_text(answers[0].version)},"answers":[{",".join(texts)}]}}'.encode()

    return json_response(await edge.serve_lane.run(work))


def too_late(deadline_ms: float) -> RefusalError:
    """Return the refusal of a request whose deadline passed before its turn came."""
    return shed(
        f"The deadline of {deadline_ms:g} ms passed before the request's turn came; the server is busy.",
        code="deadline_passed",
    )


def note_answers(edge: Edge, facts: Facts, answers: Sequence[CandidateAnswer], *, k: int) -> None:
    """Write answers into the metrics and the request's line of the log."""
    for answer in answers:
        edge.metrics.observe_answer(answer)
    facts.fields.update(
        version=answers[0].version,
        k=k,
        found=sum(len(answer.candidates) for answer in answers),
        partial=any(answer.partial for answer in answers),
        degraded=sorted({left_out for answer in answers for left_out in answer.degraded}),
        ignored=sorted({unknown for answer in answers for unknown in answer.ignored}),
    )


def _plain(edge: Edge, facts: Facts, body: bytes) -> bytes:
    return plain_body(body, facts.headers, most_bytes=edge.config.most_plain_bytes)


OPERATIONS = (
    Operation(
        path="/v1/candidates",
        method="POST",
        handler=answer_candidates,
        scope="serve",
        summary="Ask for candidates",
        description="The best items for a user at a place, of all that are eligible and pass the filters.",
        body=CandidatesBody,
        answer=CandidatesAnswer,
        example=_ANSWER_EXAMPLE,
        errors=(503,),
    ),
    Operation(
        path="/v1/candidates/batch",
        method="POST",
        handler=answer_batch,
        scope="serve",
        summary="Ask for candidates, many times at once",
        description="Up to 256 requests, all answered by the same version.",
        body=BatchBody,
        answer=BatchAnswer,
        example={"version": "2026-07-01-a", "answers": [_ANSWER_EXAMPLE]},
        errors=(503,),
    ),
)
"""What this file adds to the server."""

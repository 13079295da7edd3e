"""The server and `lowerfunnel recommend` give the same candidates for the same users and time."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowerfunnel.events.store import EventStore
from lowerfunnel.pipeline.recommend import recommend_to_file
from lowerfunnel.serving.requests import CandidateRequest, Filters

K = 30
ROUNDING = 2e-5


@pytest.mark.parametrize("exclude_purchased", [True, False])
@pytest.mark.parametrize("at", [None, "2026-01-10T12:00:00Z"])
def test_the_server_answers_as_recommend_does(engine, run, tmp_path, exclude_purchased, at):
    info = EventStore.open(run / "store").info
    users = [*engine.users(limit=1000), 10**15]
    pq.write_table(pa.table({"user_id": users}), tmp_path / "users.parquet")
    moment = None if at is None else "2026-01-10T12:00:00Z"
    recommend_to_file(
        run, tmp_path / "users.parquet", k=K, out=tmp_path / "out.parquet", at=moment,
        exclude_purchased=exclude_purchased,
    )  # fmt: skip
    offline = pq.read_table(tmp_path / "out.parquet")
    user, item, score = (offline.column(name).to_numpy() for name in ("user_id", "item_id", "score"))
    at_us = info.last_ts_us + 1 if at is None else int(np.datetime64(at[:-1], "us").astype(np.int64))
    asked = [
        CandidateRequest(
            request_id=str(one),
            k=K,
            user_id=one,
            at_us=at_us,
            deadline_ms=10_000,
            filters=Filters(exclude_purchased=exclude_purchased),
        )
        for one in users
    ]
    compared = 0
    for answer in (engine.candidates([request])[0] for request in asked):
        of_user = user == int(answer.request_id)
        found = [candidate.item_id for candidate in answer.candidates]
        expected = item[of_user].tolist()
        assert len(found) == len(expected)
        assert [candidate.score for candidate in answer.candidates] == pytest.approx(
            score[of_user].tolist(), abs=ROUNDING
        )
        # Items whose scores differ by no more than rounding may change places, and at the end of a list their company.
        held = dict(zip(expected, score[of_user].tolist(), strict=True))
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert one == other or abs(held.get(one, score[of_user][-1]) - score[of_user][place]) <= ROUNDING
        compared += 1
    assert compared == len(users) > 60


def test_a_batch_answers_as_single_requests_do(engine):
    asked = [
        CandidateRequest(
            request_id=str(user),
            k=7,
            user_id=user,
            deadline_ms=10_000,
            surface="search",
            query="red shoes",
            at_us=2**51,
        )
        for user in engine.users(limit=20)
    ]
    together = engine.candidates(asked)
    for request, answer in zip(asked, together, strict=True):
        alone = engine.candidates([request])[0]
        assert [found.score for found in answer.candidates] == pytest.approx(
            [found.score for found in alone.candidates], abs=ROUNDING
        )
    assert len({answer.version for answer in together}) == 1


def test_the_context_of_a_request_changes_its_answer(engine):
    user, *_ = engine.users(limit=1)

    def scores(**context):
        request = CandidateRequest(request_id="r", k=100, user_id=user, deadline_ms=10_000, at_us=2**51, **context)
        return {found.item_id: found.score for found in engine.candidates([request])[0].candidates}

    plain = scores()
    subject = next(iter(plain))
    for context in (
        {"surface": "search"},
        {"subject_item_id": subject},
        {"query": "red shoes"},
        {"user_attributes": ()},
    ):
        changed = scores(**context)
        assert max(abs(changed.get(item, 9.0) - score) for item, score in plain.items()) > 1e-3, context

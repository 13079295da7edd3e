"""Requests as they were served, gathered again offline: no skew where there is none, and any skew is found."""

import json

import pytest

from lowerfunnel.errors import RunError
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.replay import replay
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.store.open import open_store
from lowerfunnel.serving.versions.registry import Registry


def serve(engine, **options):
    users = [*engine.users(limit=25), 10**12, None]
    first = engine.candidates([CandidateRequest(request_id="x", k=5)])[0].candidates[0].item_id
    for place, user in enumerate(users):
        context = ({}, {"surface": "search", "query": "red shoes"}, {"surface": "related", "subject_item_id": first})
        engine.candidates(
            [
                CandidateRequest(
                    request_id=f"r{place}", k=5, user_id=user, deadline_ms=10_000, **context[place % 3], **options
                )
            ]
        )
    return users


@pytest.fixture
def replayed(start, tmp_path):
    """Serve with `use(engine)`, stop, edit the lines that were written, and replay them."""

    def run(use, edit=None):
        engine = start(settings=["engine.request_log.share=1"])
        use(engine)
        engine.close()
        files = sorted((tmp_path / "state" / "requests").glob("*.jsonl"))
        if edit is not None:
            for file in files:
                lines = [edit(json.loads(line)) for line in file.read_text().splitlines()]
                file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        store = open_store(str(tmp_path / "state" / "store.sqlite"))
        try:
            return replay(tmp_path / "state" / "requests", Registry.open(tmp_path / "state"), store, key=None)
        finally:
            store.close()

    return run


def test_what_was_served_is_what_training_would_have_seen(replayed):
    report = replayed(serve)
    assert (report.requests, report.compared, report.skewed) == (28, 28, 0)
    assert report.largest_vector_difference < 1e-5
    assert (report.late, report.degraded, report.fresh, report.damaged) == (0, 0, 0, 0)


def test_a_batch_is_compared_too(replayed):
    def use(engine):
        users = engine.users(limit=10)
        engine.candidates(
            [CandidateRequest(request_id=str(user), k=5, user_id=user, deadline_ms=10_000) for user in users]
        )

    report = replayed(use)
    assert (report.compared, report.skewed) == (10, 0)


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("surface", lambda one: one["features"]["conversion"].update(surface=3)),
        ("history.dwell_s", lambda one: one["features"]["conversion"]["history"].update(dwell_s=[])),
        ("user_row", lambda one: one["features"]["conversion"].update(user_row=12345)),
        ("vector", lambda one: one["vectors"]["conversion"].__setitem__(0, 0.5)),
    ],
)
def test_a_feature_that_was_served_otherwise_is_found_and_named(replayed, feature, change):
    def edit(line):
        if line["request_id"] == "r3":
            change(line)
        return line

    report = replayed(serve, edit)
    assert report.skewed == 1
    assert set(report.by_feature) == {feature}
    assert report.examples[0]["request_id"] == "r3"


def test_an_event_that_came_late_is_told_apart_from_skew(replayed):
    def use(engine):
        users = serve(engine, at_us=2**51)
        engine.add_events([EventRecord(event_id="l", ts_us=2**50, user_id=users[0], item_id=1, action="click")])
        engine.add_events([EventRecord(event_id="n", ts_us=2**52, user_id=users[1], item_id=1, action="click")])

    report = replayed(use)
    assert (report.late, report.skewed) == (1, 0)


def test_items_that_came_after_the_version_are_told_apart(replayed):
    def use(engine):
        engine.put_items([ItemRecord(item_id=5)])
        engine.add_events([EventRecord(event_id="f", ts_us=1, user_id=10**12, item_id=5, action="click")])
        serve(engine)

    report = replayed(use)
    assert (report.fresh, report.skewed) == (1, 0)


def test_a_half_written_line_is_counted_and_nothing_else(replayed, tmp_path):
    def use(engine):
        serve(engine)

    report = replayed(use)
    whole = report.compared
    file = sorted((tmp_path / "state" / "requests").glob("*.jsonl"))[-1]
    file.write_text(file.read_text()[:-20])
    store = open_store(str(tmp_path / "state" / "store.sqlite"))
    again = replay(tmp_path / "state" / "requests", Registry.open(tmp_path / "state"), store, key=None)
    store.close()
    assert (again.damaged, again.compared) == (1, whole - 1)


def test_nothing_to_replay_is_a_clear_error(tmp_path):
    store = open_store(str(tmp_path / "store.sqlite"))
    with pytest.raises(RunError, match="no requests are written down"):
        replay(tmp_path / "requests", Registry.open(tmp_path), store, key=None)
    store.close()


def test_a_share_of_the_requests_is_written_the_same_everywhere(start, tmp_path):
    engine = start(settings=["engine.request_log.share=0.5"])
    for number in range(200):
        engine.candidates([CandidateRequest(request_id=f"n{number}", k=1)])
    engine.close()
    written = [
        json.loads(line)["request_id"]
        for file in (tmp_path / "state" / "requests").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert 60 < len(written) < 140
    assert len(set(written)) == len(written)

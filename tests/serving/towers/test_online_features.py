"""Features gathered online are those of the log, and nothing at or after the moment is part of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.towers.tower_samples import (
    CONFIGS,
    END_US,
    LATER,
    USERS,
    NamedPlaces,
    Sample,
    asked_by_all,
    config_of,
    item_name,
    requests_of_log,
    sample,
    stored_of,
    timelines_of,
    user_places,
)

from lowerfunnel.errors import DataError, RunError, UnavailableError
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.towers.feature_records import FeatureRecord, differences, feature_records
from lowerfunnel.serving.towers.online_features import OnlineFeatures
from lowerfunnel.serving.towers.query_features import features_of_log
from lowerfunnel.serving.user_timeline import UserTimeline

ORDERS = pytest.mark.parametrize("order", ["time", "sequence", "none"])


@pytest.fixture(scope="module")
def everything() -> Sample:
    return sample(CONFIGS["everything"])


def online_records(
    made: Sample, requests: list[CandidateRequest], t: list[int], stored: list[UserTimeline] | None = None
) -> list[FeatureRecord]:
    online = OnlineFeatures(made.artefact, order=made.order)
    features = online.gather(requests, stored_of(made, requests) if stored is None else stored, t, made.places)
    return json.loads(json.dumps(feature_records(features, item_name), allow_nan=False))


def log_records(made: Sample, requests: list[CandidateRequest], t: list[int]) -> list[FeatureRecord]:
    artefact = made.artefact
    features = features_of_log(
        artefact,
        made.timelines,
        user_places(artefact, requests),
        np.array(t, np.int64),
        requests=requests_of_log(artefact, requests),
        attributes=[request.user_attributes for request in requests],
    )
    return feature_records(features, item_name)


@ORDERS
def test_what_is_gathered_online_is_what_the_log_says(order: str) -> None:
    made = sample(config_of(activity=order != "none"), order=order)
    requests = asked_by_all()
    requests[2] = replace(requests[2], user_attributes=("from=1", "unheard of"))
    requests[3] = replace(requests[3], user_attributes=())
    requests[-1] = replace(requests[-1], user_attributes=("age=1",))
    t = [END_US // 2 + n * END_US // 20 if order == "time" else 3 * n for n in range(len(requests))]
    ours, theirs = online_records(made, requests, t), log_records(made, requests, t)
    assert ours == json.loads(json.dumps(theirs))
    assert [differences(one, other) for one, other in zip(ours, theirs, strict=True)] == [[]] * len(requests)
    assert max(len(record["history"]["item_id"]) for record in ours) > 4
    assert [ours[r]["attributes"] for r in (2, -1)] == [[3], [0]]
    assert ours[3]["attributes"] == []


events = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from([*map(item_name, range(5)), "gone"]),
        st.sampled_from(ACTIONS),
        st.sampled_from(["home", "unheard of", None]),
        st.none() | st.floats(0, 1e6, width=32),
    ),
    max_size=40,
)


def as_stored(rows: list[tuple]) -> UserTimeline:
    columns = zip(*sorted(rows, key=lambda row: row[0]), strict=True) if rows else [()] * 5
    return UserTimeline.of(**dict(zip(UserTimeline.of().columns(), map(list, columns), strict=True)))


@ORDERS
@settings(max_examples=60, deadline=None)
@given(rows=events, at=st.integers(0, 51), later=events)
def test_events_at_or_after_the_moment_change_nothing(order: str, rows: list, at: int, later: list) -> None:
    made = MADE[order]
    request = CandidateRequest(request_id="r", k=1, user_id=2**53)
    stored = as_stored(rows)
    record = online_records(made, [request], [at], [stored])[0]
    # The user of these events, in a log of its own.
    alone = replace(made, timelines=timelines_of(made.artefact, [stored, *made.stored[1:]], order))
    assert differences(record, log_records(alone, [request], [at])[0]) == []
    if order != "none":
        more = as_stored(rows + [(at + row[0], *row[1:]) for row in later])
        assert online_records(made, [request], [at], [more])[0] == record


MADE = {order: sample(config_of(activity=order != "none"), order=order) for order in ("time", "sequence", "none")}


def test_a_new_item_lies_behind_the_catalogue(everything: Sample) -> None:
    stored = UserTimeline.of(
        ts_us=[1, 2], item_id=["new", "item001"], action=["click"] * 2, surface=[None] * 2, dwell_s=[None] * 2
    )
    online = OnlineFeatures(everything.artefact, order="time")
    request = CandidateRequest(request_id="r", k=1, subject_item_id="new")
    for places, expected, subject in (
        (NamedPlaces({**everything.places, "new": 40}), [40, 1], 40),
        (everything.places, [1], -1),
    ):
        features = online.gather([request], [stored], [3], places)
        assert features.histories.item_N.tolist() == expected
        assert features.requests.subject_R.tolist() == [subject]


def test_who_was_not_trained_has_attributes_and_no_row(everything: Sample) -> None:
    requests = [CandidateRequest(request_id="r", k=1, user_id=user) for user in (2**53 + 7, 2**53 + 8, 5, None)]
    records = online_records(everything, requests, [END_US] * 4)
    assert [record["user_row"] for record in records] == [None, 8, None, None]
    assert [len(record["attributes"]) for record in records] == [1, 2, 0, 0]


def test_a_difference_names_its_feature_and_both_values(everything: Sample) -> None:
    record = online_records(everything, asked_by_all()[-3:-2], [END_US])[0]
    other = json.loads(json.dumps(record))
    other["history"]["age"][0] += 1
    other["activity"]["engagement"] += 0.25
    del other["activity"]["impression"]
    other["user_row"] = 3
    found = {each.feature: (each.ours, each.theirs) for each in differences(record, other)}
    assert list(found) == ["activity.engagement", "activity.impression", "history.age", "user_row"]
    assert found["user_row"] == (None, 3)
    assert found["activity.impression"][1] == 0.0
    assert differences(record, other, tolerance=10.0)[0].feature == "history.age"


@pytest.mark.parametrize("user", ["7", True])
def test_an_id_of_another_type_is_refused(everything: Sample, user: object) -> None:
    with pytest.raises(DataError, match="ids of this model are integers"):
        online_records(everything, [CandidateRequest(request_id="r", k=1, user_id=user)], [1], everything.stored[:1])


def test_counts_of_past_actions_need_the_order_of_training(everything: Sample) -> None:
    with pytest.raises(RunError, match='ordered by "sequence" has 5'):
        OnlineFeatures(everything.artefact, order="sequence")
    with pytest.raises(UnavailableError, match="needs events with order"):
        OnlineFeatures(everything.artefact, order="none")


def test_nobody_asking_is_nobody(everything: Sample) -> None:
    assert online_records(everything, [], []) == []
    assert len(asked_by_all()) == USERS + 2
    assert LATER > END_US

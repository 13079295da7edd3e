"""What is written down of a request as it was served: enough to ask it again offline and compare."""

import numpy as np

from lowerfunnel.serving.engine.answering import Asked
from lowerfunnel.serving.engine.live import LiveVersion
from lowerfunnel.serving.requests import CandidateAnswer
from lowerfunnel.serving.towers.feature_records import feature_records
from lowerfunnel.serving.towers.query_features import QueryFeatures

FORMAT = 1
"""Raised when a line changes its meaning."""

ITEMS = 20
"""Candidates of an answer that are written down, the best ones."""


def served_line(live: LiveVersion, answer: CandidateAnswer, one: Asked) -> dict[str, object]:
    """Return the line of a request.

    `features` holds, by generator, the features that its tower read, and `vectors` what it made of them; `fresh` tells
    whether an item was among them that came after the version.
    """
    request = one.request

    places = {place for features in one.features.values() for place in _places(features)}
    known = np.array(sorted(places), np.int64)
    names = dict(zip(known.tolist(), live.item_ids(known), strict=True))
    return {
        "format": FORMAT,
        "request_id": request.request_id,
        "version": answer.version,
        "at_us": one.at_us,
        "user_id": request.user_id,
        "user_attributes": None if request.user_attributes is None else list(request.user_attributes),
        "surface": request.surface,
        "subject_item_id": request.subject_item_id,
        "query": request.query,
        "k": request.k,
        "degraded": list(answer.degraded),
        "events": len(one.timeline),
        "fresh": max(places, default=-1) >= live.snapshot_items,
        "features": {name: feature_records(features, names.__getitem__)[0] for name, features in one.features.items()},
        "vectors": {name: vector_E.tolist() for name, vector_E in one.vectors.items()},
        "candidates": [[found.item_id, found.score, found.sources[0]] for found in answer.candidates[:ITEMS]],
    }


def _places(features: QueryFeatures) -> list[int]:
    """Return the places of the items that the features of one request name."""
    places: list[int] = features.histories.item_N.tolist()
    return places + [place for place in features.requests.subject_R.tolist() if place >= 0]

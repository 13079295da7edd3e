"""What the tower read of a request, as a line of JSON; and where two such records differ.

A server logs the record of what it answered from; the same features gathered later from the log must give the same one.
Items are named by their source ids, as places change with every catalogue.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.features.activity import activity_names
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.towers.query_features import QueryFeatures

FeatureRecord = dict[str, Any]
"""One request's features, of JSON's types: `feature_records` says what is in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureDifference:
    """One feature that two records do not agree on."""

    feature: str
    """Its name, such as "history.item_id" or "activity.click_7d"."""
    ours: Any
    """What the first record says, None where it says nothing."""
    theirs: Any
    """What the second one says."""


def feature_records(features: QueryFeatures, item_id: Callable[[int], Id]) -> list[FeatureRecord]:
    """Return a record of each request.

    Args:
        features: Of R requests.
        item_id: Gives the source id of the item at a place.

    Returns:
        Records of "user_row" (of the user's own embedding, None if it is not used), "attributes" and "words" (codes),
        "surface" (code, 0 unknown), "subject" (source id or None), "activity" (by name, without those that are 0), and
        "history": its columns by name, latest last, with None for an unknown dwell.
    """
    histories, requests = features.histories, features.requests
    columns = {
        "item_id": [item_id(place) for place in histories.item_N.tolist()],
        "action": [ACTIONS[code] for code in histories.action_N.tolist()],
        "age": histories.age_N.tolist(),
        "surface": histories.surface_N.tolist(),
        "dwell_s": [None if math.isnan(dwell_s) else dwell_s for dwell_s in histories.dwell_N.tolist()],
        "back": histories.back_N.tolist(),
    }
    entries, tokens = histories.offsets_B1.tolist(), features.attribute_offsets_R1.tolist()
    words = requests.word_offsets_R1.tolist()
    names = _activity_names(features.activity_RF.shape[1])
    return [
        {
            "user_row": None if features.id_R[r] < 0 else int(features.id_R[r]),
            "attributes": features.attribute_T[tokens[r] : tokens[r + 1]].tolist(),
            "surface": int(requests.surface_R[r]),
            "subject": None if requests.subject_R[r] < 0 else item_id(int(requests.subject_R[r])),
            "words": requests.word_T[words[r] : words[r + 1]].tolist(),
            "activity": {
                names[f]: float(features.activity_RF[r, f]) for f in features.activity_RF[r].nonzero()[0].tolist()
            },
            "history": {name: column[entries[r] : entries[r + 1]] for name, column in columns.items()},
        }
        for r in range(len(features))
    ]


def differences(ours: FeatureRecord, theirs: FeatureRecord, *, tolerance: float = 1e-6) -> list[FeatureDifference]:
    """Return the features that two records of one request do not agree on, by name; none if they say the same.

    Args:
        ours: One record, before or after it was written as JSON.
        theirs: The other one.
        tolerance: How far numbers that are no codes may lie apart, relative to the larger one where it is above 1.
    """
    flat_ours, flat_theirs = _flat(ours), _flat(theirs)
    found = []
    for name in sorted({*flat_ours, *flat_theirs}):
        # Counts of 0 are not written down.
        absent = 0.0 if name.startswith("activity.") else None
        one, other = flat_ours.get(name, absent), flat_theirs.get(name, absent)
        if not _same(one, other, tolerance):
            found.append(FeatureDifference(feature=name, ours=one, theirs=other))
    return found


def _activity_names(width: int) -> Sequence[str]:
    """Return what the counts are called: their number tells what the log is ordered by."""
    return next(
        (names for names in (activity_names("time"), activity_names("sequence")) if len(names) == width),
        [str(place) for place in range(width)],
    )


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": each for inner, each in value.items()})
        else:
            flat[name] = value
    return flat


def _same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if {type(one), type(other)} in ({float}, {float, int}):
        return bool(abs(one - other) <= tolerance * max(1.0, abs(one), abs(other)))
    return bool(one == other)

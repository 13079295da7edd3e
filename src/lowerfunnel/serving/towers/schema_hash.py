"""One number for everything that features and towers must agree on.

A query tower, an index and the code that gathers features belong together only if actions have the codes they had in
training, ages the same buckets, ids the same places. Two sides with equal hashes do.
"""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from lowerfunnel.config import settings_to_dict
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.timeline import Order
from lowerfunnel.features.activity import ACTIVITY_DAYS, ACTIVITY_GROUPS, activity_names
from lowerfunnel.features.counters import COUNTER_DAYS, COUNTER_GROUPS, COUNTER_NAMES, PRIOR_CLICKS, PRIOR_IMPRESSIONS
from lowerfunnel.features.history import AGE_BUCKETS
from lowerfunnel.features.prices import PRICE_BUCKETS
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.retrieval.artefact import ModelArtefact


def feature_schema_hash(artefact: ModelArtefact, *, order: Order) -> str:
    """Return the SHA-256, in hex, of what a model's features are made with; weights are not part of it.

    Equal for one model read twice, on any machine. It changes with the settings of towers, histories, context and heads,
    with the meaning of actions, ages, counters and counts of past actions in the code, with the sizes of the tables, the
    price scale, any id of any vocabulary, and with what the log is ordered by.
    """
    config = artefact.config
    names = artefact.vocabularies
    vocabularies = {"users": artefact.users, "items": artefact.items, "words": artefact.words}
    vocabularies |= {name: getattr(names, name) for name in names.__slots__}
    agreed = {
        "order": order,
        "tower": settings_to_dict(config.tower),
        "history": settings_to_dict(config.history),
        "context": settings_to_dict(config.context),
        "heads": list(config.objective.head_names),
        "actions": list(ACTIONS),
        "age_buckets": AGE_BUCKETS,
        "price_buckets": PRICE_BUCKETS,
        "activity": {"names": list(activity_names(order)), "groups": ACTIVITY_GROUPS, "days": ACTIVITY_DAYS},
        "counters": {
            "names": list(COUNTER_NAMES),
            "groups": COUNTER_GROUPS,
            "days": COUNTER_DAYS,
            "priors": [PRIOR_IMPRESSIONS, PRIOR_CLICKS],
        },
        "sizes": asdict(artefact.sizes),
        "price_scale": asdict(artefact.price_scale),
        "vocabularies": {name: _digest(vocabulary) for name, vocabulary in vocabularies.items()},
    }
    text = json.dumps(agreed, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(vocabulary: Vocabulary) -> str:
    """Return the SHA-256 of a vocabulary's ids in their order, of their values alone: not of how Arrow lays them out."""
    ids, digest = vocabulary.ids, hashlib.sha256(str(vocabulary.ids.type).encode())
    if ids.type == pa.int64():
        digest.update(ids.to_numpy().astype("<i8").tobytes())
    elif len(ids):
        _, offsets, values = ids.buffers()
        offset_V1 = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
        digest.update(np.diff(offset_V1).astype("<i4").tobytes())
        if values is not None:
            digest.update(memoryview(values)[int(offset_V1[0]) : int(offset_V1[-1])])
    return digest.hexdigest()

"""Queries of the user tower as they will be asked, for whoever measures an index: items are no stand-in for them.

Shape letters: U users, Q queries, E width of the vectors.
"""

import numpy as np
import numpy.typing as npt

from lowerfunnel.events.timeline import Float32Array, Int32Array, Timelines
from lowerfunnel.features.requests import Requests
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.corpus import end_of_log
from lowerfunnel.retrieval.encoder import Encoder

QUERIES = 1000
"""Enough for a mean recall to within a fraction of a percent, and a few seconds of encoding."""


def spread_users(timelines: Timelines, count: int, *, keep_U: npt.NDArray[np.bool_] | None = None) -> Int32Array:
    """Return up to `count` users with events, spread evenly over all of them, or over those of `keep_U`."""
    has_events_U = np.diff(timelines.offsets_U1) > 0
    active_U = np.flatnonzero(has_events_U if keep_U is None else has_events_U & keep_U)
    if not len(active_U):
        return np.zeros(0, np.int32)
    return active_U[np.unique(np.linspace(0, len(active_U) - 1, count).astype(np.int64))].astype(np.int32)


def sample_queries(
    artefact: ModelArtefact, encoder: Encoder, timelines: Timelines, *, count: int = QUERIES
) -> Float32Array:
    """Return vectors of users of the log at its end, from every surface in turn, a third of them beside an item.

    Returns:
        At most `count` vectors, [Q, E], and one of a user of whom nothing is known.
    """
    user_Q = np.append(spread_users(timelines, count), np.int32(-1))
    place_Q = np.arange(len(user_Q))
    # The latest item of a user is the subject of a third of the requests.
    last_Q = np.maximum(timelines.offsets_U1[np.maximum(user_Q, 0) + 1] - 1, 0)
    latest_Q = timelines.item_E[last_Q] if len(timelines.item_E) else np.full(len(user_Q), -1, np.int32)
    has_subject_Q = (place_Q % 3 == 0) & (user_Q >= 0) & artefact.config.context.subject
    requests = Requests(
        surface_R=(place_Q % (len(artefact.vocabularies.surface) + 1)).astype(np.int32),
        subject_R=np.where(has_subject_Q, latest_Q, -1).astype(np.int32),
        word_offsets_R1=np.zeros(len(user_Q) + 1, np.int64),
        word_T=np.zeros(0, np.int32),
    )
    return encoder.users(
        user_Q,
        np.full(len(user_Q), end_of_log(timelines), np.int64),
        timelines=timelines,
        features=artefact.user_features,
        trained_U=artefact.trained_U,
        requests=requests,
    )

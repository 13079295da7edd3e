"""What the query tower reads of some requests, as codes and counts: the same whether it came from a log or online.

Shape letters: R requests, N history entries (ragged over R), T tokens (ragged over R), F activity features, U users.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lowerfunnel.events.timeline import Float32Array, Int32Array, Int64Array, Timelines, ragged_index
from lowerfunnel.features.activity import activity_counts
from lowerfunnel.features.history import Histories, gather_histories
from lowerfunnel.features.requests import Requests
from lowerfunnel.retrieval.artefact import ModelArtefact


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryFeatures:
    """R requests.

    Attributes:
        histories: What their users did before; items are places in the table of item inputs.
        id_R: Row of the user's own embedding, -1 where there is none or it was not trained.
        attribute_offsets_R1: Tokens of request r are ``attribute_offsets_R1[r]:attribute_offsets_R1[r + 1]``.
        attribute_T: Codes of the users' attributes.
        activity_RF: `activity_counts`; F is 0 for a model that does not look.
        requests: Where they come from, beside which item, with which words.
    """

    histories: Histories
    id_R: Int32Array
    attribute_offsets_R1: Int64Array
    attribute_T: Int32Array
    activity_RF: Float32Array
    requests: Requests

    def __len__(self) -> int:
        return len(self.id_R)

    def row(self, request: int) -> "QueryFeatures":
        """Return one of the requests."""
        start, stop = self.histories.offsets_B1[request : request + 2].tolist()
        first, last = self.attribute_offsets_R1[request : request + 2].tolist()
        columns = {name: getattr(self.histories, name)[start:stop] for name in Histories.__slots__}
        return QueryFeatures(
            histories=Histories(**{**columns, "offsets_B1": np.array([0, stop - start], np.int64)}),
            id_R=self.id_R[request : request + 1],
            attribute_offsets_R1=np.array([0, last - first], np.int64),
            attribute_T=self.attribute_T[first:last],
            activity_RF=self.activity_RF[request : request + 1],
            requests=self.requests.take(np.array([request], np.int64)),
        )

    @classmethod
    def joined(cls, parts: Sequence["QueryFeatures"]) -> "QueryFeatures":
        """Return the requests of one or more parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        histories = [part.histories for part in parts]
        requests = [part.requests for part in parts]
        columns = [name for name in Histories.__slots__ if name != "offsets_B1"]
        return cls(
            histories=Histories(
                offsets_B1=_offsets([each.offsets_B1 for each in histories]),
                **{name: np.concatenate([getattr(each, name) for each in histories]) for name in columns},
            ),
            id_R=np.concatenate([part.id_R for part in parts]),
            attribute_offsets_R1=_offsets([part.attribute_offsets_R1 for part in parts]),
            attribute_T=np.concatenate([part.attribute_T for part in parts]),
            activity_RF=np.concatenate([part.activity_RF for part in parts]),
            requests=Requests(
                surface_R=np.concatenate([each.surface_R for each in requests]),
                subject_R=np.concatenate([each.subject_R for each in requests]),
                word_offsets_R1=_offsets([each.word_offsets_R1 for each in requests]),
                word_T=np.concatenate([each.word_T for each in requests]),
            ),
        )


def features_of_log(
    artefact: ModelArtefact,
    timelines: Timelines,
    user_R: Int32Array,
    t_R: Int64Array,
    *,
    requests: Requests | None = None,
    attributes: Sequence[tuple[str, ...] | None] | None = None,
) -> QueryFeatures:
    """Gather requests from a log in memory, of users by their place in it, strictly before `t_R`; as `Encoder.users` does.

    Args:
        artefact: The model.
        timelines: The log, in the model's codes; U users.
        user_R: Dense users, -1 for one whom the model does not know.
        t_R: When they ask.
        requests: What is known of the requests; None for nothing.
        attributes: What requests said of their users, in place of what the model knows; None where they said nothing.
    """
    config = artefact.config
    activity_RF = np.zeros((len(user_R), 0), np.float32)
    if config.tower.activity:
        activity_RF = activity_counts(timelines, user_R, t_R)
    history = timelines.of_actions(config.history.codes)
    token = None
    if attributes is not None:
        vocabulary = artefact.vocabularies.user_attribute
        token = [None if names is None else vocabulary.encode(pa.array(names, pa.string())) for names in attributes]
    offsets_R1, attribute_T = attribute_tokens(artefact, user_R, token)
    return QueryFeatures(
        histories=gather_histories(history, user_R, t_R, max_length=config.history.length),
        id_R=trained_rows(artefact, user_R),
        attribute_offsets_R1=offsets_R1,
        attribute_T=attribute_T,
        activity_RF=activity_RF,
        requests=Requests.unknown(len(user_R)) if requests is None else requests,
    )


def trained_rows(artefact: ModelArtefact, user_R: Int32Array) -> Int32Array:
    """Return the row of each user's own embedding, -1 for one who is unknown or has no training example."""
    if not len(artefact.trained_U):
        return np.full(len(user_R), -1, np.int32)
    trained_R = (user_R >= 0) & artefact.trained_U[np.maximum(user_R, 0)]
    return np.where(trained_R, user_R, -1).astype(np.int32)


def attribute_tokens(
    artefact: ModelArtefact, user_R: Int32Array, token: Sequence[Int32Array | None] | None
) -> tuple[Int64Array, Int32Array]:
    """Return the users' attribute codes as ragged tokens: those given, else what the model knows of its users.

    Codes of -1 stand for attributes that it does not know, and are left out.
    """
    known = artefact.user_features
    if token is None:
        row_R = np.maximum(user_R, 0).astype(np.int64)
        start_R = known.attribute_offsets_U1[row_R]
        stop_R = np.where(user_R >= 0, known.attribute_offsets_U1[np.minimum(row_R + 1, len(known))], start_R)
        position_T, offsets_R1 = ragged_index(start_R, stop_R)
        return offsets_R1, known.attribute_T[position_T]
    parts = []
    for user, given in zip(user_R.tolist(), token, strict=True):
        if given is not None:
            parts.append(given[given >= 0])
        elif user >= 0:
            parts.append(known.attribute_T[known.attribute_offsets_U1[user] : known.attribute_offsets_U1[user + 1]])
        else:
            parts.append(np.zeros(0, np.int32))
    offsets_R1 = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets_R1[1:])
    return offsets_R1, np.concatenate([*parts, np.zeros(0, np.int32)])


def _offsets(parts: Sequence[Int64Array]) -> Int64Array:
    """Return the offsets of all parts' rows, from each part's own."""
    length_R = np.concatenate([np.diff(offsets_R1) for offsets_R1 in parts])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(length_R)])

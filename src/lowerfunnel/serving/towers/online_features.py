"""Features of requests that come in one by one, by the code that gathers those of training.

Shape letters: R requests, E events of one user, N history entries (ragged over R), L the longest history that is read.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from lowerfunnel.errors import DataError, RunError, UnavailableError
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array, Order, Timelines
from lowerfunnel.features.activity import activity_counts, activity_names
from lowerfunnel.features.history import gather_histories
from lowerfunnel.features.requests import Requests, words_of
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.serving.requests import CandidateRequest, Id
from lowerfunnel.serving.source_ids import SourceIds
from lowerfunnel.serving.towers.query_features import QueryFeatures, attribute_tokens, trained_rows
from lowerfunnel.serving.user_timeline import UserTimeline


@runtime_checkable
class Places(Protocol):
    """Where items lie in the table of item inputs, by their source ids."""

    def places_of(self, item_ids: Sequence[Id], /) -> Int64Array:
        """Return the place of each id, -1 for one that has none."""
        ...


class OnlineFeatures:
    """Gathers `QueryFeatures` from what a store holds of the users who ask. May be called from many threads.

    Args:
        artefact: The model.
        order: What the log that it learned from is ordered by, and what the events' `ts_us` mean here.

    Raises:
        UnavailableError: If the model counts past actions and the log has no order.
        RunError: If the model was trained on a log of another order.
    """

    def __init__(self, artefact: ModelArtefact, *, order: Order) -> None:
        config = artefact.config
        if config.tower.activity:
            if order == "none":
                raise UnavailableError("retrieval.tower.activity needs events with order, and this log has none")
            if artefact.sizes.activity_width != len(activity_names(order)):
                raise RunError(
                    f"the model reads {artefact.sizes.activity_width} counts of past actions, and a log ordered by "
                    f'"{order}" has {len(activity_names(order))}; name the order of the log that it was trained on'
                )
        self._artefact, self._order = artefact, order
        self._length, self._activity = config.history.length, config.tower.activity
        self._users = SourceIds(artefact.users.ids, what="user_id")
        self._surface = {name: code + 1 for name, code in _codes(artefact.vocabularies.surface).items()}
        self._attribute = _codes(artefact.vocabularies.user_attribute)
        self._word = _codes(artefact.words)
        self._is_history = np.zeros(len(ACTIONS), np.bool_)
        self._is_history[list(config.history.codes)] = True

    def gather(
        self,
        requests: Sequence[CandidateRequest],
        timelines: Sequence[UserTimeline],
        at_us: Sequence[int],
        places: Places,
    ) -> QueryFeatures:
        """Gather what is known of R requests strictly before the times at which they ask.

        Args:
            requests: Who asks, and from where.
            timelines: What each one's user did; events at or after its time change nothing.
            at_us: When each one asks, in the unit of the events' `ts_us`.
            places: Where items lie in the table of item inputs; an item that has no place is not part of a history.

        Raises:
            DataError: If a user's id is of another type than the model's.
        """
        asked = list(zip(timelines, at_us, strict=True))
        t_R = np.array(at_us, np.int64)
        place_of = self._users.place_of_own_type
        user_R = np.array([-1 if r.user_id is None else place_of(r.user_id) for r in requests], np.int32)
        row_R = np.arange(len(requests), dtype=np.int32)
        codes = [timeline.action_E for timeline in timelines]
        times = [self._times(timeline) for timeline in timelines]
        activity_RF = np.zeros((len(requests), 0), np.float32)
        if self._activity:
            activity_RF = activity_counts(self._all_events(times, codes), row_R, t_R)
        chosen = [self._latest(t_E, code_E, at) for t_E, code_E, (_, at) in zip(times, codes, asked, strict=True)]
        history = self._history(timelines, times, codes, chosen, places)
        offsets_R1, attribute_T = attribute_tokens(self._artefact, user_R, self._given_attributes(requests))
        return QueryFeatures(
            histories=gather_histories(history, row_R, t_R, max_length=self._length),
            id_R=trained_rows(self._artefact, user_R),
            attribute_offsets_R1=offsets_R1,
            attribute_T=attribute_T,
            activity_RF=activity_RF,
            requests=self._requests(requests, places),
        )

    def _times(self, timeline: UserTimeline) -> Int64Array:
        return np.zeros(len(timeline), np.int64) if self._order == "none" else timeline.ts_us_E

    def _latest(self, t_E: Int64Array, code_E: Int8Array, at: int) -> Int64Array:
        """Return the events that a history can hold at most: looking all others' items up would be in vain."""
        of_history_E = self._is_history[code_E]
        if self._order != "none":
            of_history_E &= t_E < at
        return of_history_E.nonzero()[0][max(int(np.count_nonzero(of_history_E)) - self._length, 0) :]

    def _all_events(self, times: list[Int64Array], codes: list[Int8Array]) -> Timelines:
        """Return the timelines of all events, for what looks at times and actions alone."""
        t_E = np.concatenate([*times, np.zeros(0, np.int64)])
        return Timelines(
            offsets_U1=_offsets_of(times),
            t_E=t_E,
            item_E=np.full(len(t_E), -1, np.int32),
            action_E=np.concatenate([*codes, np.zeros(0, np.int8)]),
            order=self._order,
        )

    def _history(
        self,
        timelines: Sequence[UserTimeline],
        times: list[Int64Array],
        codes: list[Int8Array],
        chosen: list[Int64Array],
        places: Places,
    ) -> Timelines:
        item_id: list[Id] = []
        surface: list[int] = []
        dwell = [timeline.event_E["dwell_s"][index_L] for timeline, index_L in zip(timelines, chosen, strict=True)]
        for timeline, index_L in zip(timelines, chosen, strict=True):
            item_id += timeline.items_at(index_L)
            surface += [self._surface.get(name, 0) for name in timeline.surfaces_at(index_L)]  # type: ignore[arg-type]
        picked_t = [t_E[index_L] for t_E, index_L in zip(times, chosen, strict=True)]
        picked_code = [code_E[index_L] for code_E, index_L in zip(codes, chosen, strict=True)]
        return Timelines(
            offsets_U1=_offsets_of(picked_t),
            t_E=np.concatenate([*picked_t, np.zeros(0, np.int64)]),
            item_E=np.asarray(places.places_of(item_id), np.int32),
            action_E=np.concatenate([*picked_code, np.zeros(0, np.int8)]),
            order=self._order,
            surface_E=np.array(surface, np.int16),
            dwell_E=np.concatenate([*dwell, np.zeros(0, np.float64)]).astype(np.float32),
        )

    def _given_attributes(self, requests: Sequence[CandidateRequest]) -> list[Int32Array | None] | None:
        if all(request.user_attributes is None for request in requests):
            return None
        return [
            None
            if request.user_attributes is None
            else np.array([self._attribute.get(name, -1) for name in request.user_attributes], np.int32)
            for request in requests
        ]

    def _requests(self, requests: Sequence[CandidateRequest], places: Places) -> Requests:
        words = [
            []
            if request.query is None
            else [self._word[word] for word in words_of(request.query) if word in self._word]
            for request in requests
        ]
        return Requests(
            surface_R=np.array([self._surface.get(r.surface, 0) for r in requests], np.int32),  # type: ignore[arg-type]
            subject_R=_subjects(requests, places),
            word_offsets_R1=_offsets_of(words),
            word_T=np.array([code for codes in words for code in codes], np.int32),
        )


def _subjects(requests: Sequence[CandidateRequest], places: Places) -> Int32Array:
    subject_R = np.full(len(requests), -1, np.int32)
    asked = [row for row, request in enumerate(requests) if request.subject_item_id is not None]
    if asked:
        ids = [item_id for request in requests if (item_id := request.subject_item_id) is not None]
        subject_R[asked] = places.places_of(ids)
    return subject_R


def _offsets_of(parts: Sequence[Int64Array] | Sequence[list[int]]) -> Int64Array:
    offsets_U1 = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets_U1[1:])
    return offsets_U1


def _codes(vocabulary: Vocabulary) -> dict[str, int]:
    if vocabulary.ids.type != pa.string():
        raise DataError(f"names of features are strings, got a vocabulary of {vocabulary.ids.type}")
    return {name: code for code, name in enumerate(vocabulary.ids.to_pylist())}

"""What a run's model would have found by exact search, computed beside the server from the same folder.

Shape letters: Q requests, I items, E width of the vectors.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from load_generator import RunLog, allowed_items

from lowerfunnel.evaluation.queries import histories_before, purchased
from lowerfunnel.events.store import EventStore
from lowerfunnel.features.requests import Requests, encode_words
from lowerfunnel.labels.settings import LabelConfig
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.corpus import store_timelines
from lowerfunnel.retrieval.encoder import Encoder

TOLERANCE = 1e-5
"""By how much, relative to the scores' size, an item may miss the last exact place: the server's tower is another program,
and its float32 sums differ in their last digits."""


class OfflineTruth:
    """The model and the log of a run; holds the vectors of the whole catalogue."""

    def __init__(self, run: Path, log: RunLog) -> None:
        self._log = log
        self._artefact = ModelArtefact.load(run / "model")
        vocabularies = self._artefact.vocabularies
        self._timelines = store_timelines(
            EventStore.open(run / "store"), self._artefact.users, self._artefact.items, vocabularies.surface
        )
        artefact = self._artefact
        self._encoder = Encoder(artefact.model, artefact.item_features, artefact.counters_IF)
        self._vector_IE = self._encoder.items()
        # The store's items are the vocabulary's, in an order of their own.
        self._row_I = artefact.items.encode(pa.array(log.item_id_I))

    def recalls(
        self,
        asked: list[dict[str, Any]],
        found: list[list[int | str]],
        *,
        conversions: tuple[str, ...] = LabelConfig().conversions,
    ) -> npt.NDArray[np.float64]:
        """Return, of each request, the share of the items found that belong to as many exactly best ones.

        Args:
            asked: Bodies of requests with an `at`.
            found: Items that came of the tower, for each; as many places of the exact answer are compared.
            conversions: Actions after which an item is left out.

        Returns:
            Shares from 0 to 1 [Q]; nan where nothing came though something was allowed, 1 where nothing was.
        """
        pairs = zip(self.scores(asked, conversions=conversions), found, strict=True)
        return np.array([self._recall(score_I, items) for score_I, items in pairs])

    def scores(self, asked: list[dict[str, Any]], *, conversions: tuple[str, ...]) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each request's scores of the I items, by the model's own rows; minus infinity for what may not come back."""
        user_Q = self._artefact.users.encode(pa.array([body.get("user_id") for body in asked]))
        at_Q = np.array([_us(body["at"]) for body in asked], np.int64)
        query_QE = self._encoder.users(
            user_Q,
            at_Q,
            timelines=self._timelines,
            features=self._artefact.user_features,
            trained_U=self._artefact.trained_U,
            requests=self._requests(asked),
        )
        bought_offsets, bought_item = purchased(*histories_before(self._timelines, user_Q, at_Q), conversions)
        for q, body in enumerate(asked):
            allowed_I = np.zeros(len(self._vector_IE), np.bool_)
            allowed_I[self._row_I] = allowed_items(self._log, body.get("filters"))
            allowed_I[bought_item[bought_offsets[q] : bought_offsets[q + 1]]] = False
            yield np.where(allowed_I, self._vector_IE @ query_QE[q], np.float32(-np.inf))

    def items(self, row_N: npt.NDArray[np.int64]) -> list[int | str]:
        """Return the ids of some of the model's rows."""
        ids: list[int | str] = self._artefact.items.decode(row_N.astype(np.int32)).to_pylist()
        return ids

    def _recall(self, score_I: npt.NDArray[np.float32], found: list[int | str]) -> float:
        allowed_I = np.isfinite(score_I)
        places = min(len(found), int(allowed_I.sum()))
        if not places:
            return float("nan") if allowed_I.any() else 1.0
        last = np.partition(score_I, len(score_I) - places)[len(score_I) - places]
        row = self._artefact.items.encode(pa.array(found, self._artefact.items.ids.type))
        reached = score_I[row] >= last - TOLERANCE * np.abs(score_I[allowed_I]).max()
        return float(reached[row >= 0].sum() / places)

    def _requests(self, asked: list[dict[str, Any]]) -> Requests:
        vocabularies = self._artefact.vocabularies
        offsets, word = encode_words(pa.array([body.get("query") for body in asked], pa.string()), self._artefact.words)
        surface = pa.array([body.get("surface") for body in asked], pa.string())
        subject = pa.array([body.get("subject_item_id") for body in asked], self._artefact.items.ids.type)
        return Requests(
            surface_R=vocabularies.surface.encode(surface) + np.int32(1),
            subject_R=self._artefact.items.encode(subject),
            word_offsets_R1=offsets,
            word_T=word,
        )


def _us(at: str) -> int:
    return (datetime.fromisoformat(at) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

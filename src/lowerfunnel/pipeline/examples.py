"""What the report shows beside figures: users with their timelines and candidates, and how scores are distributed."""

import datetime

import numpy as np
import pyarrow as pa

from lowerfunnel.evaluation.evaluation_set import EvaluationSet, Retriever
from lowerfunnel.events.schema import ACTIONS, FUNNEL_DEPTH
from lowerfunnel.events.store import EventStore
from lowerfunnel.events.timeline import Int32Array
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.encoder import Encoder

_USERS = 8
_EVENTS = 14
_CANDIDATES = 12
_DEPTH = 1000
_SCORED_USERS = 2000
_SCORED_CANDIDATES = 100
_BINS = 60


def examples_of(
    store: EventStore,
    corpus: Corpus,
    retriever: Retriever,
    queries: EvaluationSet,
    rank_P: Int32Array,
    *,
    seed: int,
) -> list[dict[str, object]]:
    """Return some users to look at, drawn at random: half of those whose purchase was found early, half of the others."""
    generator = np.random.default_rng((seed, 4))
    best_Q = np.minimum.reduceat(np.where(rank_P > 0, rank_P, _DEPTH + 1), queries.pair_offsets[:-1])
    found, missed = np.flatnonzero(best_Q <= _CANDIDATES), np.flatnonzero(best_Q > _CANDIDATES)
    take_found = min(len(found), max(_USERS // 2, _USERS - len(missed)))
    chosen = np.concatenate(
        [
            np.sort(generator.permutation(found)[:take_found]),
            np.sort(generator.permutation(missed)[: _USERS - take_found]),
        ]
    )
    part = queries.take(chosen)
    ranking = retriever.retrieve(part, min(_CANDIDATES, len(corpus.items)))
    items = _ItemCards(store, corpus)
    examples: list[dict[str, object]] = []
    for row, query in enumerate(chosen):
        start, stop = corpus.known.before(part.user_Q[row : row + 1], part.at_us_Q[row : row + 1])
        events = np.arange(max(int(start[0]), int(stop[0]) - _EVENTS), int(stop[0]))
        touched = {
            int(item)
            for item, action in zip(
                corpus.known.item_E[int(start[0]) : int(stop[0])],
                corpus.known.action_E[int(start[0]) : int(stop[0])],
                strict=True,
            )
            if FUNNEL_DEPTH[ACTIONS[action]] > 0
        }
        pairs = slice(int(queries.pair_offsets[query]), int(queries.pair_offsets[query + 1]))
        wanted = queries.pair_item_P[pairs].tolist()
        examples.append(
            {
                "user_id": _source_id(corpus.users.decode(part.user_Q[row : row + 1])[0]),
                "timeline": [
                    {
                        **items.card(int(corpus.known.item_E[event])),
                        "action": ACTIONS[corpus.known.action_E[event]],
                        "time": _time_text(int(corpus.known.t_E[event])) if corpus.known.order == "time" else None,
                    }
                    for event in events
                ],
                "events_before": int(stop[0] - start[0]),
                "candidates": [
                    {
                        **items.card(int(item)),
                        "rank": place + 1,
                        "score": round(float(score), 4),
                        "touched_before": int(item) in touched,
                        "held_out": int(item) in wanted,
                    }
                    for place, (item, score) in enumerate(zip(ranking.item_QK[row], ranking.score_QK[row], strict=True))
                    if item >= 0
                ],
                "held_out": [
                    {**items.card(int(item)), "rank": int(rank) or None}
                    for item, rank in zip(wanted, rank_P[pairs], strict=True)
                ],
                "depth": _DEPTH,
            }
        )
    return examples


def score_distribution(
    corpus: Corpus, encoder: Encoder, retriever: Retriever, queries: EvaluationSet, *, seed: int
) -> dict[str, list[float]]:
    """Return histograms of the scores of held-out items, of candidates and of items drawn at random."""
    generator = np.random.default_rng((seed, 5))
    chosen = np.sort(generator.permutation(queries.queries)[:_SCORED_USERS])
    part = queries.take(chosen)
    vector_QD = encoder.users(
        part.user_Q,
        part.at_us_Q,
        timelines=corpus.known,
        features=corpus.user_features,
        trained_U=corpus.trained_U,
    )
    vector_ID = encoder.items()
    row_P = np.repeat(np.arange(part.queries), np.diff(part.pair_offsets))
    in_catalogue_P = part.pair_item_P >= 0
    held_out = np.einsum("pd,pd->p", vector_QD[row_P[in_catalogue_P]], vector_ID[part.pair_item_P[in_catalogue_P]])
    candidates = retriever.retrieve(part, min(_SCORED_CANDIDATES, len(vector_ID))).score_QK.ravel()
    random = np.einsum("qd,qd->q", vector_QD, vector_ID[generator.integers(0, len(vector_ID), part.queries)])
    edges = np.linspace(-1.0, 1.0, _BINS + 1)
    histograms = {
        name: np.histogram(values[np.isfinite(values)], bins=edges)[0].astype(float).tolist()
        for name, values in (("held_out", held_out), ("candidates", candidates), ("random", random))
    }
    return {"edges": edges.round(6).tolist(), **histograms}


class _ItemCards:
    """What is shown of an item."""

    def __init__(self, store: EventStore, corpus: Corpus) -> None:
        self._table = store.items()
        self._corpus = corpus

    def card(self, item: int) -> dict[str, object]:
        """Return the fields of one item of the catalogue, -1 for one outside it."""
        if item < 0:
            return {"item_id": "(not in the catalogue)"}
        row = self._table.slice(item, 1)
        fields: dict[str, object] = {"item_id": _source_id(row.column("item_id")[0])}
        for name, column in (
            ("title", "title"),
            ("category", "category_id"),
            ("advertiser", "advertiser_id"),
            ("price", "price"),
            ("currency", "currency"),
        ):
            value = row.column(column)[0].as_py()
            if value is not None:
                fields[name] = value
        return fields


def _source_id(scalar: pa.Scalar) -> str | int:
    value = scalar.as_py()
    return "(unknown)" if value is None else value


def _time_text(t_us: int) -> str:
    moment = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=t_us)
    return f"{moment:%Y-%m-%d %H:%M}"

"""Evaluation sets from a corpus: who is asked for, what is masked, which pairs belong to which slice.

Shape letters: P held-out pairs, Q queries, U users, I items, H history entries.
"""

import numpy as np
import numpy.typing as npt

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.slices import build_slices
from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array, Timelines, ragged_index
from lowerfunnel.retrieval.corpus import NEVER, Corpus, HeldOut

_FIRST_UNKNOWN = -2


def evaluation_set(
    corpus: Corpus,
    held_out: HeldOut,
    *,
    task: str,
    timelines: Timelines,
    conversions: tuple[str, ...],
    exclude_purchased: bool,
    surfaces: list[str],
    cold_at_most: int,
) -> EvaluationSet | None:
    """Return the queries of one task, one per user; None if nothing is held out for it.

    A user outside the vocabulary has no query of its own to tell it by, and is asked for once per held-out pair.

    Args:
        corpus: The log.
        held_out: Its held-out pairs.
        task: Whose pairs are taken.
        timelines: What may be known: `corpus.training` or `corpus.known`.
        conversions: Actions that count as having bought.
        exclude_purchased: Whether items bought before the request are masked.
        surfaces: Names of the log's surfaces, for slices.
        cold_at_most: Training events of a cold item, at most.
    """
    of_task = held_out.task_P == task
    if not of_task.any():
        return None
    user_P, item_P, at_P = held_out.user_P[of_task], held_out.item_P[of_task], held_out.at_P[of_task]
    key_P = np.where(user_P >= 0, user_P, _FIRST_UNKNOWN - np.arange(len(user_P))).astype(np.int64)
    by_query_item = np.lexsort((item_P, key_P))
    key_P, user_P, item_P, at_P = (
        key_P[by_query_item],
        user_P[by_query_item],
        item_P[by_query_item],
        at_P[by_query_item],
    )
    held_out_P = np.flatnonzero(of_task)[by_query_item]
    surface_P: Int32Array | None = None
    if surfaces:
        name_P = held_out.surface_P[held_out_P]
        place_P = np.searchsorted(surfaces, name_P)
        surface_P = np.where(np.isin(name_P, surfaces), place_P, -1).astype(np.int32)
    first_Q = np.flatnonzero(np.diff(key_P, prepend=key_P[0] - 1))
    user_Q, at_Q = user_P[first_Q], at_P[first_Q]
    history_offsets, history_item, history_action = histories_before(timelines, user_Q, at_Q)
    pair_offsets = np.append(first_Q, len(key_P)).astype(np.int64)
    if exclude_purchased:
        excluded_offsets, excluded_item = purchased(history_offsets, history_item, history_action, conversions)
    else:
        excluded_offsets, excluded_item = np.zeros(len(user_Q) + 1, np.int64), np.zeros(0, np.int32)
    return EvaluationSet(
        task=task,
        user_Q=user_Q,
        at_us_Q=at_Q,
        pair_offsets=pair_offsets,
        pair_item_P=item_P,
        excluded_offsets=excluded_offsets,
        excluded_item=excluded_item,
        slices_P=build_slices(
            pair_offsets=pair_offsets,
            pair_item_P=item_P,
            history_offsets=history_offsets,
            history_item=history_item,
            history_action=history_action,
            train_count_I=training_counts(corpus),
            cold_at_most=cold_at_most,
            surface_P=surface_P,
            surfaces=surfaces,
            conversions=conversions,
            item_age_us_P=_item_ages(corpus, item_P, at_P),
            advertiser_I=corpus.item_features.advertiser_I - np.int32(1)
            if len(corpus.vocabularies.advertiser)
            else None,
        ),
        history_offsets=history_offsets,
        history_item=history_item,
        history_action=history_action,
        held_out_P=held_out_P,
    )


def histories_before(
    timelines: Timelines, user_Q: Int32Array, at_Q: Int64Array
) -> tuple[Int64Array, Int32Array, Int8Array]:
    """Return all that users did strictly before a point in time: offsets, items, actions."""
    position_H, offsets_Q1 = ragged_index(*timelines.before(user_Q, at_Q))
    return offsets_Q1, timelines.item_E[position_H], timelines.action_E[position_H]


def purchased(
    offsets_Q1: Int64Array, item_H: Int32Array, action_H: Int8Array, conversions: tuple[str, ...]
) -> tuple[Int64Array, Int32Array]:
    """Return, of histories, the items that were converted on."""
    bought_H = np.isin(action_H, [ACTION_CODE[action] for action in conversions]) & (item_H >= 0)
    kept_before_H1 = np.zeros(len(bought_H) + 1, np.int64)
    np.cumsum(bought_H, out=kept_before_H1[1:])
    return kept_before_H1[offsets_Q1], item_H[bought_H]


def known_at_test(corpus: Corpus) -> Timelines:
    """Return the events that may be known when testing: what floors learn from."""
    return corpus.known.until(corpus.test_until_U)


def training_counts(corpus: Corpus) -> npt.NDArray[np.int64]:
    """Return how many training events each item has."""
    training = corpus.training.until(corpus.train_until_U)
    return np.bincount(training.item_E[training.item_E >= 0], minlength=len(corpus.items))


def _item_ages(corpus: Corpus, item_P: Int32Array, at_P: Int64Array) -> Int64Array | None:
    """Return how long before the request each item had its first event, in microseconds; None in a log without times.

    Not above 0 for an item without an event before, or outside the catalogue.
    """
    known = corpus.known
    if known.order != "time":
        return None
    first_I = np.full(len(corpus.items) + 1, NEVER, np.int64)  # the last is that of an item outside the catalogue
    of_item_E = known.item_E >= 0
    np.minimum.at(first_I, known.item_E[of_item_E], known.t_E[of_item_E])
    age_P: Int64Array = np.maximum(at_P - first_I[item_P], 0)
    return age_P

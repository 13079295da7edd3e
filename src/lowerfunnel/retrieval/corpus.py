"""The log as models see it: dense ids, side features, timelines, examples.

Shape letters: U users, I items, E events, X examples.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lowerfunnel.errors import RunError
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.events.store import EventStore
from lowerfunnel.events.timeline import Int32Array, Int64Array, Timelines
from lowerfunnel.features.entities import (
    FeatureVocabularies,
    ItemFeatures,
    UserFeatures,
    content_width,
    log_shares,
    price_scale,
)
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.retrieval.batches import Examples

NEVER = np.iinfo(np.int64).max
"""A point in time after every event. Nobody is asked for then in a log with times: see `end_of_log`."""

_MIXING_SEED = 0

BoolArray = npt.NDArray[np.bool_]
# Texts of one width; the width is part of an array's type, so checked annotations cannot say `np.str_`.
TextArray = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Held-out (user, item) pairs, dense, and the point at which each is asked for."""

    user_P: Int32Array
    item_P: Int32Array
    at_P: Int64Array
    task_P: TextArray
    surface_P: TextArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """One log with its labels.

    Attributes:
        users: Source ids of the U users of the log.
        items: Source ids of the I items of the catalogue.
        vocabularies: Names of the side features' values.
        price_scale: Mean and deviation of ``log1p(price)``.
        item_features: Of the I items; the id of an item without a training event is hidden (-1).
        user_features: Of the U users.
        training: Timelines to learn from. In a log without order all held-out events are taken out; with order they hold
            the whole log, and whoever reads them asks for what was before a point in time.
        known: Timelines to answer from: the same with the validation events put back.
        train_until_U: Where each user's training events stop.
        test_until_U: Where what may be known when testing stops.
        trained_U: Whether a user has an example to learn its own embedding from.
    """

    users: Vocabulary
    items: Vocabulary
    vocabularies: FeatureVocabularies
    price_scale: tuple[float, float]
    item_features: ItemFeatures
    user_features: UserFeatures
    training: Timelines
    known: Timelines
    train_until_U: Int64Array
    test_until_U: Int64Array
    trained_U: BoolArray
    examples: Examples

    @classmethod
    def build(cls, store: EventStore, labels: Path) -> "Corpus":
        """Load a store and its labels into memory: 21 bytes an event, beside the features."""
        item_table, user_table = store.items(), store.users()
        users, items = Vocabulary.of(user_table.column("user_id")), Vocabulary.of(item_table.column("item_id"))
        vocabularies = FeatureVocabularies.of(item_table, user_table, sorted(store.info.surfaces))
        user_E, t_E, item_E, action_E = _dense_events(store, users, items)
        cutoffs = pq.read_table(labels / "cutoffs.parquet")
        cutoff_user = users.encode(cutoffs.column("user_id"))
        train_until_U = np.full(len(users), NEVER, np.int64)
        train_until_U[cutoff_user] = _t(cutoffs.column("train_until"))
        test_until_U = np.full(len(users), NEVER, np.int64)
        test_until_U[cutoff_user] = _t(cutoffs.column("test_until"))
        withheld_E, tested_E = _withheld(labels, users, items, user_E, item_E, action_E)

        def timelines(keep_E: BoolArray) -> Timelines:
            return Timelines.build(
                user_E=user_E[keep_E],
                t_E=t_E[keep_E],
                item_E=item_E[keep_E],
                action_E=action_E[keep_E],
                users=len(users),
                order=store.info.order,
            )

        training = timelines(~withheld_E)
        known = timelines(~tested_E) if withheld_E.any() else training
        examples = _examples(labels, users, items, vocabularies)
        trained_U = np.zeros(len(users), np.bool_)
        trained_U[examples.user_X] = True
        seen_E = ~withheld_E & (t_E < train_until_U[user_E])
        seen_I = np.zeros(len(items), np.bool_)
        seen_I[item_E[seen_E]] = True
        scale = price_scale(item_table)
        return cls(
            users=users,
            items=items,
            vocabularies=vocabularies,
            price_scale=scale,
            item_features=ItemFeatures.of(
                item_table,
                id_I=np.where(seen_I, np.arange(len(items)), -1).astype(np.int32),
                vocabularies=vocabularies,
                price_scale=scale,
                content_width=content_width(item_table),
                log_share_I=log_shares(examples.item_X, examples.weight_X, items=len(items)),
            ),
            user_features=UserFeatures.of(user_table, vocabularies=vocabularies),
            training=training,
            known=known,
            train_until_U=train_until_U,
            test_until_U=test_until_U,
            trained_U=trained_U,
            examples=examples,
        )

    def held_out(self, labels: Path, part: str) -> HeldOut:
        """Read the held-out pairs of a part, "validation" or "test"."""
        table = pq.read_table(labels / f"{part}.parquet")
        at_P = _t(table.column("at"))
        return HeldOut(
            user_P=self.users.encode(table.column("user_id")),
            item_P=self.items.encode(table.column("item_id")),
            at_P=np.where(at_P == NEVER, end_of_log(self.known), at_P),
            task_P=np.asarray(table.column("task").to_pylist(), dtype=np.str_),
            surface_P=np.asarray(pc.fill_null(table.column("surface"), "").to_pylist(), dtype=np.str_),
        )


def end_of_log(timelines: Timelines) -> int:
    """Return the point in time right after the last event, `NEVER` in a log without times.

    Models see how long ago an event was, so "at the end" must be a moment such as they were trained on.
    """
    if timelines.order != "time" or not len(timelines.t_E):
        return int(NEVER)
    return int(timelines.t_E.max()) + 1


def store_timelines(store: EventStore, users: Vocabulary, items: Vocabulary) -> Timelines:
    """Return the timelines of a whole log; events of users outside the vocabulary are left out."""
    user_E, t_E, item_E, action_E = _dense_events(store, users, items)
    known_E = user_E >= 0
    return Timelines.build(
        user_E=user_E[known_E],
        t_E=t_E[known_E],
        item_E=item_E[known_E],
        action_E=action_E[known_E],
        users=len(users),
        order=store.info.order,
    )


def _dense_events(
    store: EventStore, users: Vocabulary, items: Vocabulary
) -> tuple[Int32Array, Int64Array, Int32Array, npt.NDArray[np.int8]]:
    parts: list[tuple[Int32Array, Int64Array, Int32Array, npt.NDArray[np.int8]]] = []
    actions = Vocabulary(pa.array(sorted(ACTIONS), pa.string()))
    code_of = np.array([ACTION_CODE[action] for action in sorted(ACTIONS)], np.int8)
    for bucket in store.buckets():
        if store.info.order == "none":
            t_E = np.zeros(len(bucket), np.int64)
        else:
            t_E = _t(bucket.column("ts" if store.info.order == "time" else "seq"))
        parts.append(
            (
                users.encode(bucket.column("user_id")),
                t_E,
                items.encode(bucket.column("item_id")),
                code_of[actions.encode(bucket.column("action"))],
            )
        )
    if not parts:
        raise RunError(f"the store {store.path} holds no events")
    user_E, t_E, item_E, action_E = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if store.info.order == "none":
        # A history keeps its last entries. The store sorts what has no order by item; those with the largest ids would stay.
        mixed_E = np.random.default_rng(_MIXING_SEED).permutation(len(user_E))
        user_E, t_E, item_E, action_E = user_E[mixed_E], t_E[mixed_E], item_E[mixed_E], action_E[mixed_E]
    return user_E, t_E, item_E, action_E


def _withheld(
    labels: Path,
    users: Vocabulary,
    items: Vocabulary,
    user_E: Int32Array,
    item_E: Int32Array,
    action_E: npt.NDArray[np.int8],
) -> tuple[BoolArray, BoolArray]:
    """Return which events are held out at all, and which for the test."""
    path = labels / "held_out.parquet"
    none_E = np.zeros(len(user_E), np.bool_)
    if not path.exists():
        return none_E, none_E
    table = pq.read_table(path)
    action = np.array([ACTION_CODE[name] for name in table.column("action").to_pylist()], np.int64)
    key = _event_key(users.encode(table.column("user_id")), items.encode(table.column("item_id")), action, len(items))
    key_E = _event_key(user_E, item_E, action_E.astype(np.int64), len(items))
    test = np.asarray(table.column("split").to_pylist(), dtype=np.str_) == "test"
    return np.isin(key_E, key), np.isin(key_E, key[test])


def _event_key(user: Int32Array, item: Int32Array, action: npt.NDArray[np.int64], items: int) -> Int64Array:
    return (user.astype(np.int64) * items + item) * len(ACTIONS) + action


def _examples(labels: Path, users: Vocabulary, items: Vocabulary, vocabularies: FeatureVocabularies) -> Examples:
    table = pq.read_table(labels / "train.parquet")
    return Examples(
        user_X=users.encode(table.column("user_id")),
        t_X=_t(table.column("t")),
        surface_X=vocabularies.surface.encode(table.column("surface")) + np.int32(1),
        item_X=items.encode(table.column("item_id")),
        action_X=np.array([ACTION_CODE[action] for action in table.column("action").to_pylist()], np.int8),
        weight_X=table.column("weight").to_numpy().astype(np.float32),
    )


def _t(column: pa.ChunkedArray) -> Int64Array:
    """Return points in time as microseconds since 1970 UTC (or places in a sequence), null as `NEVER`."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz))
    t_N: Int64Array = pc.fill_null(column.cast(pa.int64()), int(NEVER)).to_numpy().astype(np.int64, copy=False)
    return t_N

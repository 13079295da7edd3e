"""The log as models see it: dense ids, side features, timelines, examples.

Shape letters: U users, I items, E events, X examples.
"""

from collections.abc import Sequence
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
from lowerfunnel.events.timeline import Float32Array, Int8Array, Int16Array, Int32Array, Int64Array, Order, Timelines
from lowerfunnel.features.entities import (
    FeatureVocabularies,
    ItemFeatures,
    UserFeatures,
    content_width,
    log_shares,
    visual_width,
)
from lowerfunnel.features.prices import PriceScale
from lowerfunnel.features.requests import Requests, encode_words, word_vocabulary
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.retrieval.examples import TASKS, Examples
from lowerfunnel.retrieval.negatives import IgnoredAds

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
        price_scale: What prices are measured by.
        item_features: Of the I items; the id of an item without a training event is hidden (-1).
        user_features: Of the U users.
        training: Timelines to learn from. In a log without order all held-out events are taken out; with order they hold
            the whole log, and whoever reads them asks for what was before a point in time.
        known: Timelines to answer from: the same with the validation events put back.
        train_until_U: Where each user's training events stop.
        validation_until_U: Where what may be known when validating stops: where all are asked for at one moment, that
            moment; else where each user's training events stop.
        test_until_U: Where what may be known when testing stops.
        trained_U: Whether a user has an example to learn its own embedding from.
        examples: What is learned from, of the tasks that count.
        ignored: Ads that were served in the training period and that nobody engaged with; none unless labelled.
        words: Words of the searches in training.
        validation_at: The point in time by which the catalogue is judged in validation: its start, or the log's end.
        test_at: The same for the test.
    """

    users: Vocabulary
    items: Vocabulary
    vocabularies: FeatureVocabularies
    price_scale: PriceScale
    item_features: ItemFeatures
    user_features: UserFeatures
    training: Timelines
    known: Timelines
    train_until_U: Int64Array
    validation_until_U: Int64Array
    test_until_U: Int64Array
    trained_U: BoolArray
    examples: Examples
    ignored: IgnoredAds
    words: Vocabulary
    validation_at: int
    test_at: int

    @classmethod
    def build(
        cls,
        store: EventStore,
        labels: Path,
        *,
        category_separator: str | None = None,
        tasks: Sequence[str] = TASKS,
    ) -> "Corpus":
        """Load a store and its labels into memory: 27 bytes an event, beside the features.

        Examples of tasks that are not among `tasks` are as if they had never been labelled: who has no other is not
        trained, and their searches' words are unknown.
        """
        item_table, user_table = store.items(), store.users()
        users, items = Vocabulary.of(user_table.column("user_id")), Vocabulary.of(item_table.column("item_id"))
        vocabularies = FeatureVocabularies.of(
            item_table, user_table, sorted(store.info.surfaces), category_separator=category_separator
        )
        events = _dense_events(store, users, items, vocabularies.surface)
        cutoffs = pq.read_table(labels / "cutoffs.parquet")
        cutoff_user = users.encode(cutoffs.column("user_id"))
        train_until_U = np.full(len(users), NEVER, np.int64)
        train_until_U[cutoff_user] = _t(cutoffs.column("train_until"))
        test_until_U = np.full(len(users), NEVER, np.int64)
        test_until_U[cutoff_user] = _t(cutoffs.column("test_until"))
        withheld_E, tested_E = _withheld(labels, users, items, events)
        training = events.timelines(~withheld_E, users=len(users), order=store.info.order)
        known = training
        if withheld_E.any():
            known = events.timelines(~tested_E, users=len(users), order=store.info.order)
        table = pq.read_table(labels / "train.parquet")
        table = table.filter(pc.is_in(table.column("task"), pa.array(list(tasks), pa.string())))
        words = word_vocabulary(pc.unique(table.column("query")))
        ignored, request = _ignored(labels, items)
        examples = _examples(table, users, items, vocabularies, words, request)
        trained_U = np.zeros(len(users), np.bool_)
        trained_U[examples.user_X] = True
        seen_E = ~withheld_E & (events.t_E < train_until_U[events.user_E])
        seen_I = np.zeros(len(items), np.bool_)
        seen_I[events.item_E[seen_E]] = True
        scale = PriceScale.of(item_table)
        validation_at, test_at = _one_moment(labels, "validation"), _one_moment(labels, "test")
        end = end_of_log(known)
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
                visual_width=visual_width(item_table),
                category_separator=category_separator,
                log_share_I=log_shares(examples.item_X, examples.weight_X, items=len(items)),
            ),
            user_features=UserFeatures.of(user_table, vocabularies=vocabularies),
            training=training,
            known=known,
            train_until_U=train_until_U,
            validation_until_U=train_until_U if validation_at is None else np.minimum(test_until_U, validation_at),
            test_until_U=test_until_U,
            trained_U=trained_U,
            examples=examples,
            ignored=ignored,
            words=words,
            validation_at=end if validation_at is None else validation_at,
            test_at=end if test_at is None else test_at,
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


def store_timelines(store: EventStore, users: Vocabulary, items: Vocabulary, surfaces: Vocabulary) -> Timelines:
    """Return the timelines of a whole log; events of users outside the vocabulary are left out.

    Users, items and surfaces are coded as the vocabularies say, which may be those of a model and not of this log.
    """
    events = _dense_events(store, users, items, surfaces)
    return events.timelines(events.user_E >= 0, users=len(users), order=store.info.order)


def mixed_order(events: int) -> Int64Array:
    """Return the order in which the events of a log without order are read, always the same."""
    return np.random.default_rng(_MIXING_SEED).permutation(events)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Events:
    """The events of a log, in its order."""

    user_E: Int32Array
    t_E: Int64Array
    item_E: Int32Array
    action_E: Int8Array
    surface_E: Int16Array
    dwell_E: Float32Array

    @classmethod
    def joined(cls, parts: list["_Events"]) -> "_Events":
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__})

    def take(self, chosen: Int64Array | BoolArray) -> "_Events":
        return _Events(**{name: getattr(self, name)[chosen] for name in self.__slots__})

    def timelines(self, keep_E: BoolArray, *, users: int, order: Order) -> Timelines:
        kept = self.take(keep_E)
        return Timelines.build(**{name: getattr(kept, name) for name in self.__slots__}, users=users, order=order)


def _dense_events(store: EventStore, users: Vocabulary, items: Vocabulary, surfaces: Vocabulary) -> _Events:
    actions = Vocabulary(pa.array(sorted(ACTIONS), pa.string()))
    code_of = np.array([ACTION_CODE[action] for action in sorted(ACTIONS)], np.int8)
    parts = []
    for bucket in store.buckets():
        if store.info.order == "none":
            t_E = np.zeros(len(bucket), np.int64)
        else:
            t_E = _t(bucket.column("ts" if store.info.order == "time" else "seq"))
        parts.append(
            _Events(
                user_E=users.encode(bucket.column("user_id")),
                t_E=t_E,
                item_E=items.encode(bucket.column("item_id")),
                action_E=code_of[actions.encode(bucket.column("action"))],
                surface_E=(surfaces.encode(bucket.column("surface")) + 1).astype(np.int16),
                dwell_E=pc.fill_null(bucket.column("dwell_s"), np.nan).to_numpy().astype(np.float32),
            )
        )
    if not parts:
        raise RunError(f"the store {store.path} holds no events")
    events = _Events.joined(parts)
    if store.info.order == "none":
        # A history keeps its last entries. The store sorts what has no order by item; those with the largest ids would stay.
        events = events.take(mixed_order(len(events.user_E)))
    return events


def _withheld(labels: Path, users: Vocabulary, items: Vocabulary, events: _Events) -> tuple[BoolArray, BoolArray]:
    """Return which events are held out at all, and which for the test."""
    path = labels / "held_out.parquet"
    none_E = np.zeros(len(events.user_E), np.bool_)
    if not path.exists():
        return none_E, none_E
    table = pq.read_table(path)
    action = np.array([ACTION_CODE[name] for name in table.column("action").to_pylist()], np.int64)
    key = _event_key(users.encode(table.column("user_id")), items.encode(table.column("item_id")), action, len(items))
    key_E = _event_key(events.user_E, events.item_E, events.action_E.astype(np.int64), len(items))
    test = np.asarray(table.column("split").to_pylist(), dtype=np.str_) == "test"
    return np.isin(key_E, key), np.isin(key_E, key[test])


def _event_key(user: Int32Array, item: Int32Array, action: npt.NDArray[np.int64], items: int) -> Int64Array:
    return (user.astype(np.int64) * items + item) * len(ACTIONS) + action


def _examples(
    table: pa.Table,
    users: Vocabulary,
    items: Vocabulary,
    vocabularies: FeatureVocabularies,
    words: Vocabulary,
    request: Vocabulary,
) -> Examples:
    word_offsets_X1, word_T = encode_words(table.column("query"), words)
    return Examples(
        user_X=users.encode(table.column("user_id")),
        t_X=_t(table.column("t")),
        item_X=items.encode(table.column("item_id")),
        action_X=np.array([ACTION_CODE[action] for action in table.column("action").to_pylist()], np.int8),
        task_X=np.array([TASKS.index(task) for task in table.column("task").to_pylist()], np.int8),
        weight_X=table.column("weight").to_numpy().astype(np.float32),
        requests=Requests(
            surface_R=vocabularies.surface.encode(table.column("surface")) + np.int32(1),
            subject_R=items.encode(table.column("context_item_id")),
            word_offsets_R1=word_offsets_X1,
            word_T=word_T,
        ),
        ignored_X=request.encode(table.column("request_id")).astype(np.int64),
    )


def _ignored(labels: Path, items: Vocabulary) -> tuple[IgnoredAds, Vocabulary]:
    """Read the ads that were served and ignored, and the requests that they came in."""
    path = labels / "ignored.parquet"
    if not path.exists():
        return IgnoredAds.none(), Vocabulary(pa.array([], pa.string()))
    table = pq.read_table(path, columns=["request_id", "item_id", "t"])
    request = Vocabulary.of(table.column("request_id"))
    request_T = request.encode(table.column("request_id")).astype(np.int64)
    # What came without a request belongs to none: it lies behind the last offset.
    request_T[request_T < 0] = len(request)
    by_request = np.argsort(request_T, kind="stable")
    offsets_Q1 = np.zeros(len(request) + 1, np.int64)
    np.cumsum(np.bincount(request_T, minlength=len(request) + 1)[: len(request)], out=offsets_Q1[1:])
    return (
        IgnoredAds(
            offsets_Q1=offsets_Q1,
            item_T=items.encode(table.column("item_id"))[by_request],
            t_T=_t(table.column("t"))[by_request],
        ),
        request,
    )


def _one_moment(labels: Path, part: str) -> int | None:
    """Return when all users of a part are asked for, None where each has a time of its own, or never."""
    at_P = _t(pq.read_table(labels / f"{part}.parquet", columns=["at"]).column("at"))
    if len(at_P) and at_P.min() == at_P.max() and at_P[0] != NEVER:
        return int(at_P[0])
    return None


def _t(column: pa.ChunkedArray) -> Int64Array:
    """Return points in time as microseconds since 1970 UTC (or places in a sequence), null as `NEVER`."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz))
    t_N: Int64Array = pc.fill_null(column.cast(pa.int64()), int(NEVER)).to_numpy().astype(np.int64, copy=False)
    return t_N

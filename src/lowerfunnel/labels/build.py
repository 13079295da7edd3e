"""The label step: positives, their split, and the point up to which each user's log may be learned from.

Writes, with source ids: `train.parquet` (positives), `validation.parquet` and `test.parquet` (held-out pairs and the
point at which they are asked for), `cutoffs.parquet` (per user, where training and where testing stop reading the log;
null is "never"); where a cutoff cannot do it, `held_out.parquet` (events that are taken out of the log); where they are
asked for, `ignored.parquet` (impressions that nobody engaged with).
"""

import datetime
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lowerfunnel.errors import DataError, UnavailableError
from lowerfunnel.events.store import EventStore
from lowerfunnel.labels import expressions
from lowerfunnel.labels.settings import LabelConfig, SplitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelInfo:
    """What the label step made (`labels.json`)."""

    strategy: str
    train: dict[str, int]
    """Positives by action."""
    without_dwell: int
    """Positives left out because they are weighed by their dwell, and it is not known."""
    ignored: int | None
    """Impressions that nobody engaged with, if they are listed."""
    validation_pairs: int
    test_pairs: int
    validation_from: str | None
    """Start of the validation period, UTC ("temporal")."""
    test_from: str | None
    """Start of the test period, UTC ("temporal")."""


@dataclass(frozen=True, slots=True)
class _Split:
    """The tables of one strategy, as Ibis expressions over one connection."""

    train: ir.Table
    validation: ir.Table
    test: ir.Table
    cutoffs: ir.Table
    held_out: ir.Table | None = None
    validation_from: datetime.datetime | None = None
    test_from: datetime.datetime | None = None


def build_labels(store: EventStore, config: LabelConfig, out: Path, *, seed: int) -> LabelInfo:
    """Write the labels of a store into the folder `out`, which must exist.

    Raises:
        UnavailableError: If the split needs what the log does not have.
        DataError: If nothing is left to train on or to measure with.
    """
    _refuse_what_the_log_lacks(store, config)
    spill = out / ".spill"
    connection = ibis.duckdb.connect(temp_directory=str(spill))
    # The run shows its own progress; the engine's bar would break into it.
    connection.raw_sql("SET enable_progress_bar = false")
    try:
        events = expressions.with_order(
            connection.read_parquet(store.event_files(), table_name="events"), store.info.order
        )
        split = _split(connection, store, events, config, seed)
        without_dwell = _write_train(connection, split.train, events, config, out)
        for name, table in (("validation", split.validation), ("test", split.test)):
            _write(connection, table.order_by(["user_id", "item_id", "task"]), out / f"{name}.parquet")
        _write(connection, split.cutoffs.order_by("user_id"), out / "cutoffs.parquet")
        if split.held_out is not None:
            _write(connection, split.held_out.order_by(["user_id", "item_id", "action"]), out / "held_out.parquet")
        if config.ignored:
            _write_ignored(connection, split, events, out)
    finally:
        connection.disconnect()
        shutil.rmtree(spill, ignore_errors=True)
    info = _info(split, config, out, without_dwell=without_dwell)
    (out / "labels.json").write_text(json.dumps(asdict(info), indent=2) + "\n")
    return info


def _refuse_what_the_log_lacks(store: EventStore, config: LabelConfig) -> None:
    order, columns = store.info.order, store.info.columns
    if config.dwell.weight != "none" and "dwell_s" not in columns:
        raise UnavailableError(
            f'labels.dwell.weight "{config.dwell.weight}" needs the seconds that a user stayed, and no event of this log has '
            'a dwell_s; map its column to dwell_s, or set labels.dwell.weight to "none"'
        )
    if config.touch_window_h > 0 and order != "time":
        raise UnavailableError(
            f"labels.touch_window_h is {config.touch_window_h:g} and needs a log with times, and this one is ordered by "
            f'"{order}"; set it to 0'
        )
    strange = sorted(set(config.surfaces) - set(store.info.surfaces))
    if strange:
        raise UnavailableError(
            f"labels.surfaces names {', '.join(strange)}, and the surfaces of this log are "
            f"{', '.join(sorted(store.info.surfaces)) or 'not known (no event has a surface)'}; name some of these, or leave "
            "it out"
        )
    missing = [name for name in ("request_id", "surface") if name not in columns]
    if config.touch_window_h > 0 and missing:
        raise UnavailableError(
            f"labels.touch_window_h is {config.touch_window_h:g} and needs the requests in which items were shown, and no "
            f"event of this log has a {' or a '.join(missing)}; map them, or set it to 0"
        )
    if config.ignored and not store.info.actions.get("impression"):
        raise UnavailableError(
            "labels.ignored needs what was served, and this log has no event with the action impression (it has "
            f"{', '.join(store.info.actions)}); map one to it, or set labels.ignored to false"
        )


def _write_train(
    connection: ibis.BaseBackend, train: ir.Table, events: ir.Table, config: LabelConfig, out: Path
) -> int:
    """Write the positives with their weights and requests; return how many had no dwell to be weighed by."""
    unknown = 0
    if config.dwell.weight != "none":
        unknown = int(connection.to_pyarrow(expressions.without_dwell(train, config.dwell).count()).as_py())
        train = expressions.weighed_by_dwell(train, config.dwell)
    if config.touch_window_h > 0:
        train = expressions.credited(train, events, window_h=config.touch_window_h)
    if config.surfaces:
        train = train.filter(train.surface.isin(list(config.surfaces)))
    order = ["user_id", "t", "seq", "item_id", "action", *expressions.REQUEST]
    _write(connection, train.drop("dwell_s").order_by(order), out / "train.parquet")
    return unknown


def _write_ignored(connection: ibis.BaseBackend, split: _Split, events: ir.Table, out: Path) -> None:
    seen = events
    if split.held_out is not None:
        # Not even to spare it: that nothing followed is all that training may know.
        seen = seen.anti_join(split.held_out, ["user_id", "item_id", "action"])
    seen = _until(seen, split.cutoffs)
    training = connection.read_parquet(out / "train.parquet", table_name="training")
    found = expressions.ignored(seen, training)
    _write(connection, found.order_by(["user_id", "t", "item_id", "request_id", "surface"]), out / "ignored.parquet")


def _split(connection: ibis.BaseBackend, store: EventStore, events: ir.Table, config: LabelConfig, seed: int) -> _Split:
    strategy, order = config.split.strategy, store.info.order
    if strategy == "temporal":
        if order != "time":
            raise UnavailableError(
                f'a temporal split needs a log with times, and this one is ordered by "{order}"; '
                'set labels.split.strategy to "leave_last_out", "leave_random_out" or "given"'
            )
        return _temporal(store, events, config)
    if strategy == "given" and not store.info.has_given_test:
        raise DataError(
            'labels.split.strategy is "given" and the log names no test file; add [[log.test]] or choose another strategy'
        )
    if strategy == "leave_last_out" and order == "none":
        raise UnavailableError(
            "leave_last_out needs a log with times or an order column, and this one has neither; "
            'set labels.split.strategy to "leave_random_out"'
        )
    if strategy == "leave_random_out" and order != "none":
        raise UnavailableError(
            f'leave_random_out is for logs without order, and this one is ordered by "{order}": what came after a '
            'conversion would explain it; set labels.split.strategy to "leave_last_out"'
        )
    held_out = strategy != "given"
    numbered = expressions.last_conversions(events, config)
    if order == "none":
        numbered = _shuffled(connection, numbered, seed)
    test_back = 0 if held_out else None
    validation_back = 1 if held_out else 0
    # One more conversion than is held out must be left to learn from.
    eligible = numbered.filter((numbered.back == validation_back) & (numbered.total > validation_back + 1))
    sampled = _sampled(connection, eligible, config.split, seed)
    validation = eligible.semi_join(sampled, "user_id").mutate(task=ibis.literal("conversion"))
    pair = ["user_id", "item_id", "task", "surface"]
    if test_back is None:
        test_table = _given_test(store, config)
        test = ibis.memtable(test_table).mutate(t=ibis.null(events.t.type()))
    else:
        test = numbered.filter((numbered.back == 0) & (numbered.total > 1)).mutate(task=ibis.literal("conversion"))
    positive = expressions.positives(events, config)
    never = ibis.null(events.t.type())
    users = events.select("user_id").distinct()
    withheld = _withheld(events, validation, test if held_out else None, config, order)
    if withheld is not None:
        positive = positive.anti_join(withheld, ["user_id", "item_id", "action"])
    if order == "none":
        return _Split(
            train=positive,
            validation=validation.select(*pair, at=never),
            test=test.select(*pair, at=never),
            cutoffs=users.mutate(train_until=never, test_until=never),
            held_out=withheld,
        )
    validation_at = validation.select("user_id", validation_t=validation.t)
    test_at = test.select("user_id", test_t=test.t).distinct()
    cutoffs = users.left_join(validation_at, "user_id").select("user_id", "validation_t")
    cutoffs = cutoffs.left_join(test_at, "user_id").select("user_id", "validation_t", test_until="test_t")
    cutoffs = cutoffs.select("user_id", "test_until", train_until=cutoffs.validation_t.coalesce(cutoffs.test_until))
    return _Split(
        train=_until(positive, cutoffs),
        validation=validation.select(*pair, at=validation.t),
        test=test.select(*pair, at=test.t),
        cutoffs=cutoffs,
        held_out=withheld,
    )


def _withheld(
    events: ir.Table, validation: ir.Table, test: ir.Table | None, config: LabelConfig, order: str
) -> ir.Table | None:
    """Return the (user, item, action) whose events are taken out of the log, with the part they are held out for.

    With order, a cutoff in time does it, but for the earlier events on an item that is to be new to its user. Without,
    every conversion on the item goes: a lead would give away the checkout that is held out.
    """

    def on(pairs: ir.Table, of: ir.Table, part: str) -> ir.Table:
        events_on = of.semi_join(pairs.select("user_id", "item_id"), ["user_id", "item_id"])
        return events_on.select("user_id", "item_id", "action").distinct().mutate(split=ibis.literal(part))

    converted = expressions.conversions(events, config)
    if config.split.validation_of_new_items:
        withheld = on(validation, events, "validation")
    elif order == "none":
        withheld = on(validation, converted, "validation")
    else:
        return None
    if order == "none" and test is not None:
        withheld = withheld.union(on(test, converted, "test"))
    return withheld


def _temporal(store: EventStore, events: ir.Table, config: LabelConfig) -> _Split:
    info, split = store.info, config.split
    assert info.first_ts_us is not None  # noqa: S101 - a log ordered by time has a first and a last one
    assert info.last_ts_us is not None  # noqa: S101
    first, last = _utc(info.first_ts_us), _utc(info.last_ts_us)
    gap = datetime.timedelta(hours=split.gap_h)
    test_from = last - datetime.timedelta(days=split.test_days)
    validation_from = test_from - gap - datetime.timedelta(days=split.validation_days)
    train_until = validation_from - gap
    if train_until <= first:
        raise DataError(
            f"the log spans {(last - first).total_seconds() / 86400:.1f} days, {first:%Y-%m-%d} to {last:%Y-%m-%d}, and the "
            f"split takes {split.test_days:g} days to test, {split.validation_days:g} to validate and twice "
            f"{split.gap_h:g} hours between: nothing is left to train on; shorten labels.split"
        )
    positive = expressions.positives(events, config)
    users = events.select("user_id").distinct()
    at = events.t.type()
    return _Split(
        train=positive.filter(positive.t < train_until),
        validation=expressions.between(events, config, validation_from, test_from - gap).mutate(
            at=ibis.literal(validation_from, at)
        ),
        test=expressions.between(events, config, test_from, None).mutate(at=ibis.literal(test_from, at)),
        cutoffs=users.mutate(train_until=ibis.literal(train_until, at), test_until=ibis.literal(test_from, at)),
        validation_from=validation_from,
        test_from=test_from,
    )


def _shuffled(connection: ibis.BaseBackend, numbered: ir.Table, seed: int) -> ir.Table:
    """Renumber each user's conversions at random: without order, none of them is the last."""
    table = connection.to_pyarrow(numbered.order_by(["user_id", "item_id"]))
    draw = np.random.default_rng((seed, 1)).permutation(len(table))
    table = table.append_column("draw", pa.array(draw))
    drawn = ibis.memtable(table)
    by_draw = ibis.window(group_by="user_id", order_by=drawn.draw)
    return drawn.mutate(back=ibis.row_number().over(by_draw)).drop("draw")


def _sampled(connection: ibis.BaseBackend, eligible: ir.Table, split: SplitConfig, seed: int) -> ir.Table:
    """Draw the users of whom a conversion is held out for validation."""
    users = connection.to_pyarrow(eligible.select("user_id").distinct().order_by("user_id"))
    count = round(split.validation_share * len(users))
    if count == 0:
        raise DataError(
            f"no user is left to validate on: {len(users)} have enough conversions and labels.split.validation_share is "
            f"{split.validation_share:g}"
        )
    chosen = np.sort(np.random.default_rng((seed, 2)).permutation(len(users))[:count])
    return ibis.memtable(users.take(chosen))


def _given_test(store: EventStore, config: LabelConfig) -> pa.Table:
    """Return the pairs of the test file, each once: those that its conversions name."""
    table = store.given_test()
    if table is None or not len(table):
        raise DataError('the log\'s test file holds no rows; labels.split.strategy "given" needs some')
    held = table.filter(pc.is_in(table.column("action"), pa.array(list(config.conversions), pa.string())))
    if not len(held):
        raise DataError(
            f"the log's test file holds no conversions: labels.conversions are {', '.join(config.conversions)}, its "
            f"actions {', '.join(sorted(pc.unique(table.column('action')).to_pylist()))}; map one to the other"
        )
    pair = held.group_by(["user_id", "item_id"], use_threads=False).aggregate([("surface", "first")])
    table = pair.rename_columns({"surface_first": "surface"}).select(["user_id", "item_id", "surface"])
    return table.append_column("task", pa.array(["conversion"] * len(table), pa.string()))


def _until(events: ir.Table, cutoffs: ir.Table) -> ir.Table:
    joined = events.left_join(cutoffs, "user_id").drop("user_id_right")
    kept = joined.filter(joined.train_until.isnull() | (joined.t < joined.train_until))
    return kept.drop("train_until", "test_until")


def _write(connection: ibis.BaseBackend, table: ir.Table, path: Path) -> None:
    # Through Arrow: DuckDB's own Parquet writer labels times in the session's zone.
    pq.write_table(connection.to_pyarrow(table), path, compression="zstd")


def _info(split: _Split, config: LabelConfig, out: Path, *, without_dwell: int) -> LabelInfo:
    train = pq.read_table(out / "train.parquet", columns=["action"]).column("action").value_counts().to_pylist()
    validation, test = (pq.read_metadata(out / f"{name}.parquet").num_rows for name in ("validation", "test"))
    if not train:
        raise DataError(
            f"the training period holds no positives; labels.weights names {', '.join(sorted(config.weights))}"
        )
    if not test:
        raise DataError(f'nothing is held out to test with: the split "{config.split.strategy}" found no pair')
    return LabelInfo(
        strategy=config.split.strategy,
        train={row["values"]: row["counts"] for row in sorted(train, key=lambda row: row["values"])},
        without_dwell=without_dwell,
        ignored=pq.read_metadata(out / "ignored.parquet").num_rows if config.ignored else None,
        validation_pairs=validation,
        test_pairs=test,
        validation_from=split.validation_from.isoformat() if split.validation_from else None,
        test_from=split.test_from.isoformat() if split.test_from else None,
    )


def _utc(t_us: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=t_us)

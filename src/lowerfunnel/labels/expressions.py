"""The label queries, written once as Ibis expressions for every engine.

An event's `t` is what orders it: its time, or its place in its user's sequence. Nothing here draws at random or depends
on an engine's hash: who is sampled comes in as a table, so that engines agree row by row.
"""

import datetime

import ibis
import ibis.expr.types as ir

from lowerfunnel.events.timeline import Order
from lowerfunnel.labels.settings import LabelConfig


def with_order(events: ir.Table, order: Order) -> ir.Table:
    """Add `t`: the time of an event, or its place in its user's sequence (a constant in a log without order)."""
    if order == "time":
        return events.mutate(t=events.ts)
    return events.mutate(t=events.seq if order == "sequence" else ibis.literal(0, "int64"))


def positives(events: ir.Table, config: LabelConfig) -> ir.Table:
    """Return the events that are positives, with their task and weight.

    Attribution of conversions to touches will narrow this; until then every conversion in the log counts.
    """
    weight = ibis.cases(*((events.action == action, weight) for action, weight in sorted(config.weights.items())))
    return events.filter(events.action.isin(sorted(config.weights))).select(
        "user_id", "t", "seq", "surface", "item_id", "action", task=_task(events, config), weight=weight.cast("float64")
    )


def conversions(events: ir.Table, config: LabelConfig) -> ir.Table:
    """Return the conversions of the log, each (user, item) with all of its events."""
    return events.filter(events.action.isin(list(config.conversions)))


def last_conversions(events: ir.Table, config: LabelConfig) -> ir.Table:
    """Return each user's conversions numbered from the last (`back` 0) with how many there are (`total`).

    An item converted on repeatedly counts at its first time alone: the later ones are no discovery and are masked.
    """
    converted = conversions(events, config)
    first = converted.mutate(
        nth=ibis.row_number().over(
            ibis.window(
                group_by=["user_id", "item_id"],
                order_by=[converted.t, converted.seq, converted.action, converted.surface],
            )
        )
    )
    first = first.filter(first.nth == 0)
    newest_first = ibis.window(
        group_by=first.user_id, order_by=[first.t.desc(), first.seq.desc(), first.item_id.desc()]
    )
    return first.select(
        "user_id",
        "item_id",
        "t",
        "surface",
        "action",
        back=ibis.row_number().over(newest_first),
        total=first.count().over(ibis.window(group_by=first.user_id)),
    )


def between(
    events: ir.Table, config: LabelConfig, start: datetime.datetime, stop: datetime.datetime | None
) -> ir.Table:
    """Return each (user, item, task) with a positive in [start, stop), with the surface of the first.

    With `exclude_purchased`, an item the user had converted on before `start` is left out: it is masked, so nobody can
    find it.
    """
    positive = positives(events, config)
    inside = positive.filter(positive.t >= start if stop is None else (positive.t >= start) & (positive.t < stop))
    earliest_first = ibis.window(
        group_by=["user_id", "item_id", "task"], order_by=[inside.t, inside.seq, inside.action, inside.surface]
    )
    numbered = inside.mutate(nth=ibis.row_number().over(earliest_first))
    held_out = numbered.filter(numbered.nth == 0).select("user_id", "item_id", "task", "surface")
    if not config.exclude_purchased:
        return held_out
    known = conversions(events, config)
    known = known.filter(known.t < start).select("user_id", "item_id").distinct()
    return held_out.anti_join(known, ["user_id", "item_id"])


def _task(events: ir.Table, config: LabelConfig) -> ir.StringValue:
    return events.action.isin(list(config.conversions)).ifelse("conversion", "engagement")

"""The label queries, written once as Ibis expressions for every engine.

An event's `t` is what orders it: its time, or its place in its user's sequence. Nothing here draws at random or depends
on an engine's hash: who is sampled comes in as a table, so that engines agree row by row.
"""

import datetime
import math

import ibis
import ibis.expr.types as ir

from lowerfunnel.events.schema import FUNNEL_DEPTH
from lowerfunnel.events.timeline import Order
from lowerfunnel.labels.settings import DwellConfig, LabelConfig

REQUEST = ("request_id", "surface", "context_item_id", "query")
"""The columns that say in what request, and where, an item was shown."""

ENGAGEMENTS = tuple(sorted(action for action, depth in FUNNEL_DEPTH.items() if depth >= 1))
"""Actions that show interest. A hide shows none."""


def with_order(events: ir.Table, order: Order) -> ir.Table:
    """Add `t`: the time of an event, or its place in its user's sequence (a constant in a log without order)."""
    if order == "time":
        return events.mutate(t=events.ts)
    return events.mutate(t=events.seq if order == "sequence" else ibis.literal(0, "int64"))


def positives(events: ir.Table, config: LabelConfig) -> ir.Table:
    """Return the events that are positives, with their task, the weight of their action and their own request.

    Every conversion in the log counts, whoever showed the item; `credited` says which touch it came from, and
    `weighed_by_dwell` how much a click counts.
    """
    weight = ibis.cases(*((events.action == action, weight) for action, weight in sorted(config.weights.items())))
    return events.filter(events.action.isin(sorted(config.weights))).select(
        "user_id",
        "t",
        "seq",
        "surface",
        "item_id",
        "action",
        "request_id",
        "context_item_id",
        "query",
        "dwell_s",
        task=_task(events, config),
        weight=weight.cast("float64"),
    )


def weighed_by_dwell(positive: ir.Table, dwell: DwellConfig) -> ir.Table:
    """Multiply the weights of `dwell.actions` by how long the user stayed; what then weighs 0 is left out.

    With t seconds and t_max = `dwell.t_max_s`, "log2" is ``min(1, log2(1 + t / t_max))`` and "log" is
    ``log(1 + min(t, t_max)) / log(1 + t_max)``. Both are 0 at 0, exactly 1 from t_max on, and grow between. An unknown
    dwell counts 0.

    References:
        Two readings, both ours, of the click weight that Pinterest gives for its conversion retrieval: the published
        formula is an image, and its summary says ``f(log(1 + t/t_max))``.
    """
    if dwell.weight == "none":
        return positive
    t_s, t_max_s = positive.dwell_s, dwell.t_max_s
    between = (1.0 + t_s / t_max_s).log2() if dwell.weight == "log2" else (1.0 + t_s).ln() / math.log1p(t_max_s)
    # The ends are set, not computed: an engine's logarithm may be a last digit off.
    factor = ibis.cases(
        (t_s.isnull() | (t_s <= 0.0), 0.0), (t_s >= t_max_s, 1.0), else_=ibis.least(between, ibis.literal(1.0))
    )
    weight = positive.action.isin(list(dwell.actions)).ifelse(positive.weight * factor, positive.weight)
    weighed = positive.mutate(weight=weight)
    return weighed.filter(weighed.weight > 0)


def without_dwell(positive: ir.Table, dwell: DwellConfig) -> ir.Table:
    """Return the positives that `weighed_by_dwell` leaves out because nobody knows how long the user stayed."""
    return positive.filter(positive.action.isin(list(dwell.actions)) & positive.dwell_s.isnull())


def credited(positive: ir.Table, events: ir.Table, *, window_h: float) -> ir.Table:
    """Give positives without a request and a surface those of the touch they came from: last-touch credit.

    That is the user's last click on the item strictly before the positive, or else its last impression; touches without a
    request, and those longer ago than the window, give none. A positive takes `REQUEST` of its touch and keeps its own
    time. Times are compared in full; the length of the window is counted in whole seconds.
    """
    own = positive.filter(positive.request_id.notnull() | positive.surface.notnull())
    bare = positive.filter(positive.request_id.isnull() & positive.surface.isnull())
    # Rows that agree in every column share nothing but their number, so it does not matter which has which.
    bare = bare.mutate(nth=ibis.row_number().over(ibis.window(group_by="user_id", order_by=bare.columns[1:])))
    touch = events.filter(events.action.isin(["click", "impression"]) & events.request_id.notnull()).select(
        "user_id", "item_id", touch=events.action, touch_t=events.t, touch_seq=events.seq, **_renamed(events)
    )
    # The join is on equality alone, which engines do by hash; they are slow at comparisons within a join.
    joined = bare.left_join(touch, [bare.user_id == touch.user_id, bare.item_id == touch.item_id])
    within = _whole_s(joined.t) - _whole_s(joined.touch_t) <= round(window_h * 3600)
    joined = joined.mutate(
        fits=(joined.touch.notnull() & (joined.touch_t < joined.t) & within).fill_null(False).cast("int8")
    )
    last_first = ibis.window(
        group_by=[joined.user_id, joined.nth],
        # By its name, a click comes before an impression.
        order_by=[
            joined.fits.desc(),
            joined.touch,
            joined.touch_t.desc(),
            joined.touch_seq.desc(),
            *(joined[f"touch_{name}"] for name in REQUEST),
        ],
    )
    last = joined.mutate(place=ibis.row_number().over(last_first))
    last = last.filter(last.place == 0)
    taken = {name: (last.fits == 1).ifelse(last[f"touch_{name}"], last[name]) for name in REQUEST}
    return own.union(last.mutate(**taken).select(*own.columns))


def ignored(seen: ir.Table, training: ir.Table) -> ir.Table:
    """Return the impressions in `seen` on which nothing followed: served, and ignored.

    An engagement of the same user with the same item at the impression's time or later speaks against it, and so does
    any positive of theirs in `training`. `seen` is what training may know: nothing held out, nothing past a cutoff.
    """
    shown = seen.filter(seen.action == "impression").select("user_id", "item_id", "t", "request_id", "surface")
    engaged = seen.filter(seen.action.isin(list(ENGAGEMENTS)))
    engaged = engaged.group_by(["user_id", "item_id"]).aggregate(last_t=engaged.t.max())
    engaged = engaged.select("last_t", engaged_user=engaged.user_id, engaged_item=engaged.item_id)
    joined = shown.left_join(engaged, [shown.user_id == engaged.engaged_user, shown.item_id == engaged.engaged_item])
    alone = joined.filter(joined.last_t.isnull() | (joined.last_t < joined.t)).select(*shown.columns)
    return alone.anti_join(training, ["user_id", "item_id"])


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
    """Return each (user, item, task) with a positive in [start, stop), with the surface of the first, or of its touch.

    With `exclude_purchased`, an item the user had converted on before `start` is left out: it is masked, so nobody can
    find it.
    """
    positive = positives(events, config)
    inside = positive.filter(positive.t >= start if stop is None else (positive.t >= start) & (positive.t < stop))
    if config.touch_window_h > 0:
        inside = credited(inside, events, window_h=config.touch_window_h)
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


def _renamed(events: ir.Table) -> dict[str, ir.Column]:
    return {f"touch_{name}": events[name] for name in REQUEST}


def _whole_s(t: ir.TimestampColumn) -> ir.NumericColumn:
    """Return whole seconds since 1970: one engine gives them with fractions, another without."""
    return t.epoch_seconds().cast("float64").floor()

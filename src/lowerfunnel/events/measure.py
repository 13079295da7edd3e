"""Measuring a log that was just written: every figure of `quality.json`, by aggregates that spill to disk."""

import datetime
import itertools
from dataclasses import dataclass
from typing import Any

from lowerfunnel.events import sql
from lowerfunnel.events.limits import cannot_do, remarks_on
from lowerfunnel.events.quality import (
    BadRow,
    Day,
    Delay,
    FunnelRate,
    GivenTest,
    Quality,
    ReportDelay,
    Spread,
    TableRows,
)
from lowerfunnel.events.quarantine import TableCounts
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS, FUNNEL_DEPTH
from lowerfunnel.events.settings import EVENT_COLUMNS
from lowerfunnel.events.suspects import suspicious_advertisers, suspicious_users

CONVERSIONS = tuple(action for action in ACTIONS if FUNNEL_DEPTH[action] == 4)
_TOUCHES = tuple(action for action in ACTIONS if 1 <= FUNNEL_DEPTH[action] < 4)
_EDGES_H = (0.0, 0.1, 1.0, 6.0, 24.0, 72.0, 168.0, 336.0, 720.0)
_DAYS_AS_WEEKS = 366
_QUANTILES = {"p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}
_US_PER_H = 3_600_000_000
_US_PER_DAY = 24 * _US_PER_H


@dataclass(frozen=True, kw_only=True, slots=True)
class LogCounts:
    """What only the import knows, by the time the log is written."""

    tables: dict[str, TableCounts]
    duplicate_events: int
    conflicting_event_ids: int
    repeated_items: int
    conflicting_items: int
    repeated_users: int
    conflicting_users: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenLog:
    """The relations to measure.

    Attributes:
        connection: The engine.
        events: All events, distinct and typed.
        items: One row per item.
        users: One row per user.
        test: The given held-out events, if any.
        catalogue: The item ids that the source's catalogue lists (as text), if it has one.
        order: What orders a user's events.
    """

    connection: sql.Connection
    events: str
    items: str
    users: str
    test: str | None
    catalogue: str | None
    order: str


def measure_quality(log: WrittenLog, counts: LogCounts, *, synthetic: bool) -> Quality:
    """Measure a log."""
    connection = log.connection
    columns = _columns(log)
    actions = _counts(log, "action")
    actions = {action: actions[action] for action in ACTIONS if action in actions}
    events, users_seen, first, last = _row(
        connection,
        f"SELECT count(*), count(DISTINCT user_id), epoch_us(min(ts)), epoch_us(max(ts)) FROM {log.events}",
    )
    users = int(_row(connection, f"SELECT count(*) FROM {log.users}")[0])
    items, advertisers = _row(connection, f"SELECT count(*), count(DISTINCT advertiser_id) FROM {log.items}")
    _make_pairs(log, actions)
    days, days_each = _days(log, first, last)
    converted, untouched, users_converted = _conversions(log, actions)
    orphans, orphan_events, unseen = _orphans(log)
    suspects = suspicious_users(connection, log.events, timed=log.order == "time")
    odd = suspicious_advertisers(
        connection, log.events, log.items, has_conversions=bool(set(actions) & set(CONVERSIONS))
    )
    test = _test(log)
    quality = Quality(
        rows={
            table: TableRows(read=each.read, kept=each.kept, ignored=each.ignored, quarantined=each.bad)
            for table, each in counts.tables.items()
        },
        quarantined=_by_reason(counts),
        bad_rows=tuple(
            BadRow(
                table=table, reason=each.reason, rows=each.rows, file=each.file, row=each.row, example=each.example,
                values=each.values,
            )
            for table, of_table in counts.tables.items()
            for each in of_table.quarantined
        ),
        duplicates=counts.duplicate_events,
        conflicting_event_ids=counts.conflicting_event_ids,
        repeated_items=counts.repeated_items,
        conflicting_items=counts.conflicting_items,
        repeated_users=counts.repeated_users,
        conflicting_users=counts.conflicting_users,
        events=int(events),
        users=users,
        items=int(items),
        advertisers=int(advertisers),
        order=log.order,  # type: ignore[arg-type]
        first_ts_us=first,
        last_ts_us=last,
        columns=columns,
        actions=actions,
        surfaces=_counts(log, "surface"),
        days=days,
        days_each=days_each,
        funnel=_funnel(log, actions),
        delays=_delays(log, actions),
        report_delay=_report_delay(log),
        events_with_propensity=int(_row(connection, f"SELECT count(propensity) FROM {log.events}")[0]),
        converted_pairs=converted,
        converted_pairs_untouched=untouched,
        users_with_conversion=users_converted,
        events_per_user=_spread(log, "user_id"),
        events_per_item=_spread(log, "item_id"),
        has_catalogue=log.catalogue is not None,
        items_not_in_catalogue=orphans,
        events_not_in_catalogue=orphan_events,
        catalogue_items_never_seen=unseen,
        test=test,
        suspicious_users=suspects[0],
        suspicious_users_count=suspects[1],
        suspicious_advertisers=odd[0],
        suspicious_advertisers_count=odd[1],
        remarks=remarks_on(
            counts=counts.tables, first_ts_us=first, users_seen=int(users_seen), events=int(events), test=test,
            conflicting_items=counts.conflicting_items, orphans=orphans,
        ),
        cannot=cannot_do(
            order=log.order, actions=set(actions), columns=set(columns), has_catalogue=log.catalogue is not None,
            advertisers=int(advertisers),
        ),
        synthetic=synthetic,
    )  # fmt: skip
    connection.execute("DROP TABLE pairs")
    return quality


def _row(connection: sql.Connection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    if row is None:
        raise AssertionError(f"an aggregate gave no row: {query}")
    return row


def _by_reason(counts: LogCounts) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for table in counts.tables.values():
        for each in table.quarantined:
            reasons[each.reason] = reasons.get(each.reason, 0) + each.rows
    return dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])))


def _columns(log: WrittenLog) -> tuple[str, ...]:
    filled = _row(
        log.connection, f"SELECT {', '.join(f'count({sql.name(c)})' for c in EVENT_COLUMNS)} FROM {log.events}"
    )
    return tuple(column for column, count in zip(EVENT_COLUMNS, filled, strict=True) if count)


def _counts(log: WrittenLog, column: str) -> dict[str, int]:
    rows = log.connection.execute(
        f"SELECT {column}, count(*) FROM {log.events} WHERE {column} IS NOT NULL GROUP BY {column} ORDER BY {column}"
    ).fetchall()
    return {str(value): int(count) for value, count in rows}


def _make_pairs(log: WrittenLog, actions: dict[str, int]) -> None:
    """Make the table of distinct (user, item): a bit per action it has, and when each first happened."""
    firsts = "".join(f", min(t) FILTER (action = {sql.text(action)}) AS {sql.name(action)}" for action in actions)
    cases = " ".join(f"WHEN {sql.text(action)} THEN {1 << ACTION_CODE[action]}" for action in actions)
    t = {"time": "epoch_us(ts)", "sequence": "seq", "none": "0"}[log.order]
    log.connection.execute(
        f"CREATE TEMP TABLE pairs AS SELECT user_id, item_id, bit_or(CASE action {cases} END) AS bits{firsts} "
        f"FROM (SELECT user_id, item_id, action, {t} AS t FROM {log.events}) GROUP BY user_id, item_id"
    )


def _funnel(log: WrittenLog, actions: dict[str, int]) -> tuple[FunnelRate, ...]:
    """Relate each action to those of the next depth that occurs, and to the conversions."""
    found = log.connection.execute("SELECT bits, count(*) FROM pairs GROUP BY bits").fetchall()
    steps = sorted((a for a in actions if a != "hide"), key=lambda a: (FUNNEL_DEPTH[a], ACTION_CODE[a]))
    rates = []
    for origin in steps:
        deeper = [a for a in steps if FUNNEL_DEPTH[a] > FUNNEL_DEPTH[origin]]
        following = min((FUNNEL_DEPTH[a] for a in deeper), default=None)
        for target in deeper:
            if FUNNEL_DEPTH[target] != following and target not in CONVERSIONS:
                continue
            one, both = 1 << ACTION_CODE[origin], (1 << ACTION_CODE[origin]) | (1 << ACTION_CODE[target])
            pairs = sum(count for bits, count in found if bits & one)
            hits = sum(count for bits, count in found if bits & both == both)
            meaning = f"of the user-item pairs with {_a(origin)}, the share that has {_a(target)} too"
            rates.append(FunnelRate(origin=origin, target=target, pairs=pairs, rate=hits / pairs, meaning=meaning))
    return tuple(rates)


def _a(action: str) -> str:
    words = {"add_to_cart": "cart", "signup": "sign-up"}.get(action, action)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _delays(log: WrittenLog, actions: dict[str, int]) -> tuple[Delay, ...]:
    if log.order != "time":
        return ()
    touches = [action for action in _TOUCHES if action in actions]
    origins = {"first touch": f"least({', '.join(touches)})"} if len(touches) > 1 else {}
    origins |= {action: action for action in touches}
    delays = []
    for target in (action for action in CONVERSIONS if action in actions):
        for origin, expression in origins.items():
            delay = _delay(log.connection, origin, expression, target)
            if delay is not None:
                delays.append(delay)
    return tuple(delays)


def _delay(connection: sql.Connection, origin: str, expression: str, target: str) -> Delay | None:
    hours = f"SELECT ({target} - {expression}) / {_US_PER_H} AS h FROM pairs WHERE {target} >= {expression}"
    quantiles = ", ".join(f"quantile_cont(h, {q})" for q in _QUANTILES.values())
    pairs, longest, *values = _row(connection, f"SELECT count(*), max(h), {quantiles} FROM ({hours})")
    if not pairs:
        return None
    edges = (*_EDGES_H, max(float(longest), 2 * _EDGES_H[-1]))
    counted = [f"count(*) FILTER (h >= {low} AND h < {high})" for low, high in itertools.pairwise(edges[:-1])]
    counts = _row(connection, f"SELECT {', '.join(counted)}, count(*) FILTER (h >= {edges[-2]}) FROM ({hours})")
    named = {name: round(float(value), 4) for name, value in zip(_QUANTILES, values, strict=True)}
    return Delay(
        origin=origin,
        target=target,
        pairs=int(pairs),
        median_h=named["p50"],
        quantiles_h=named,
        edges_h=tuple(round(edge, 4) for edge in edges),
        counts=tuple(int(count) for count in counts),
    )


def _report_delay(log: WrittenLog) -> ReportDelay | None:
    known = (
        f"SELECT (epoch_us(received_ts) - epoch_us(ts)) / {_US_PER_H} AS h FROM {log.events} WHERE received_ts IS NOT NULL "
        f"AND ts IS NOT NULL AND action IN ({', '.join(map(sql.text, CONVERSIONS))})"
    )
    count, *values = _row(
        log.connection,
        f"SELECT count(*), {', '.join(f'quantile_cont(h, {q})' for q in (0.5, 0.9, 0.99))} FROM ({known})",
    )
    if not count:
        return None
    median, p90, p99 = (round(float(value), 4) for value in values)
    return ReportDelay(conversions=int(count), median_h=median, p90_h=p90, p99_h=p99)


def _conversions(log: WrittenLog, actions: dict[str, int]) -> tuple[int, int, int]:
    """Count the pairs with a conversion, those without a touch before it, and the users."""
    present = [action for action in CONVERSIONS if action in actions]
    if not present:
        return 0, 0, 0
    first = f"least({', '.join(present)})" if len(present) > 1 else present[0]
    touches = [action for action in (*_TOUCHES, "impression") if action in actions]
    touched = " OR ".join(f"coalesce({action} <= {first}, false)" for action in touches) or "false"
    row = _row(
        log.connection,
        f"SELECT count(*), count(*) FILTER (NOT ({touched})), count(DISTINCT user_id) FROM pairs WHERE {first} IS NOT NULL",
    )
    return int(row[0]), int(row[1]), int(row[2])


def _days(log: WrittenLog, first: int | None, last: int | None) -> tuple[tuple[Day, ...], int]:
    if first is None or last is None:
        return (), 1
    days_each = 7 if (last - first) / _US_PER_DAY > _DAYS_AS_WEEKS else 1
    # Whole numbers, because the engine's calendar is ten times as slow; 5 January 1970, day 4, was a Monday.
    start = 4 * _US_PER_DAY if days_each == 7 else 0
    rows = log.connection.execute(
        f"SELECT CAST(floor((epoch_us(ts) - {start}) / {days_each * _US_PER_DAY}) AS BIGINT) AS period, action, count(*) "
        f"FROM {log.events} GROUP BY period, action ORDER BY period, action"
    ).fetchall()
    days: dict[str, dict[str, int]] = {}
    for period, action, count in rows:
        day = datetime.date(1970, 1, 1) + datetime.timedelta(days=period * days_each + start // _US_PER_DAY)
        days.setdefault(day.isoformat(), {})[action] = int(count)
    return tuple(Day(day=day, counts=counts) for day, counts in days.items()), days_each


def _spread(log: WrittenLog, key: str) -> Spread:
    names = {"min": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}
    quantiles = ", ".join(f"quantile_disc(n, {q})" for q in names.values())
    mean, *values = _row(
        log.connection,
        f"SELECT count(*), sum(n), {quantiles} FROM (SELECT count(*) AS n FROM {log.events} GROUP BY {key})",
    )
    keys, total, values = mean, values[0], values[1:]
    return Spread(mean=round(total / keys, 4), quantiles={n: int(v) for n, v in zip(names, values, strict=True)})


def _orphans(log: WrittenLog) -> tuple[int, int, int]:
    """Count the items of events that no catalogue lists, their events, and the items listed without an event."""
    if log.catalogue is None:
        return 0, 0, 0
    seen = f"(SELECT CAST(item_id AS VARCHAR) AS item_id, count(*) AS n FROM {log.events} GROUP BY item_id)"
    orphans, events = _row(
        log.connection, f"SELECT count(*), coalesce(sum(n), 0) FROM {seen} ANTI JOIN {log.catalogue} USING (item_id)"
    )
    (unseen,) = _row(log.connection, f"SELECT count(*) FROM {log.catalogue} ANTI JOIN {seen} USING (item_id)")
    return int(orphans), int(events), int(unseen)


def _test(log: WrittenLog) -> GivenTest | None:
    if log.test is None:
        return None
    events, users = _row(log.connection, f"SELECT count(*), count(DISTINCT user_id) FROM {log.test}")
    new = [
        _row(
            log.connection,
            f"SELECT count(*) FROM (SELECT DISTINCT {key} FROM {log.test}) {join} JOIN (SELECT DISTINCT {key} FROM pairs) "
            f"USING ({key})",
        )[0]
        for join, key in (("ANTI", "user_id"), ("ANTI", "item_id"), ("SEMI", "user_id, item_id"))
    ]
    return GivenTest(
        events=int(events),
        users=int(users),
        users_without_events=int(new[0]),
        items_without_events=int(new[1]),
        pairs_in_log=int(new[2]),
    )

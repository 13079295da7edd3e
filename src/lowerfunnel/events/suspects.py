"""Users and advertisers whose numbers no ordinary one has, by fixed rules that the page prints.

The rules are for a person to look at; nothing is removed by them.
"""

from lowerfunnel.events import sql
from lowerfunnel.events.quality import Suspect
from lowerfunnel.events.schema import ACTIONS, FUNNEL_DEPTH

MOST_PER_HOUR = 1000
MOST_OVER_P99 = 50
USER_RULE = (
    f"a user is suspicious with more than {MOST_PER_HOUR:,} actions within one clock hour (one every 3.6 s throughout), or with "
    f"more than {MOST_OVER_P99} times as many events as 99% of the users and at least {MOST_PER_HOUR:,}; impressions do not count"
)
RATE_FACTOR = 5
VALUE_FACTOR = 1000
_Z = 4.0
ADVERTISER_RULE = (
    f"an advertiser is suspicious when its conversion rate (user-item pairs) is more than {RATE_FACTOR} times or less than a "
    f"{RATE_FACTOR}th of the log's even at the near end of its interval (Wilson, z = {_Z:.0f}), or when one of its events is "
    f"worth more than {VALUE_FACTOR:,} times the log's median"
)
_SHOWN = 10
_US_PER_H = 3_600_000_000


def suspicious_users(connection: sql.Connection, events: str, *, timed: bool) -> tuple[tuple[Suspect, ...], int]:
    """Return the worst suspicious users and how many there are (`USER_RULE`)."""
    acted = f"(SELECT user_id, ts FROM {events} WHERE action != 'impression')"
    per_hour = (
        f"(SELECT user_id, max(n) AS busiest FROM (SELECT user_id, count(*) AS n FROM {acted} "
        f"GROUP BY user_id, epoch_us(ts) // {_US_PER_H}) GROUP BY user_id)"
        if timed
        else f"(SELECT DISTINCT user_id, 0 AS busiest FROM {acted})"
    )
    rows = connection.execute(
        f"WITH totals AS (SELECT user_id, count(*) AS total FROM {acted} GROUP BY user_id), "
        "usual AS (SELECT quantile_disc(total, 0.99) AS p99 FROM totals) "
        f"SELECT CAST(user_id AS VARCHAR), total, busiest, p99, count(*) OVER () FROM totals JOIN {per_hour} USING (user_id), "
        f"usual WHERE busiest > {MOST_PER_HOUR} OR (total > {MOST_OVER_P99} * p99 AND total >= {MOST_PER_HOUR}) "
        f"ORDER BY total DESC, user_id LIMIT {_SHOWN}"
    ).fetchall()
    suspects = []
    for user, total, busiest, p99, _ in rows:
        hour = f", {busiest:,} of them within one hour" if busiest > MOST_PER_HOUR else ""
        suspects.append(Suspect(id=user, why=f"{total:,} events{hour}; 99% of the users have at most {p99:,}"))
    return tuple(suspects), int(rows[0][4]) if rows else 0


def suspicious_advertisers(
    connection: sql.Connection, events: str, items: str, *, has_conversions: bool
) -> tuple[tuple[Suspect, ...], int]:
    """Return the worst suspicious advertisers and how many there are (`ADVERTISER_RULE`). Reads the table `pairs`."""
    bits = sum(1 << code for code, action in enumerate(ACTIONS) if FUNNEL_DEPTH[action] == 4)
    ranked = (
        f"WITH owners AS (SELECT item_id, advertiser_id FROM {items} WHERE advertiser_id IS NOT NULL), "
        f"rates AS (SELECT advertiser_id, count(*) AS n, count(*) FILTER (bits & {bits} != 0) / count(*) AS p "
        "FROM pairs JOIN owners USING (item_id) GROUP BY advertiser_id), "
        f"whole AS (SELECT count(*) FILTER (bits & {bits} != 0) / count(*) AS p0 FROM pairs), "
        f"intervals AS (SELECT *, (p + {_Z**2} / (2 * n)) / (1 + {_Z**2} / n) AS middle, "
        f"{_Z} * sqrt(p * (1 - p) / n + {_Z**2} / (4 * n * n)) / (1 + {_Z**2} / n) AS half FROM rates), "
        f"worth AS (SELECT advertiser_id, max(value) AS most FROM {events} JOIN owners USING (item_id) "
        "WHERE value IS NOT NULL GROUP BY advertiser_id), "
        f"median AS (SELECT quantile_disc(value, 0.5) AS usual FROM {events} WHERE value > 0) "
        "SELECT advertiser_id, n, p, p0, most, usual, "
        f"{'true' if has_conversions else 'false'} AND p > p0 AND middle - half > {RATE_FACTOR} * p0 AS high, "
        f"{'true' if has_conversions else 'false'} AND p < p0 AND middle + half < p0 / {RATE_FACTOR} AS low, "
        f"coalesce(most > {VALUE_FACTOR} * usual, false) AS dear "
        "FROM intervals LEFT JOIN worth USING (advertiser_id), whole, median"
    )
    rows = connection.execute(
        f"SELECT *, count(*) OVER () FROM ({ranked}) WHERE high OR low OR dear ORDER BY n DESC, advertiser_id LIMIT {_SHOWN}"
    ).fetchall()
    suspects = []
    for advertiser, pairs, rate, overall, most, usual, high, low, dear, _ in rows:
        why = []
        if high or low:
            why.append(f"{rate:.2%} of its {pairs:,} user-item pairs convert, {overall:.2%} in the whole log")
        if dear:
            why.append(f"an event worth {most:,.2f}, and half of all are worth at most {usual:,.2f}")
        suspects.append(Suspect(id=advertiser, why="; ".join(why)))
    return tuple(suspects), int(rows[0][-1]) if rows else 0

"""What a log cannot do, and what looks wrong with it, in one sentence each."""

from lowerfunnel.events.quality import GivenTest
from lowerfunnel.events.quarantine import TableCounts
from lowerfunnel.events.schema import ACTIONS, FUNNEL_DEPTH

_YEAR_1990_US = 631_152_000_000_000


def cannot_do(
    *, order: str, actions: set[str], columns: set[str], has_catalogue: bool, advertisers: int
) -> tuple[str, ...]:
    """Say what is unavailable with this log, and why."""
    sentences = []
    if order == "none":
        sentences.append(
            "It has neither time nor order: no temporal split, no leave-last-out, no delays, and a history is everything "
            "else the user did; (user, item, action) counts once."
        )
    elif order == "sequence":
        sentences.append("It has an order but no time: no temporal split, no delays and no daily figures.")
    if not actions & {action for action in ACTIONS if FUNNEL_DEPTH[action] == 4}:
        sentences.append("It has no conversions (checkout, signup, lead): engagement is all that can be learned.")
    if len(actions) == 1:
        sentences.append("It has one action only: no funnel, and nothing to learn from beside it.")
    if "impression" not in actions:
        sentences.append("It has no impressions: what was shown and passed over is unknown, so no served negatives.")
    if "value" not in columns:
        sentences.append("It has no values: a conversion counts one, whatever it was worth.")
    if "surface" not in columns:
        sentences.append("It names no surfaces: all events count as one surface.")
    if not has_catalogue:
        sentences.append("It has no catalogue: items are known by their ids alone, and a new one has nothing to go by.")
    if advertisers == 0:
        sentences.append("It names no advertisers: no advertiser coverage and no budget per advertiser.")
    return tuple(sentences)


def remarks_on(
    *,
    counts: dict[str, TableCounts],
    first_ts_us: int | None,
    users_seen: int,
    events: int,
    test: GivenTest | None,
    conflicting_items: int,
    orphans: int,
) -> tuple[str, ...]:
    """Say what looks wrong and is worth a look."""
    sentences = []
    if first_ts_us is not None and first_ts_us < _YEAR_1990_US:
        sentences.append("The times begin before 1990: they are relative, or time_unit is wrong.")
    if users_seen == events:
        sentences.append(
            "No user has two events: user_id may be the id of something else, and no history can be learned."
        )
    for table, each in counts.items():
        if each.bad:
            sentences.append(f"{each.bad:,} rows of {table} were set aside; see quarantine.parquet.")
    if conflicting_items:
        sentences.append(f"{conflicting_items:,} items are listed with different values; the first was kept.")
    if orphans:
        sentences.append(f"{orphans:,} items of the events are not in the catalogue; they have no features.")
    if test is not None and test.users_without_events:
        sentences.append(f"{test.users_without_events:,} of {test.users:,} test users have no event in the log.")
    return tuple(sentences)

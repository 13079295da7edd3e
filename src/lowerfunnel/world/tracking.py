"""What advertisers report of what happened on their sites: late, twice, wrong, or not at all; and what some make up.

Shape letters: A advertisers, J journeys, N reported events. Times are microseconds after the start of the log.
"""

from dataclasses import dataclass, replace

import numpy as np

from lowerfunnel.world.chance import Keys, Stream, keyed, normal, uniform
from lowerfunnel.world.checks import require_at_least, require_positive, require_shares
from lowerfunnel.world.journeys import Journeys
from lowerfunnel.world.policy import Bools, Floats, Ints
from lowerfunnel.world.rows import CURRENCIES, EventRows, concatenate, event_rows
from lowerfunnel.world.season import HOUR_US, SECOND_US

_DRAWS = 16
"""Numbers set aside for each step of a journey."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingConfig:
    """How well advertisers report; each one has its own quality around these means."""

    report_share: float = 0.88
    """Mean share of the events on an advertiser's site that it reports."""
    report_concentration: float = 12.0
    """How alike the advertisers are in that (of a beta distribution); high means all alike."""
    duplicate_share: float = 0.03
    """Share of the reports sent twice; half of the repeats keep the event's id, half have a new one."""
    wrong_value_share: float = 0.01
    """Share of the checkouts reported with a hundred times their value (cents for dollars)."""
    wrong_currency_share: float = 0.01
    """Share of the checkouts whose value is in USD and labelled otherwise."""
    delay_h: float = 0.3
    """Median hours until a report arrives."""
    delay_spread: float = 1.8
    """Standard deviation of the log of that delay."""
    fraud_share: float = 0.02
    """Share of the advertisers that report purchases which never were, after clicks on their ads."""
    fraud_rate: float = 0.3
    """Share of such an advertiser's clicks that are followed by one."""

    def __post_init__(self) -> None:
        require_shares(
            self,
            (
                "report_share",
                "duplicate_share",
                "wrong_value_share",
                "wrong_currency_share",
                "fraud_share",
                "fraud_rate",
            ),
        )
        require_positive(self, ("report_concentration",))
        require_at_least(self, 0, ("delay_h", "delay_spread"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trackers:
    """The tracking of each of A advertisers."""

    report_A: Floats
    duplicate_A: Floats
    delay_h_A: Floats
    is_fraud_A: Bools


def draw_trackers(config: TrackingConfig, rng: np.random.Generator, count: int) -> Trackers:
    """Draw how well each advertiser reports."""
    share = config.report_share
    sure = share in (0.0, 1.0)
    beta = (max(share, 1e-9) * config.report_concentration, max(1 - share, 1e-9) * config.report_concentration)
    report_A = rng.beta(*beta, count)
    return Trackers(
        report_A=np.full(count, share) if sure else report_A,
        duplicate_A=np.minimum(rng.exponential(config.duplicate_share, count), 1.0),
        delay_h_A=config.delay_h * np.exp(rng.normal(0.0, 0.5, count)),
        is_fraud_A=rng.random(count) < config.fraud_share,
    )


def report(
    config: TrackingConfig, trackers: Trackers, journeys: Journeys, advertiser_I: Ints
) -> tuple[EventRows, Bools]:
    """Report journeys: events as the platform hears of them, and which checkouts it hears of at all.

    Returns:
        The reported events, and for each journey whether its checkout was reported.
    """
    steps = {
        "view": (np.ones(len(journeys), np.bool_), journeys.look_us_J),
        "view again": (journeys.looked_again_J, journeys.again_us_J),
        "add_to_cart": (journeys.carted_J, journeys.cart_us_J),
        "checkout": (journeys.bought_J, journeys.checkout_us_J),
        "return": (journeys.returned_J, journeys.return_us_J),
    }
    reported_J = np.zeros(len(journeys), np.bool_)
    parts: list[EventRows] = []
    advertiser_J = advertiser_I[journeys.item_J]
    for place, (step, (taken_J, t_us_J)) in enumerate(steps.items()):
        draw = 100 + place * _DRAWS
        heard_J = taken_J & (uniform(journeys.key_J, draw) < trackers.report_A[advertiser_J])
        if step == "checkout":
            reported_J = heard_J
        rows = np.flatnonzero(heard_J)
        action = step.partition(" ")[0]
        with_value = action in ("checkout", "return")
        value, currency = _value(config, journeys, rows, draw) if with_value else (None, None)
        events = event_rows(
            action,
            t_us=t_us_J[rows],
            user=journeys.user_J[rows],
            item=journeys.item_J[rows],
            value=value,
            currency=currency,
            received_us=t_us_J[rows] + _delay_us(config, trackers, advertiser_J[rows], journeys.key_J[rows], draw + 1),
        )
        parts += _with_repeats(config, trackers, events, advertiser_J[rows], journeys.key_J[rows], draw, parts)
    return concatenate(parts), reported_J


def make_up(
    config: TrackingConfig,
    trackers: Trackers,
    *,
    seed: int,
    request: Ints,
    user: Ints,
    item: Ints,
    click_us: Ints,
    price_I: Floats,
    advertiser_I: Ints,
) -> EventRows:
    """Make up checkouts after clicks on the ads of fraudulent advertisers."""
    key = keyed(seed, Stream.FRAUD, request, item)
    advertiser = advertiser_I[item]
    rows = np.flatnonzero(trackers.is_fraud_A[advertiser] & (uniform(key, 0) < config.fraud_rate))
    t_us = click_us[rows] + (30 * SECOND_US + 600 * SECOND_US * uniform(key[rows], 1)).astype(np.int64)
    return event_rows(
        "checkout",
        t_us=t_us,
        user=user[rows],
        item=item[rows],
        value=price_I[item[rows]],
        currency=np.zeros(len(rows), np.int8),
        received_us=t_us + _delay_us(config, trackers, advertiser[rows], key[rows], 2),
    )


def _value(
    config: TrackingConfig, journeys: Journeys, rows: Ints, draw: int
) -> tuple[Floats, np.typing.NDArray[np.int8]]:
    key = journeys.key_J[rows]
    value = journeys.order_value_J[rows].copy()
    value[uniform(key, draw + 8) < config.wrong_value_share] *= 100.0
    foreign = uniform(key, draw + 9) < config.wrong_currency_share
    other = 1 + (uniform(key, draw + 10) * (len(CURRENCIES) - 1)).astype(np.int8)
    return value, np.where(foreign, other, 0).astype(np.int8)


def _delay_us(config: TrackingConfig, trackers: Trackers, advertiser_N: Ints, key_N: Keys, draw: int) -> Ints:
    factor_N = np.exp(config.delay_spread * normal(key_N, draw))
    return (trackers.delay_h_A[advertiser_N] * factor_N * HOUR_US).astype(np.int64)


def _with_repeats(
    config: TrackingConfig,
    trackers: Trackers,
    events: EventRows,
    advertiser_N: Ints,
    key_N: Keys,
    draw: int,
    before: list[EventRows],
) -> list[EventRows]:
    """Return the events and those of them that are sent once more; half of these repeat the event's id."""
    first = sum(len(part) for part in before)
    again = np.flatnonzero(uniform(key_N, draw + 4) < trackers.duplicate_A[advertiser_N])
    same_id = uniform(key_N[again], draw + 5) < 0.5
    later_us = _delay_us(config, trackers, advertiser_N[again], key_N[again], draw + 6)
    copies = events.take(again)
    copies = replace(
        copies, received_us_N=copies.received_us_N + later_us, repeats_N=np.where(same_id, first + again, -1)
    )
    return [events, copies]

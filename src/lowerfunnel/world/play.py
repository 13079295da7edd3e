"""One day of a world under a policy, hour by hour: who is eligible, what is shown, what comes of it, what it costs."""

import numpy as np

from lowerfunnel.errors import RunError
from lowerfunnel.world.policy import Policy, checked_slate
from lowerfunnel.world.population import Population
from lowerfunnel.world.reaction import Reactions, join_reactions, react
from lowerfunnel.world.response import DelayConfig, Response
from lowerfunnel.world.season import DAY_US, HOUR_US
from lowerfunnel.world.traffic import Traffic


def play_day(
    policy: Policy,
    population: Population,
    response: Response,
    delays: DelayConfig,
    traffic: Traffic,
    day: int,
    *,
    slots: int,
    seed: int,
    start_us: int,
    limit_s: float | None,
) -> Reactions:
    """Show a day's requests what a policy chooses for them, and let people react.

    An advertiser whose daily budget is spent takes no part from the next hour on, as does an item that is not on sale
    when the hour begins. So days do not depend on each other.

    Raises:
        PolicyError: If the policy's answer cannot be shown.
        RunError: If an hour has fewer eligible items than a request shows.
    """
    items, advertisers = population.items, population.advertisers
    spent_A = np.zeros(len(advertisers))
    marks = np.searchsorted(traffic.t_us_R, day * DAY_US + np.arange(25) * HOUR_US)
    marks[-1] = len(traffic)  # a visit may go on past midnight
    hours = []
    for hour in range(24):
        rows = slice(int(marks[hour]), int(marks[hour + 1]))
        eligible_I = items.on_sale(day + hour / 24) & (spent_A < advertisers.daily_budget_A)[items.advertiser_I]
        if rows.stop > rows.start and eligible_I.sum() < slots:
            raise RunError(
                f"in hour {hour} of day {day} only {eligible_I.sum()} items are eligible and a request shows {slots}; raise "
                "advertisers.daily_budget_clicks or n_items, or lower traffic.slots"
            )
        if rows.stop == rows.start:
            continue
        requests = traffic.seen(population, rows, start_us=start_us)
        item_RS, propensity_RS = checked_slate(
            policy, requests, eligible_I, slots, item_id_I=items.item_id_I, limit_s=limit_s
        )
        reactions = react(
            response,
            delays,
            population,
            traffic,
            rows_R=np.arange(rows.start, rows.stop),
            item_RS=item_RS,
            propensity_RS=propensity_RS,
            seed=seed,
        )
        hours.append(reactions)
        paying_I = items.advertiser_I[reactions.item_N[reactions.clicked_N]]
        spent_A += np.bincount(paying_I, minlength=len(advertisers)) * advertisers.bid_A
    if not hours:
        nothing = np.zeros((0, slots), np.int64)
        hours.append(
            react(
                response,
                delays,
                population,
                traffic,
                rows_R=np.zeros(0, np.int64),
                item_RS=nothing,
                propensity_RS=None,
                seed=seed,
            )
        )
    return join_reactions(hours)

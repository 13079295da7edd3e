"""What people do with the ads they are shown: look, click, stay, save, hide, and set out on a journey.

Shape letters: R requests, S slots, N = R x S impressions, J journeys.
"""

from dataclasses import dataclass, fields

import numpy as np

from lowerfunnel.world.chance import Stream, keyed, normal, uniform
from lowerfunnel.world.intent import Missions
from lowerfunnel.world.journeys import CLICK, VIEW, Journeys, join, walk
from lowerfunnel.world.outcomes import Outcomes
from lowerfunnel.world.policy import Bools, Floats, Ints
from lowerfunnel.world.population import Population
from lowerfunnel.world.response import DelayConfig, Response, sigmoid
from lowerfunnel.world.season import HOUR_US, SECOND_US
from lowerfunnel.world.traffic import Traffic

BOT_CLICK_RATE = 0.05
_BLOCK = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Reactions:
    """What came of N impressions; times are microseconds after the start of the log."""

    traffic_N: Ints
    """Row of the impression's request in the day's traffic."""
    item_N: Ints
    position_N: Ints
    propensity_N: Floats
    clicked_N: Bools
    click_us_N: Ints
    """Means something only where there was a click."""
    dwell_s_N: Floats
    saved_N: Bools
    hidden_N: Bools
    journeys: Journeys
    journey_of_N: Ints
    """The impression's journey, -1 for those that led to none."""

    def __len__(self) -> int:
        return len(self.item_N)


def react(
    response: Response,
    delays: DelayConfig,
    population: Population,
    traffic: Traffic,
    *,
    rows_R: Ints,
    item_RS: Ints,
    propensity_RS: Floats | None,
    seed: int,
) -> Reactions:
    """Let the users of some requests react to their slates.

    Args:
        response: The probabilities.
        delays: How long people take.
        population: Who they are, and what is shown.
        traffic: The day's requests.
        rows_R: Rows of the requests in it.
        item_RS: Rows of the items shown, the first slot first.
        propensity_RS: Chance of each choice; None for a policy that does not draw.
        seed: The world's. The same item in the same slot of the same request always has the same fate.
    """
    slots = item_RS.shape[1]
    blocks = [
        _react(
            response,
            delays,
            population,
            traffic,
            traffic_R=rows_R[part],
            item_RS=item_RS[part],
            propensity_RS=np.full((len(rows_R[part]), slots), np.nan) if propensity_RS is None else propensity_RS[part],
            seed=seed,
        )
        for part in (slice(start, start + _BLOCK) for start in range(0, max(len(rows_R), 1), _BLOCK))
    ]
    return join_reactions(blocks)


def join_reactions(blocks: list[Reactions]) -> Reactions:
    """Put reactions one after the other."""
    columns = {
        field.name: np.concatenate([getattr(block, field.name) for block in blocks])
        for field in fields(Reactions)
        if field.name not in ("journeys", "journey_of_N")
    }
    before = np.cumsum([0, *(len(block.journeys) for block in blocks)])
    journey_of_N = np.concatenate(
        [
            np.where(block.journey_of_N >= 0, block.journey_of_N + first, -1)
            for block, first in zip(blocks, before, strict=False)
        ]
    )
    return Reactions(journeys=join([block.journeys for block in blocks]), journey_of_N=journey_of_N, **columns)


def _react(
    response: Response,
    delays: DelayConfig,
    population: Population,
    traffic: Traffic,
    *,
    traffic_R: Ints,
    item_RS: Ints,
    propensity_RS: Floats,
    seed: int,
) -> Reactions:
    config, slots = response.config, item_RS.shape[1]
    row_N, item_N = np.repeat(traffic_R, slots), item_RS.ravel()
    position_N = np.tile(np.arange(1, slots + 1), len(traffic_R))
    key_N = keyed(seed, Stream.FATE, traffic.request_R[row_N], item_N)
    affinity_N = np.einsum("rd,rsd->rs", traffic.latent_RD[traffic_R], population.items.latent_ID[item_RS]).ravel()
    look_N = response.look(position_N)
    is_person_N = population.users.is_person_U[traffic.user_R[row_N]]

    click_chance_N = look_N * sigmoid(response.click_logit(affinity_N, item_N, traffic.surface_R[row_N]))
    u_N = uniform(key_N, 0)
    meant_N = (u_N < click_chance_N) & is_person_N
    # From the other end of the same number: a click on purpose and one by accident exclude each other.
    clicked_N = meant_N | (u_N >= 1 - config.accidental_click_rate) | (~is_person_N & (u_N < BOT_CLICK_RATE))
    u_N = uniform(key_N, 1)
    saved_N = (u_N < look_N * response.save(affinity_N)) & is_person_N
    hidden_N = (u_N >= 1 - look_N * response.hide(affinity_N)) & is_person_N & ~clicked_N
    later_N = (uniform(key_N, 2) < look_N * np.float32(config.view_through_share)) & ~clicked_N & is_person_N

    t_us_N = traffic.t_us_R[row_N]
    click_us_N = t_us_N.copy()
    dwell_s_N = np.full(len(item_N), np.nan)
    at_C = np.flatnonzero(clicked_N)
    key_C = key_N[at_C]
    click_us_N[at_C] += ((1 + 24 * uniform(key_C, 3)) * SECOND_US).astype(np.int64)
    stays_C = meant_N[at_C] & (uniform(key_C, 4) >= response.bounce(affinity_N[at_C], item_N[at_C]))
    read_s_C = np.exp(np.log(14.0) + 1.2 * affinity_N[at_C] + 0.8 * normal(key_C, 5))
    bounce_s_C = np.where(is_person_N[at_C], 1.5, 0.3) * np.exp(0.5 * normal(key_C, 5))
    dwell_s_N[at_C] = np.where(stays_C, read_s_C, bounce_s_C)

    at_L = np.flatnonzero(later_N)
    wait_us_L = delays.view_through_h * HOUR_US * np.exp(normal(key_N[at_L], 7))
    longest_us = delays.longest_days * 24 * HOUR_US
    parts = []
    for at_J, cause, look_us_J in (
        (at_C[stays_C], CLICK, click_us_N[at_C[stays_C]] + 2 * SECOND_US),
        (at_L, VIEW, t_us_N[at_L] + np.minimum(wait_us_L, longest_us).astype(np.int64)),
    ):
        row_J = row_N[at_J]
        parts.append(
            walk(
                response,
                delays,
                population,
                user=traffic.user_R[row_J],
                item=item_N[at_J],
                cause=cause,
                request=traffic.request_R[row_J],
                key=key_N[at_J],
                look_us=look_us_J,
                affinity=affinity_N[at_J],
                missions=Missions(
                    category_N=traffic.missions.category_N[row_J], ripeness_N=traffic.missions.ripeness_N[row_J]
                ),
            )
        )
    journey_of_N = np.full(len(item_N), -1, np.int64)
    at_all = np.concatenate([at_C[stays_C], at_L])
    journey_of_N[at_all] = np.arange(len(at_all))
    return Reactions(
        traffic_N=row_N,
        item_N=item_N,
        position_N=position_N,
        propensity_N=propensity_RS.ravel(),
        clicked_N=clicked_N,
        click_us_N=click_us_N,
        dwell_s_N=dwell_s_N,
        saved_N=saved_N,
        hidden_N=hidden_N,
        journeys=join(parts),
        journey_of_N=journey_of_N,
    )


def outcomes_of(reactions: Reactions, population: Population, traffic: Traffic, *, start_us: int) -> Outcomes:
    """Return what came of a day's impressions, as an experiment counts it."""
    journeys = reactions.journeys
    user_N = traffic.user_R[reactions.traffic_N]
    advertiser_N = population.items.advertiser_I[reactions.item_N]

    def of_journey(column_J: np.typing.NDArray[np.generic]) -> np.typing.NDArray[np.generic]:
        # One more, for the impressions that led to none.
        return np.append(column_J, np.zeros(1, column_J.dtype))[reactions.journey_of_N]

    converted_N = of_journey(journeys.bought_J).astype(np.bool_)
    return Outcomes(
        request_N=traffic.request_R[reactions.traffic_N],
        t_us_N=start_us + traffic.t_us_R[reactions.traffic_N],
        user_N=user_N,
        item_N=reactions.item_N,
        advertiser_N=advertiser_N,
        surface_N=traffic.surface_R[reactions.traffic_N],
        position_N=reactions.position_N,
        propensity_N=reactions.propensity_N,
        is_person_N=population.users.is_person_U[user_N],
        clicked_N=reactions.clicked_N,
        dwell_s_N=reactions.dwell_s_N,
        saved_N=reactions.saved_N,
        hidden_N=reactions.hidden_N,
        carted_N=of_journey(journeys.carted_J).astype(np.bool_),
        converted_N=converted_N,
        view_through_N=converted_N & ~reactions.clicked_N,
        value_N=of_journey(journeys.value_J).astype(np.float64),
        cost_N=np.where(reactions.clicked_N, population.advertisers.bid_A[advertiser_N], 0.0),
    )

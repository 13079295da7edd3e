"""A synthetic ad platform as one object: make its log, ask its truth, show other ads in it.

Days are numbered from 0, the first of the log; a world goes on after its log ends.
"""

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa

from lowerfunnel.world.chance import Stream, generator
from lowerfunnel.world.experiment import Experiment, experiment
from lowerfunnel.world.journeys import Journeys, join
from lowerfunnel.world.logging_policy import LoggingPolicy
from lowerfunnel.world.organic import draw_organic
from lowerfunnel.world.outcomes import OrganicPurchases, Outcomes
from lowerfunnel.world.play import play_day
from lowerfunnel.world.policy import Bools, Ints, Policy
from lowerfunnel.world.population import Population, draw_population
from lowerfunnel.world.reaction import Reactions, outcomes_of
from lowerfunnel.world.response import Response
from lowerfunnel.world.rows import EventRows, concatenate, event_rows
from lowerfunnel.world.season import DAY_US
from lowerfunnel.world.settings import WorldConfig
from lowerfunnel.world.tables import advertiser_table, event_table, item_table, truth_table, user_table
from lowerfunnel.world.tracking import Trackers, draw_trackers, make_up, report
from lowerfunnel.world.traffic import REQUESTS_A_DAY, Traffic, draw_traffic
from lowerfunnel.world.truth import WorldTruth


@dataclass(frozen=True, kw_only=True, slots=True)
class DayLog:
    """What began on one day: its impressions and visits, and whatever came of them until the end of the log."""

    day: int
    events: pa.Table
    """In the canonical schema: impressions in order of time, then everything else; some of it days later."""
    truth: pa.Table
    """The purchases as they truly were (`TRUTH_SCHEMA`)."""


class World:
    """A world drawn from its settings. Everything it tells is a pure function of them."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self._population = draw_population(
            seed=config.seed,
            days=config.days,
            latent_dim=config.latent_dim,
            n_users=config.n_users,
            n_items=config.n_items,
            n_advertisers=config.n_advertisers,
            n_categories=config.n_categories,
            users=config.users,
            items=config.items,
            advertisers=config.advertisers,
            intent=config.intent,
        )
        self._response = Response(config.response, config.season, config.intent, self._population)
        self._traffic_of_day = lru_cache(maxsize=2)(self._draw_traffic)
        midnight = datetime.datetime.combine(config.start, datetime.time(), tzinfo=datetime.UTC)
        self.start_us = int(midnight.timestamp()) * 1_000_000
        """Start of the log in microseconds since 1970, UTC."""

    @property
    def population(self) -> Population:
        """Everybody and everything, with all that is hidden."""
        return self._population

    @property
    def item_id_I(self) -> Ints:
        """Ids of the items, ascending."""
        return self._population.items.item_id_I

    @property
    def item_advertiser_I(self) -> Ints:
        """Row of each item's advertiser."""
        return self._population.items.advertiser_I

    @property
    def user_id_U(self) -> Ints:
        """Ids of the users, ascending."""
        return self._population.users.user_id_U

    @property
    def is_person_U(self) -> Bools:
        """Which users are no bots."""
        return self._population.users.is_person_U

    @property
    def advertiser_ids(self) -> list[str]:
        """Ids of the advertisers, by row."""
        return self._population.advertisers.advertiser_id_A

    @property
    def queries(self) -> list[str]:
        """What can be searched for, by its number in `Requests.query_R`: the leaf categories."""
        return self._population.categories.path_K

    @cached_property
    def logging_policy(self) -> LoggingPolicy:
        """The policy that makes the log."""
        return LoggingPolicy(
            self.config.logging,
            self._population,
            self._response,
            seed=self.config.seed,
            traffic_of=self._traffic_of_requests,
        )

    @cached_property
    def trackers(self) -> Trackers:
        """How the advertisers report."""
        rng = generator(self.config.seed, Stream.TRACKING)
        return draw_trackers(self.config.tracking, rng, self.config.n_advertisers)

    @cached_property
    def truth(self) -> WorldTruth:
        """The probabilities of everything."""
        return WorldTruth(
            self._population,
            self._response,
            self.config.organic,
            organic_share=1.0 - self.config.traffic.platform_share,
        )

    def item_table(self) -> pa.Table:
        """Return the catalogue in the canonical schema."""
        return item_table(self._population, seed=self.config.seed)

    def user_table(self) -> pa.Table:
        """Return the users in the canonical schema."""
        return user_table(self._population, seed=self.config.seed)

    def advertiser_table(self) -> pa.Table:
        """Return the advertisers, with what the platform does not know of them in columns named `true_`."""
        return advertiser_table(self._population, self.trackers)

    def play(self, policy: Policy, day: int, *, limit_s: float | None = None) -> Outcomes:
        """Return what truly comes of one day's impressions under a policy.

        Args:
            policy: Who chooses the ads.
            day: From 0; the days after the log has ended are as good as any.
            limit_s: Seconds that the policy may take for the requests of one hour; None for no limit.

        Raises:
            PolicyError: If the policy's answer cannot be shown.
            RunError: If an hour has fewer eligible items than a request shows.
        """
        traffic, reactions = self._played(policy, day, limit_s)
        return outcomes_of(reactions, self._population, traffic, start_us=self.start_us)

    def organic(self, day: int) -> OrganicPurchases:
        """Return the purchases whose way begins on a day without an ad."""
        journeys = self._organic_journeys(day)
        bought = journeys.take(journeys.bought_J)
        return OrganicPurchases(
            t_us_O=self.start_us + bought.checkout_us_J,
            user_O=bought.user_J,
            item_O=bought.item_J,
            value_O=bought.value_J,
        )

    def experiment(
        self,
        policy_a: Policy,
        policy_b: Policy,
        *,
        days: Sequence[int],
        n_boot: int = 1000,
        seed: int = 0,
        limit_s: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Experiment:
        """Play two policies on the same days with the same luck; see `lowerfunnel.world.experiment.experiment`."""
        return experiment(
            self, policy_a, policy_b, days=days, n_boot=n_boot, seed=seed, limit_s=limit_s, progress=progress
        )

    def log(self, days: Iterable[int] | None = None) -> Iterator[DayLog]:
        """Make the log, day by day, in any order; all of its days if none are named. Memory is bounded by one day."""
        for day in range(self.config.days) if days is None else days:
            traffic, reactions = self._played(self.logging_policy, day, None)
            journeys = join([reactions.journeys, self._organic_journeys(day)])
            reported, heard_J = report(
                self.config.tracking, self.trackers, journeys, self._population.items.advertiser_I
            )
            rows = self._rows(traffic, reactions, reported)
            yield DayLog(
                day=day,
                events=event_table(rows, self._population, day=day, start_us=self.start_us),
                truth=truth_table(journeys, heard_J, self._population, start_us=self.start_us),
            )

    def _rows(self, traffic: Traffic, reactions: Reactions, reported: EventRows) -> EventRows:
        """Return what the platform logs of a day: its own events, and those reported before the log ends."""
        end_us = self.config.days * DAY_US
        impressions, engaged = _own_events(traffic, reactions)
        impressions = impressions.take(slice(int(np.searchsorted(impressions.t_us_N, end_us))))
        clicked = np.flatnonzero(reactions.clicked_N)
        fake = make_up(
            self.config.tracking,
            self.trackers,
            seed=self.config.seed,
            request=traffic.request_R[reactions.traffic_N[clicked]],
            user=traffic.user_R[reactions.traffic_N[clicked]],
            item=reactions.item_N[clicked],
            click_us=reactions.click_us_N[clicked],
            price_I=self._population.items.price_I,
            advertiser_I=self._population.items.advertiser_I,
        )
        # Reported first: their repeats name places among them.
        later = concatenate([reported, engaged, fake])
        in_time = (later.t_us_N < end_us) & (later.received_us_N < end_us)
        order = np.flatnonzero(in_time)
        order = order[np.lexsort((order, later.t_us_N[order]))]
        place = np.full(len(later), -1, np.int64)
        place[order] = len(impressions) + np.arange(len(order))
        kept = later.take(order)
        first = kept.repeats_N
        kept.repeats_N[:] = np.where(first >= 0, place[np.maximum(first, 0)], -1)
        return concatenate([impressions, kept])

    def _played(self, policy: Policy, day: int, limit_s: float | None) -> tuple[Traffic, Reactions]:
        traffic = self._traffic_of_day(day)
        reactions = play_day(
            policy,
            self._population,
            self._response,
            self.config.delays,
            traffic,
            day,
            slots=self.config.traffic.slots,
            seed=self.config.seed,
            start_us=self.start_us,
            limit_s=limit_s,
        )
        return traffic, reactions

    def _draw_traffic(self, day: int) -> Traffic:
        return draw_traffic(
            self.config.traffic,
            self._population,
            day,
            visits_factor=self._visits_factor(day),
            seed=self.config.seed,
        )

    def _organic_journeys(self, day: int) -> Journeys:
        return draw_organic(
            self.config.organic,
            self._population,
            self._response,
            self.config.delays,
            day,
            visits_share=1.0 - self.config.traffic.platform_share,
            visits_factor=self._visits_factor(day),
            seed=self.config.seed,
        )

    def _visits_factor(self, day: int) -> float:
        weekday = (self.config.start + datetime.timedelta(days=day)).weekday()
        return self.config.season.visits_factor(day, weekday=weekday)

    def _traffic_of_requests(self, request_R: Ints) -> Traffic:
        """Return the hidden side of requests of one day."""
        day, place_R = divmod(int(request_R[0]), REQUESTS_A_DAY)[0], request_R % REQUESTS_A_DAY
        return self._traffic_of_day(day).take(place_R)


def _own_events(traffic: Traffic, reactions: Reactions) -> tuple[EventRows, EventRows]:
    """Return the platform's own events: the impressions, and the clicks, saves and hides."""

    def events(action: str, rows: Ints | slice, t_us: Ints, dwell_s: np.typing.NDArray[np.float64] | None) -> EventRows:
        request = reactions.traffic_N[rows]
        return event_rows(
            action,
            t_us=t_us,
            user=traffic.user_R[request],
            item=reactions.item_N[rows],
            surface=traffic.surface_R[request],
            request=traffic.request_R[request],
            position=reactions.position_N[rows],
            propensity=reactions.propensity_N[rows] if action == "impression" else None,
            dwell_s=dwell_s,
            context=traffic.context_R[request],
            query=traffic.query_R[request],
        )

    shown_us_N = traffic.t_us_R[reactions.traffic_N]
    clicked, saved, hidden = (
        np.flatnonzero(mask) for mask in (reactions.clicked_N, reactions.saved_N, reactions.hidden_N)
    )
    return events("impression", slice(None), shown_us_N, None), concatenate(
        [
            events("click", clicked, reactions.click_us_N[clicked], reactions.dwell_s_N[clicked]),
            events("save", saved, shown_us_N[saved] + 5_000_000, None),
            events("hide", hidden, shown_us_N[hidden] + 3_000_000, None),
        ]
    )

"""Small worlds for tests."""

from dataclasses import replace

import numpy as np

from lowerfunnel.world import PRESETS, Slate, World, WorldConfig

TINY = PRESETS["tiny"]
NONE_ARE_BOTS = replace(TINY.users, bot_share=0.0)


def lively(**changes) -> WorldConfig:
    """A tiny world in which enough happens in a few days to count it."""
    base = replace(
        TINY,
        users=replace(NONE_ARE_BOTS, visits_per_day=3.0, activity_spread=0.3),
        advertisers=replace(TINY.advertisers, daily_budget_clicks=1e6),
        response=replace(TINY.response, click_logit=-4.0, cart_logit=-3.0),
    )
    return replace(base, **changes)


class Chosen:
    """Shows every request the same few items, or what a function of the requests says."""

    def __init__(self, world: World, choose=None, name="chosen"):
        self._ids = world.item_id_I
        self._choose = choose
        self.name = name

    def rank(self, requests, eligible_I, slots):
        if self._choose is not None:
            return Slate(item_id_RS=self._choose(requests, eligible_I, slots))
        first = self._ids[np.flatnonzero(eligible_I)[:slots]]
        return Slate(item_id_RS=np.tile(first, (len(requests), 1)))

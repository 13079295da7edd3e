"""A synthetic shopping-ads platform whose truth is known.

    from lowerfunnel.world import PRESETS, World
    world = World(PRESETS["tiny"])
    first_day = next(world.log())

It is for training and demonstrating on one machine, for testing labels and losses against the answer, and for
experiments between policies. Nothing measured on it is ever called real.
"""

from lowerfunnel.world.experiment import Experiment
from lowerfunnel.world.make import load_world, make_world
from lowerfunnel.world.outcomes import OrganicPurchases, Outcomes
from lowerfunnel.world.policy import SURFACES, Policy, Requests, Slate
from lowerfunnel.world.presets import PRESETS
from lowerfunnel.world.settings import WorldConfig
from lowerfunnel.world.truth import WorldTruth
from lowerfunnel.world.world import DayLog, World

__all__ = [
    "PRESETS",
    "SURFACES",
    "DayLog",
    "Experiment",
    "OrganicPurchases",
    "Outcomes",
    "Policy",
    "Requests",
    "Slate",
    "World",
    "WorldConfig",
    "WorldTruth",
    "load_world",
    "make_world",
]

"""A synthetic ad world with known truth: users with tastes, items of advertisers, and what happens between them.

    from pathlib import Path
    from lowerfunnel.world import WorldConfig, generate_world
    truth = generate_world(WorldConfig(n_users=500), Path("world"))

It is small and honest: late purchases, accidental clicks, cold items and new users are in it, and nothing measured on
it is ever called real.
"""

from lowerfunnel.world.generate import generate_world
from lowerfunnel.world.settings import WorldConfig
from lowerfunnel.world.truth import WorldTruth

__all__ = ["WorldConfig", "WorldTruth", "generate_world"]

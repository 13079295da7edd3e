"""Worlds by name."""

from dataclasses import replace

from lowerfunnel.world.settings import WorldConfig

_DEMO = WorldConfig()

PRESETS: dict[str, WorldConfig] = {
    "tiny": replace(_DEMO, days=14, n_users=300, n_items=200, n_advertisers=20, n_categories=16),
    "demo": _DEMO,
    "standard": replace(_DEMO, days=60, n_users=1_000_000, n_items=100_000, n_advertisers=2_000, n_categories=400),
}
"""`tiny` for tests, `demo` for a laptop in a minute, `standard` for training at size (10^8 impressions in 60 days)."""

"""No setting of a world is without effect."""

import dataclasses
import datetime
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.world.world_samples import TINY

from lowerfunnel.world import World, WorldConfig

# Lively enough that even what is rare happens within a few days, and with budgets that run out.
BASE = replace(
    TINY,
    days=16,
    n_users=250,
    users=replace(TINY.users, visits_per_day=1.0, bot_share=0.03),
    advertisers=replace(TINY.advertisers, daily_budget_clicks=250.0),
    season=replace(TINY.season, sale_every_days=4),
    response=replace(
        TINY.response, click_logit=-4.0, cart_logit=-3.0, checkout_logit=-1.0, save_logit=-5.0, hide_logit=-4.5
    ),
    tracking=replace(TINY.tracking, fraud_share=0.3, wrong_value_share=0.3, wrong_currency_share=0.3),
)
DAYS = (5, 14, 15)
SHARES = ("exploration", "accidental_click_rate", "fraud_rate", "mission_weight", "mission_in_taste")


def told(config: WorldConfig) -> str:
    """A hash of all that a world tells in some days."""
    world = World(config)
    digest = hashlib.sha256()
    tables = [world.item_table(), world.user_table(), world.advertiser_table()]
    for day in world.log(DAYS):
        tables += [day.events, day.truth]
    for table in tables:
        for column in table.columns:
            digest.update(str(column.to_pylist()).encode())
    return digest.hexdigest()


def leaves(settings: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        path = (*above, field.name)
        yield from leaves(value, path) if dataclasses.is_dataclass(value) else [path]


def changed(settings: Any, path: tuple[str, ...]) -> Any:
    name, *rest = path
    value = getattr(settings, name)
    return replace(settings, **{name: changed(value, tuple(rest)) if rest else another(name, value)})


def another(name: str, value: Any) -> Any:
    if isinstance(value, datetime.date):
        return value + datetime.timedelta(days=1)
    if isinstance(value, tuple):
        return (0.3, 0.3, 0.4) if name.endswith("share") else tuple(part + 0.5 for part in value)
    if isinstance(value, int):
        return value + 1
    if name.endswith("share") or name in SHARES:
        return value * (0.5 if value > 0.5 else 1.7)
    return value * 0.8 + 0.03


@pytest.fixture(scope="module")
def unchanged() -> str:
    return told(BASE)


@pytest.mark.slow
@pytest.mark.parametrize("path", list(leaves(BASE)), ids=".".join)
def test_every_setting_changes_the_world(unchanged, path):
    assert told(changed(BASE, path)) != unchanged


def test_the_same_settings_tell_the_same(unchanged):
    assert told(BASE) == unchanged

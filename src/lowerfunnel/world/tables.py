"""The world's log, catalogue and users as canonical Arrow tables, with words that a person can read."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lowerfunnel.events.schema import ACTIONS, event_schema, item_schema, user_schema
from lowerfunnel.world.population import Ints, Population
from lowerfunnel.world.rows import SURFACES, EventRows
from lowerfunnel.world.settings import WorldConfig

CURRENCY = "USD"
PRODUCTS = (
    "running shoes", "desk lamp", "coffee grinder", "rain jacket", "yoga mat", "headphones", "backpack", "watch",
    "garden chair", "bike helmet", "wool blanket", "chef's knife", "board game", "face cream", "travel mug", "tent",
    "picture frame", "keyboard", "summer dress", "dog bed", "guitar", "baby stroller", "sunglasses", "bookshelf",
    "water bottle", "denim jeans", "plant pot", "camera lens", "pillow", "toy train", "lipstick", "electric drill",
    "swimsuit", "phone case", "tea set", "hiking boots", "wall clock", "sweater", "scented candle", "fishing rod",
)  # fmt: skip
COLOURS = ("black", "white", "blue", "green", "red", "grey", "yellow", "brown")
AGES = ("18-24", "25-34", "35-44", "45-54", "55+")


def category_names(count: int) -> list[str]:
    """Name the kinds of products; past the known ones they are numbered."""
    rounds = range(1, 1 + -(-count // len(PRODUCTS)))
    return [product if turn == 1 else f"{product} {turn}" for turn in rounds for product in PRODUCTS][:count]


def event_table(rows: EventRows, people: Population, config: WorldConfig, *, first: int) -> pa.Table:
    """Return events in the canonical schema; `first` is the running number of the first of them."""
    midnight = datetime.datetime.combine(config.start, datetime.time(), tzinfo=datetime.UTC)
    start_us = int(midnight.timestamp()) * 1_000_000
    seq = pa.array(np.arange(first, first + len(rows), dtype=np.int64))
    currency = pa.array(np.where(np.isnan(rows.value_N), -1, 0))
    columns: dict[str, pa.Array] = {
        "event_id": pc.binary_join_element_wise("e", pc.cast(seq, pa.string()), ""),
        "ts": pa.array(start_us + rows.t_us_N).cast(pa.timestamp("us", tz="UTC")),
        "seq": seq,
        "user_id": pa.array(people.user_id_U[rows.user_N]),
        "item_id": pa.array(people.item_id_I[rows.item_N]),
        "action": _name(rows.action_N.astype(np.int64), ACTIONS),
        "surface": _name(rows.surface_N.astype(np.int64), SURFACES),
        "request_id": pc.binary_join_element_wise("r", _known(rows.request_N).cast(pa.string()), ""),
        "position": _known(rows.position_N).cast(pa.int32()),
        "dwell_s": pa.array(np.round(rows.dwell_s_N, 3), from_pandas=True),
        "value": pa.array(rows.value_N, from_pandas=True),
        "currency": pc.take(pa.array([CURRENCY]), _known(currency.to_numpy())),
        "context_item_id": pc.take(pa.array(people.item_id_I), _known(rows.context_N)),
        "query": _name(rows.query_N, category_names(config.n_categories)),
    }
    return pa.table(columns, schema=event_schema("int64", "int64"))


def item_table(people: Population, categories: list[str], rng: np.random.Generator) -> pa.Table:
    """Return the catalogue, sorted by id; colour and condition mean nothing, as so much in a catalogue."""
    order = np.argsort(people.item_id_I)
    colour = rng.integers(0, len(COLOURS), len(order))
    used = rng.random(len(order)) < 0.1
    number = people.item_id_I[order]
    columns: dict[str, list[object] | pa.Array] = {
        "item_id": pa.array(number),
        "advertiser_id": [f"advertiser {a + 1:03d}" for a in people.item_advertiser_I[order]],
        "category_id": [categories[k] for k in people.item_category_I[order]],
        "price": pa.array(people.item_price_I[order]),
        "currency": [CURRENCY] * len(order),
        "title": [
            f"{COLOURS[c]} {categories[k]} no. {i - number[0] + 1}"
            for c, k, i in zip(colour, people.item_category_I[order], number, strict=True)
        ],
        "attributes": [
            [f"colour={COLOURS[c]}", "condition=used" if u else "condition=new"]
            for c, u in zip(colour, used, strict=True)
        ],
        "content": list(people.item_content_IC[order].astype(np.float32)),
    }
    return pa.table(columns, schema=item_schema("int64"))


def user_table(people: Population, categories: list[str], rng: np.random.Generator) -> pa.Table:
    """Return the users, sorted by id. Two in three have named an interest, which is mostly true."""
    order = np.argsort(people.user_id_U)
    age = rng.integers(0, len(AGES), len(order))
    told = rng.random(len(order)) < 2 / 3
    honest = rng.random(len(order)) < 0.8
    first = people.user_taste_UT[order, np.argmax(people.user_taste_weight_UT[order], axis=1)]
    interest: Ints = np.where(honest, first, rng.integers(0, len(categories), len(order)))
    attributes = [
        [f"age={AGES[a]}", f"interest={categories[k]}"] if t else [f"age={AGES[a]}"]
        for a, k, t in zip(age, interest, told, strict=True)
    ]
    return pa.table({"user_id": people.user_id_U[order], "attributes": attributes}, schema=user_schema("int64"))


def _known(values: Ints) -> pa.Array:
    """Return -1 as null."""
    return pa.array(values, mask=values < 0)


def _name(codes: Ints, names: tuple[str, ...] | list[str]) -> pa.Array:
    return pc.take(pa.array(list(names), pa.string()), _known(codes))

"""The world's log, catalogue, users and advertisers as Arrow tables, with words that a person can read."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lowerfunnel.events.schema import ACTIONS, event_schema, item_schema, user_schema
from lowerfunnel.world.chance import Stream, generator
from lowerfunnel.world.journeys import CAUSES, Journeys
from lowerfunnel.world.people import AGES, COUNTRIES, DEVICES
from lowerfunnel.world.policy import SURFACES, Bools, Ints
from lowerfunnel.world.population import Population
from lowerfunnel.world.rows import CURRENCIES, EventRows
from lowerfunnel.world.tracking import Trackers

COLOURS = ("black", "white", "blue", "green", "red", "grey", "yellow", "brown")
EVENTS_A_DAY = 10_000_000_000
"""Numbers set aside for the events of one day."""
NAMES_INTEREST, TELLS_TRUTH = 2 / 3, 0.8

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.int64(), nullable=False),
        pa.field("item_id", pa.int64(), nullable=False),
        pa.field("advertiser_id", pa.string(), nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("cause", pa.string(), nullable=False),
        pa.field("look_ts", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("checkout_ts", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("order_value", pa.float64(), nullable=False),
        pa.field("returned", pa.bool_(), nullable=False),
        pa.field("reported", pa.bool_(), nullable=False),
    ]
)
"""One row per purchase that truly was: what led to it ("click", "view" of an ad, or "organic"), its order value in USD,
whether it came back, and whether the platform was told of it at all."""


def event_table(rows: EventRows, population: Population, *, day: int, start_us: int) -> pa.Table:
    """Return the events of a day in the canonical schema; `start_us` is the start of the log since 1970."""
    number = day * EVENTS_A_DAY + np.arange(len(rows))
    own = np.where(rows.repeats_N >= 0, day * EVENTS_A_DAY + rows.repeats_N, number)
    item_id = pa.array(population.items.item_id_I)
    columns: dict[str, pa.Array] = {
        "event_id": _prefixed("e", pa.array(own)),
        "ts": _moments(start_us + rows.t_us_N),
        "seq": pa.array(number),
        "user_id": pa.array(population.users.user_id_U[rows.user_N]),
        "item_id": pa.array(population.items.item_id_I[rows.item_N]),
        "action": _name(rows.action_N, ACTIONS),
        "surface": _name(rows.surface_N, SURFACES),
        "request_id": _prefixed("r", _known(rows.request_N)),
        "position": _known(rows.position_N).cast(pa.int32()),
        "dwell_s": pa.array(np.round(rows.dwell_s_N, 3), from_pandas=True),
        "value": pa.array(rows.value_N, from_pandas=True),
        "currency": _name(rows.currency_N, CURRENCIES),
        "context_item_id": pc.take(item_id, _known(rows.context_N)),
        "query": _name(rows.query_N, population.categories.path_K),
        "propensity": pa.array(rows.propensity_N, from_pandas=True),
        "received_ts": _moments(np.where(rows.received_us_N >= 0, start_us + rows.received_us_N, -1)),
    }
    return pa.table(columns, schema=event_schema("int64", "int64"))


def truth_table(journeys: Journeys, reported_J: Bools, population: Population, *, start_us: int) -> pa.Table:
    """Return the purchases among some journeys as they truly were."""
    bought = journeys.take(journeys.bought_J)
    advertiser = population.items.advertiser_I[bought.item_J]
    columns: dict[str, pa.Array] = {
        "user_id": pa.array(population.users.user_id_U[bought.user_J]),
        "item_id": pa.array(population.items.item_id_I[bought.item_J]),
        "advertiser_id": _name(advertiser, population.advertisers.advertiser_id_A),
        "request_id": _prefixed("r", _known(bought.request_J)),
        "cause": _name(bought.cause_J, CAUSES),
        "look_ts": _moments(start_us + bought.look_us_J),
        "checkout_ts": _moments(start_us + bought.checkout_us_J),
        "order_value": pa.array(bought.order_value_J),
        "returned": pa.array(bought.returned_J),
        "reported": pa.array(reported_J[journeys.bought_J]),
    }
    return pa.table(columns, schema=TRUTH_SCHEMA)


def item_table(population: Population, *, seed: int) -> pa.Table:
    """Return the catalogue, sorted by id; colour and condition mean nothing, as so much in a catalogue."""
    rng = generator(seed, Stream.POPULATION, 10)
    items, categories = population.items, population.categories
    colour = rng.integers(0, len(COLOURS), len(items))
    used = rng.random(len(items)) < 0.1
    kind, department = categories.kind_K, categories.departments
    number = items.item_id_I - items.item_id_I[0] + 1
    columns: dict[str, list[object] | pa.Array] = {
        "item_id": pa.array(items.item_id_I),
        "advertiser_id": _name(items.advertiser_I, population.advertisers.advertiser_id_A),
        "category_id": _name(items.category_I, categories.path_K),
        "price": pa.array(items.price_I),
        "currency": ["USD"] * len(items),
        "title": [f"{COLOURS[c]} {kind[k]} no. {n}" for c, k, n in zip(colour, items.category_I, number, strict=True)],
        "attributes": [
            [f"colour={COLOURS[c]}", "condition=used" if u else "condition=new", f"department={department[k]}"]
            for c, u, k in zip(colour, used, items.category_I, strict=True)
        ],
        "content": _vectors(items.content_IC),
        "visual": _vectors(items.visual_IC),
    }
    return pa.table(columns, schema=item_schema("int64"))


def user_table(population: Population, *, seed: int) -> pa.Table:
    """Return the users, sorted by id. Two in three have named an interest, which is mostly true."""
    rng = generator(seed, Stream.POPULATION, 11)
    users, kind = population.users, population.categories.path_K
    told = rng.random(len(users)) < NAMES_INTEREST
    first = users.taste_UT[np.arange(len(users)), np.argmax(users.taste_weight_UT, axis=1)]
    honest = rng.random(len(users)) < TELLS_TRUTH
    interest = np.where(honest, first, rng.integers(0, len(kind), len(users)))
    attributes = [
        [f"country={COUNTRIES[c]}", f"device={DEVICES[d]}", f"age={AGES[a]}", *([f"interest={kind[k]}"] if t else [])]
        for c, d, a, k, t in zip(users.country_U, users.device_U, users.age_U, interest, told, strict=True)
    ]
    return pa.table({"user_id": users.user_id_U, "attributes": attributes}, schema=user_schema("int64"))


def advertiser_table(population: Population, trackers: Trackers) -> pa.Table:
    """Return the advertisers: what a platform knows of them, and behind `true_` what it does not."""
    advertisers, items = population.advertisers, population.items
    return pa.table(
        {
            "advertiser_id": advertisers.advertiser_id_A,
            "items": np.bincount(items.advertiser_I, minlength=len(advertisers)),
            "bid": np.round(advertisers.bid_A, 4),
            "daily_budget": np.round(advertisers.daily_budget_A, 2),
            "currency": ["USD"] * len(advertisers),
            "true_trust": advertisers.trust_A,
            "true_landing": advertisers.landing_A,
            "true_report_share": trackers.report_A,
            "true_duplicate_share": trackers.duplicate_A,
            "true_delay_h": trackers.delay_h_A,
            "true_is_fraud": trackers.is_fraud_A,
        }
    )


def _known(values: Ints | np.typing.NDArray[np.int8]) -> pa.Array:
    """Return -1 as null."""
    return pa.array(values, mask=values < 0)


def _name(codes: Ints | np.typing.NDArray[np.int8], names: tuple[str, ...] | list[str]) -> pa.Array:
    return pc.take(pa.array(list(names), pa.string()), _known(codes))


def _prefixed(prefix: str, numbers: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(prefix, numbers.cast(pa.string()), "")


def _moments(t_us: Ints) -> pa.Array:
    return pa.array(t_us, mask=t_us < 0).cast(pa.timestamp("us", tz="UTC"))


def _vectors(vector_IC: np.typing.NDArray[np.float32]) -> pa.Array:
    width = vector_IC.shape[1]
    return pa.FixedSizeListArray.from_arrays(pa.array(vector_IC.ravel()), width).cast(pa.list_(pa.float32()))

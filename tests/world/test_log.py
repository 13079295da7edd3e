"""The log of a world: canonical, consistent, and no better than a real one."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.world.test_tracking import PERFECT
from tests.world.world_samples import lively

from lowerfunnel.events.schema import event_schema, item_schema, user_schema
from lowerfunnel.world import World
from lowerfunnel.world.tables import TRUTH_SCHEMA

CONFIG = replace(lively(), days=6)


@pytest.fixture(scope="module")
def world():
    return World(CONFIG)


@pytest.fixture(scope="module")
def days(world):
    return list(world.log())


@pytest.fixture(scope="module")
def events(days):
    return pa.concat_tables([day.events for day in days])


@pytest.fixture(scope="module")
def truth(days):
    return pa.concat_tables([day.truth for day in days])


def of_action(events, *actions):
    return events.filter(pc.is_in(events["action"], pa.array(actions)))


def test_the_tables_have_the_canonical_schemas(world, events, truth):
    assert events.schema.equals(event_schema("int64", "int64"))
    assert world.item_table().schema.equals(item_schema("int64"))
    assert world.user_table().schema.equals(user_schema("int64"))
    assert truth.schema.equals(TRUTH_SCHEMA)


def test_days_come_in_any_order_and_one_by_one(world, days):
    other = World(CONFIG)
    for day in (4, 1):
        again = next(other.log([day]))
        assert again.events.equals(days[day].events)
        assert again.truth.equals(days[day].truth)
    assert not next(World(replace(CONFIG, seed=1)).log([1])).events.equals(days[1].events)


def test_ids_are_known_and_events_unique_but_for_repeated_reports(world, events):
    assert pc.all(pc.is_in(events["item_id"], pa.array(world.item_id_I))).as_py()
    assert pc.all(pc.is_in(events["user_id"], pa.array(world.user_id_U))).as_py()
    assert pc.count_distinct(events["seq"]).as_py() == len(events)
    per_id = events.group_by("event_id").aggregate([("seq", "count"), ("ts", "count_distinct"), ("action", "min")])
    repeated = per_id.filter(pc.field("seq_count") > 1)
    assert 0 < len(repeated) < 0.05 * len(events)
    assert pc.max(per_id["seq_count"]).as_py() == 2
    assert pc.max(per_id["ts_count_distinct"]).as_py() == 1
    assert set(repeated["action_min"].to_pylist()) <= {"view", "add_to_cart", "checkout", "return"}


def test_nothing_lies_outside_the_log_nor_arrives_after_it(world, events):
    start, end = world.start_us, world.start_us + CONFIG.days * 86_400_000_000
    ts = events["ts"].cast(pa.int64()).to_numpy()
    received = pc.drop_null(events["received_ts"]).cast(pa.int64()).to_numpy()
    assert start <= ts.min() < ts.max() < end
    assert received.max() < end
    assert received.max() > end - 3_600_000_000 * 6


def test_some_purchases_were_and_are_not_in_the_log_yet(events, truth):
    assert truth["reported"].to_numpy().mean() < 0.97
    assert len(of_action(events, "checkout")) < len(truth)


@pytest.mark.parametrize(
    ("later", "earlier"), [("checkout", "add_to_cart"), ("add_to_cart", "view"), ("click", "impression")]
)
def test_nothing_happens_before_what_leads_to_it(later, earlier):
    perfect = World(replace(CONFIG, tracking=PERFECT))
    events = pa.concat_tables([day.events for day in perfect.log()])
    keys = ["user_id", "item_id"]
    first = of_action(events, earlier).group_by(keys).aggregate([("ts", "min")])
    joined = of_action(events, later).select([*keys, "ts"]).join(first, keys, join_type="left outer")
    assert len(joined) > 100
    assert joined["ts_min"].null_count == 0
    assert pc.all(pc.less(joined["ts_min"], joined["ts"])).as_py()


def test_requests_fill_positions_from_one_without_repeating_an_item(events):
    shown = of_action(events, "impression")
    columns = ("position", "item_id", "ts", "user_id", "surface")
    requests = shown.group_by("request_id").aggregate(
        [("position", "min"), ("position", "max"), *((column, "count_distinct") for column in columns)]
    )
    slots = CONFIG.traffic.slots
    for column, value in (("position_min", 1), ("position_max", slots), ("position_count_distinct", slots),
                          ("item_id_count_distinct", slots), ("ts_count_distinct", 1), ("user_id_count_distinct", 1),
                          ("surface_count_distinct", 1)):  # fmt: skip
        assert pc.unique(requests[column]).to_pylist() == [value], column


def test_propensities_stand_at_impressions_and_nowhere_else(events):
    shown = of_action(events, "impression")
    propensity = shown["propensity"].to_numpy()
    assert ((propensity > 0) & (propensity <= 1)).all()
    assert events["propensity"].null_count == len(events) - len(shown)


def test_context_belongs_to_related_and_queries_to_search(world, events):
    shown = of_action(events, "impression", "click", "save", "hide")
    surfaces = shown["surface"].to_pylist()
    assert set(surfaces) == {"homefeed", "related", "search"}
    assert [s == "related" for s in surfaces] == shown["context_item_id"].is_valid().to_pylist()
    assert [s == "search" for s in surfaces] == shown["query"].is_valid().to_pylist()
    assert set(pc.unique(pc.drop_null(shown["query"])).to_pylist()) <= set(world.queries)


def test_values_dwell_and_arrival_stand_where_they_belong(events):
    for column, actions in (
        ("value", {"checkout", "return"}),
        ("currency", {"checkout", "return"}),
        ("dwell_s", {"click"}),
        ("received_ts", {"view", "add_to_cart", "checkout", "return"}),
        ("request_id", {"impression", "click", "save", "hide"}),
    ):
        present = events.filter(events[column].is_valid())
        assert set(pc.unique(present["action"]).to_pylist()) == actions, column
        assert len(of_action(events, *actions)) == len(present), column
    assert pc.min(events["value"]).as_py() > 0
    assert pc.min(events["dwell_s"]).as_py() > 0


def test_the_truth_names_what_led_to_each_purchase(events, truth):
    causes = truth["cause"].value_counts()
    assert {each["values"].as_py() for each in causes} == {"click", "view", "organic"}
    by_ad = pc.not_equal(truth["cause"], "organic")
    assert pc.all(pc.equal(by_ad, truth["request_id"].is_valid())).as_py()
    # Every ad behind a purchase was shown, to this user, with this item.
    ads = truth.filter(by_ad).select(["request_id", "user_id", "item_id"])
    shown = of_action(events, "impression").select(["request_id", "user_id", "item_id"])
    assert len(ads.join(shown, ["request_id", "user_id", "item_id"], join_type="left anti")) == 0
    assert pc.all(pc.less(truth["look_ts"], truth["checkout_ts"])).as_py()


def test_ads_are_credited_more_than_they_cause(events, truth):
    """Last click within a week also takes purchases that needed no ad: what incrementality is about."""
    keys = ["user_id", "item_id"]
    clicks = of_action(events, "click").group_by(keys).aggregate([("ts", "min")])
    organic = truth.filter(pc.equal(truth["cause"], "organic")).select([*keys, "checkout_ts"])
    joined = organic.join(clicks, keys, join_type="inner")
    credited = pc.sum(pc.less(joined["ts_min"], joined["checkout_ts"])).as_py()
    assert credited > 0


def test_the_catalogue_is_readable_and_sorted(world):
    items, users = world.item_table(), world.user_table()
    for table, column in ((items, "item_id"), (users, "user_id")):
        ids = table[column].to_numpy()
        assert (np.diff(ids) > 0).all()
    assert pc.count_distinct(items["advertiser_id"]).as_py() == CONFIG.n_advertisers
    assert pc.min(items["price"]).as_py() > 0
    assert {len(vector) for vector in items["content"].to_pylist()} == {CONFIG.items.content_dim}
    assert {len(vector) for vector in items["visual"].to_pylist()} == {CONFIG.items.visual_dim}
    assert any(word in items["title"][0].as_py() for word in items["category_id"][0].as_py().split(" > ")[1].split())
    tokens = {token.partition("=")[0] for row in users["attributes"].to_pylist() for token in row}
    assert tokens == {"country", "device", "age", "interest"}
    advertisers = world.advertiser_table()
    assert advertisers["advertiser_id"].to_pylist() == world.advertiser_ids
    assert pc.sum(advertisers["items"]).as_py() == CONFIG.n_items

import datetime
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lowerfunnel.config import load_settings
from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.events.schema import event_schema, item_schema, user_schema
from lowerfunnel.world import WorldConfig, WorldTruth, generate_world

SMALL = WorldConfig(n_users=700, n_items=500, n_advertisers=30, n_categories=12, days=28)
FILES = ("events.parquet", "items.parquet", "users.parquet", "truth.safetensors", "world.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("worlds") / "small"
    generate_world(SMALL, out)
    return out


@pytest.fixture(scope="module")
def events(folder):
    return pq.read_table(folder / "events.parquet")


@pytest.fixture(scope="module")
def items(folder):
    return pq.read_table(folder / "items.parquet")


@pytest.fixture(scope="module")
def truth(folder):
    return WorldTruth.load(folder)


def of_action(events, action):
    return events.filter(pc.field("action") == action)


def count(events, action):
    return of_action(events, action).num_rows


def rows_of(ids, wanted):
    """Positions of source ids in the truth."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]


def test_the_same_settings_give_the_same_bytes_and_another_seed_does_not(tmp_path, folder):
    generate_world(SMALL, tmp_path / "again")
    generate_world(replace(SMALL, seed=1), tmp_path / "other")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes(), name


def test_the_tables_have_the_canonical_schemas(folder):
    assert pq.read_schema(folder / "events.parquet").equals(event_schema("int64", "int64"))
    assert pq.read_schema(folder / "items.parquet").equals(item_schema("int64"))
    assert pq.read_schema(folder / "users.parquet").equals(user_schema("int64"))


def test_ids_are_unique_and_known(folder, events, items):
    users = pq.read_table(folder / "users.parquet")
    for table, column in ((events, "event_id"), (events, "seq"), (items, "item_id"), (users, "user_id")):
        assert pc.count_distinct(table[column]).as_py() == table.num_rows, column
    assert items.num_rows == SMALL.n_items
    assert users.num_rows == SMALL.n_users
    assert pc.all(pc.is_in(events["item_id"], items["item_id"].combine_chunks())).as_py()
    assert pc.all(pc.is_in(events["user_id"], users["user_id"].combine_chunks())).as_py()
    assert pc.count_distinct(items["advertiser_id"]).as_py() == SMALL.n_advertisers


def test_every_event_lies_within_the_log(events):
    start = datetime.datetime.combine(SMALL.start, datetime.time(), tzinfo=datetime.UTC)
    assert pc.min(events["ts"]).as_py() >= start
    assert pc.max(events["ts"]).as_py() < start + datetime.timedelta(days=SMALL.days)


@pytest.mark.parametrize(
    ("later", "earlier"), [("checkout", "add_to_cart"), ("add_to_cart", "view"), ("click", "impression")]
)
def test_nothing_happens_before_what_leads_to_it(events, later, earlier):
    keys = ["user_id", "item_id"]
    first = of_action(events, earlier).group_by(keys).aggregate([("ts", "min")])
    joined = of_action(events, later).select([*keys, "ts"]).join(first, keys, join_type="left outer")
    assert joined.num_rows > 0
    assert joined["ts_min"].null_count == 0
    assert pc.all(pc.less(joined["ts_min"], joined["ts"])).as_py()


def test_nobody_acts_before_joining_and_nothing_is_shown_before_its_launch():
    from lowerfunnel.world.behaviour import Behaviour
    from lowerfunnel.world.population import draw_population

    config = replace(SMALL, late_user_share=0.5, late_item_share=0.5)
    rng = np.random.default_rng(3)
    people = draw_population(config, rng)
    rows = Behaviour(config, people, WorldTruth.of(config, people)).live(rng, np.arange(config.n_users), 0)
    assert (rows.t_us_N >= people.user_joins_us_U[rows.user_N]).all()
    assert (rows.t_us_N >= people.item_launched_us_I[rows.item_N]).all()
    assert (people.user_joins_us_U[rows.user_N] > 0).any(), "new users are in the log"
    assert (people.item_launched_us_I[rows.item_N] > 0).any(), "cold items are in the log"


def test_rates_lie_where_those_of_a_shop_lie(events):
    assert 0.03 < count(events, "click") / count(events, "impression") < 0.15
    assert 0.05 < count(events, "add_to_cart") / count(events, "view") < 0.3
    assert 0.3 < count(events, "checkout") / count(events, "add_to_cart") < 0.8
    assert count(events, "checkout") > 0.5 * SMALL.n_users


def test_prices_values_and_dwell_times_are_positive_and_only_where_they_belong(events, items):
    bought = of_action(events, "checkout")
    assert pc.min(items["price"]).as_py() > 0
    assert pc.min(bought["value"]).as_py() > 0
    assert bought["value"].null_count == 0
    assert pc.unique(bought["currency"]).to_pylist() == ["USD"]
    assert events["value"].null_count == events.num_rows - bought.num_rows
    assert pc.min(events["dwell_s"]).as_py() > 0
    assert of_action(events, "click")["dwell_s"].null_count == 0


def test_requests_fill_positions_from_one_without_repeating_an_item(events):
    shown = of_action(events, "impression")
    requests = shown.group_by("request_id").aggregate(
        [("position", "min"), ("position", "max")]
        + [(column, "count_distinct") for column in ("position", "item_id", "ts", "user_id")]
    )
    assert pc.unique(requests["position_min"]).to_pylist() == [1]
    assert pc.max(requests["position_max"]).as_py() == SMALL.slots
    assert requests["position_max"].equals(requests["position_count_distinct"].cast(pa.int32()))
    assert requests["position_max"].equals(requests["item_id_count_distinct"].cast(pa.int32()))
    assert pc.unique(requests["ts_count_distinct"]).to_pylist() == [1]
    assert pc.unique(requests["user_id_count_distinct"]).to_pylist() == [1]


def test_context_belongs_to_related_and_queries_to_search(events):
    shown = of_action(events, "impression")
    surfaces = shown["surface"].to_pylist()
    assert set(surfaces) == {"homefeed", "related", "search"}
    assert [s == "related" for s in surfaces] == shown["context_item_id"].is_valid().to_pylist()
    assert [s == "search" for s in surfaces] == shown["query"].is_valid().to_pylist()


def test_a_purchase_is_late_hours_at_the_median_and_days_in_the_tail(events):
    keys = ["user_id", "item_id"]
    once = events.group_by([*keys, "action"]).aggregate([("ts", "min"), ("ts", "count")])
    once = once.filter(pc.field("ts_count") == 1)
    pairs = of_action(once, "checkout").join(
        of_action(once, "add_to_cart"), keys, right_suffix="_cart", join_type="inner"
    )
    delay_h = pc.subtract(pairs["ts_min"], pairs["ts_min_cart"]).cast(pa.int64()).to_numpy() / 3.6e9
    assert 3 < np.median(delay_h) < 9
    assert np.quantile(delay_h, 0.95) > 36


def test_some_clicks_are_accidents_short_and_without_a_view():
    # The share is a setting: without accidents, hardly a click is as short.
    from lowerfunnel.world.behaviour import Behaviour
    from lowerfunnel.world.population import draw_population

    def short_share(rate):
        config = replace(SMALL, accidental_click_rate=rate)
        rng = np.random.default_rng(0)
        people = draw_population(config, rng)
        rows = Behaviour(config, people, WorldTruth.of(config, people)).live(rng, np.arange(config.n_users), 0)
        clicked = ~np.isnan(rows.dwell_s_N) & (rows.surface_N >= 0)
        return (rows.dwell_s_N[clicked] < 2).mean()

    assert short_share(0.0) < 0.01
    assert short_share(0.02) > 0.1


def test_activity_and_popularity_are_heavy_tailed(events):
    per_user = np.sort(events["user_id"].value_counts().field("counts").to_numpy())[::-1]
    per_item = np.sort(events["item_id"].value_counts().field("counts").to_numpy())[::-1]
    assert per_user[: SMALL.n_users // 10].sum() > 0.3 * events.num_rows
    assert per_item[: SMALL.n_items // 10].sum() > 0.25 * events.num_rows


def test_tastes_can_be_recovered_the_truth_ranks_purchases_far_above_popularity(events, truth):
    bought = of_action(events, "checkout").sort_by("ts")
    user = rows_of(truth.user_id_U, bought["user_id"].to_numpy())
    item = rows_of(truth.item_id_I, bought["item_id"].to_numpy())
    cut = int(0.8 * len(user))
    popularity = np.bincount(item[:cut], minlength=SMALL.n_items)[None, :]

    def recall_at_20(score_NI):
        own = np.take_along_axis(score_NI, item[cut:, None], axis=1)
        return ((score_NI > own).sum(axis=1) < 20).mean()

    everything = np.arange(SMALL.n_items)[None, :]
    floor = recall_at_20(np.broadcast_to(popularity, (len(user) - cut, SMALL.n_items)))
    assert recall_at_20(truth.conversion_propensity(user[cut:, None], everything)) > 1.5 * floor
    assert recall_at_20(truth.demand(user[cut:, None], everything)) > 2 * floor


def test_carts_and_checkouts_come_at_their_true_rates(events, truth):
    carts = of_action(events, "add_to_cart")
    user = rows_of(truth.user_id_U, carts["user_id"].to_numpy())
    item = rows_of(truth.item_id_I, carts["item_id"].to_numpy())
    expected = truth.checkout_probability(user, item).sum()
    # The end of the log cuts off the latest; the rest is within four standard deviations of a sum of coins.
    assert (
        expected - 4 * np.sqrt(expected) - 0.05 * expected
        < count(events, "checkout")
        < expected + 4 * np.sqrt(expected)
    )


def test_content_tells_of_the_hidden_vectors(items, truth):
    content = np.stack(items["content"].to_numpy())
    hidden = truth.item_latent_ID[rows_of(truth.item_id_I, items["item_id"].to_numpy())]
    fitted = content @ np.linalg.lstsq(content, hidden, rcond=None)[0]
    explained = 1 - ((hidden - fitted) ** 2).sum() / (hidden**2).sum()
    assert 0.4 < explained < 0.95, "some of it, not all"


def test_the_truth_survives_its_files(folder, truth):
    again = generate_world(SMALL, folder)  # the folder holds this world already
    assert truth.config == again.config == SMALL
    pairs = np.arange(20)[:, None], np.arange(50)[None, :]
    assert (truth.conversion_propensity(*pairs) == again.conversion_propensity(*pairs)).all()


def test_world_json_counts_what_is_in_the_log(folder, events):
    world = json.loads((folder / "world.json").read_text())
    assert world["data"] == "synthetic"
    assert world["events"] == events.num_rows
    assert world["actions"] == {a: count(events, a) for a in world["actions"]}


def test_a_folder_with_other_things_is_left_alone(tmp_path, folder):
    with pytest.raises(RunError, match="already holds something else than this world"):
        generate_world(replace(SMALL, seed=1), folder)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(RunError, match="already holds something else"):
        generate_world(SMALL, file)
    with pytest.raises(RunError, match="cannot be written"):
        generate_world(SMALL, file / "below")
    assert file.read_text() == "mine"


def test_what_a_killed_run_left_behind_is_replaced(tmp_path):
    tiny = WorldConfig(n_users=5, n_items=5, n_advertisers=2, n_categories=2, days=2)
    (tmp_path / ".tiny.tmp").mkdir()
    (tmp_path / ".tiny.tmp" / "events.parquet").write_text("half")
    generate_world(tiny, tmp_path / "tiny")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny"]
    assert sorted(p.name for p in (tmp_path / "tiny").iterdir()) == sorted(FILES)


def test_a_missing_or_damaged_truth_is_named(tmp_path, folder):
    with pytest.raises(RunError, match=r"holds no synthetic world"):
        WorldTruth.load(tmp_path)
    (tmp_path / "world.json").write_bytes((folder / "world.json").read_bytes())
    (tmp_path / "truth.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(RunError, match=r"is damaged"):
        WorldTruth.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"n_categories": 1, "n_advertisers": 1},
        {"n_items": 1, "n_advertisers": 1, "slots": 20},
        {"visits_per_user": 0.0},
        {"organic_share": 1.0},
        {"late_item_share": 1.0, "late_user_share": 1.0},
        {"latent_dim": 1, "content_dim": 1, "days": 1},
        {"n_categories": 100},
    ],
)
def test_odd_worlds_are_worlds_too(tmp_path, change):
    config = replace(WorldConfig(n_users=40, n_items=30, n_advertisers=5, n_categories=6, days=10), **change)
    generate_world(config, tmp_path / "odd")
    table = pq.read_table(tmp_path / "odd" / "events.parquet")
    assert table.schema.equals(event_schema("int64", "int64"))
    assert (table.num_rows > 0) == (config.visits_per_user > 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_userz": 3}, r"n_userz: unexpected setting \(did you mean n_users\?\)"),
        ({"n_items": 10, "n_advertisers": 11}, r"n_advertisers=11 is more than n_items=10"),
        ({"organic_share": 1.5}, r"organic_share should be between 0 and 1, got 1.5"),
        ({"days": 0}, r"days should be at least 1, got 0"),
        ({"start": "soon"}, r"start: should be a valid date"),
    ],
)
def test_settings_that_make_no_world_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(WorldConfig, settings, source="demo.toml")

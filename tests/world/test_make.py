"""A world on disk, and settings that make none."""

import json
from dataclasses import replace

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lowerfunnel.config import load_settings
from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.world import PRESETS, WorldConfig, load_world, make_world
from lowerfunnel.world.make import memory_needed

SMALL = replace(PRESETS["tiny"], days=3)
NAMES = {"events", "truth", "items.parquet", "users.parquet", "advertisers.parquet", "world.json"}


def bytes_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("worlds") / "small"
    make_world(SMALL, out)
    return out


def test_the_same_settings_give_the_same_bytes_for_any_number_of_workers(tmp_path, folder):
    steps = []
    make_world(SMALL, tmp_path / "two", workers=2, progress=lambda done, days: steps.append((done, days)))
    assert bytes_of(tmp_path / "two") == bytes_of(folder)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    make_world(replace(SMALL, seed=1), tmp_path / "other")
    other = bytes_of(tmp_path / "other")
    assert all(other[name] != content for name, content in bytes_of(folder).items())


def test_world_json_counts_what_is_in_the_log(folder):
    world = json.loads((folder / "world.json").read_text())
    events = pq.read_table(folder / "events")
    assert world["data"] == "synthetic"
    assert world["events"] == len(events)
    assert world["actions"] == {
        action: pc.sum(pc.equal(events["action"], action)).as_py() for action in world["actions"]
    }
    assert world["true_purchases"] == len(pq.read_table(folder / "truth"))
    assert {path.name for path in folder.iterdir()} == NAMES


def test_a_world_is_drawn_again_from_its_folder(folder):
    world = load_world(folder)
    assert world.config == SMALL
    assert next(world.log([2])).events.equals(pq.read_table(folder / "events" / "day-002.parquet"))
    assert make_world(SMALL, folder).config == SMALL  # the folder holds this world already


def test_a_folder_with_other_things_is_left_alone(tmp_path, folder):
    with pytest.raises(RunError, match="already holds something else than this world"):
        make_world(replace(SMALL, seed=1), folder)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(RunError, match="already holds something else"):
        make_world(SMALL, file)
    with pytest.raises(RunError, match="cannot be written"):
        make_world(SMALL, file / "below")
    assert file.read_text() == "mine"


def test_what_a_killed_run_left_behind_is_replaced(tmp_path):
    (tmp_path / ".tiny.tmp" / "events").mkdir(parents=True)
    (tmp_path / ".tiny.tmp" / "events" / "day-099.parquet").write_text("half")
    make_world(SMALL, tmp_path / "tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert len(list((tmp_path / "tiny" / "events").iterdir())) == SMALL.days


def test_a_missing_or_damaged_world_is_named(tmp_path, folder):
    with pytest.raises(RunError, match="holds no synthetic world"):
        load_world(tmp_path)
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(RunError, match="holds no synthetic world"):
        load_world(tmp_path)
    written = json.loads((folder / "world.json").read_text())
    for spoil in ({"settings": {**written["settings"], "n_userz": 3}}, {"settings": None}, {"fingerprint": "1-old"}):
        (tmp_path / "world.json").write_text(json.dumps({**written, **spoil}))
        with pytest.raises(RunError, match="of another version or damaged; make it again"):
            load_world(tmp_path)


def test_more_memory_than_there_is_is_refused_before_any_work(tmp_path):
    huge = replace(PRESETS["standard"], n_users=2_000_000_000)
    assert memory_needed(huge, 2) == pytest.approx(2 * memory_needed(huge, 1))
    with pytest.raises(
        ConfigError, match=r"takes about \d+\.\d GB with 1 workers and \d+\.\d GB are free; lower n_users"
    ):
        make_world(huge, tmp_path / "huge")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"n_categories": 1, "n_advertisers": 1},
        {"n_items": 15, "n_advertisers": 1},
        {"users": replace(SMALL.users, visits_per_day=0.0)},
        {"traffic": replace(SMALL.traffic, platform_share=0.0)},
        {"traffic": replace(SMALL.traffic, platform_share=1.0)},
        {"users": replace(SMALL.users, late_share=1.0, bot_share=1.0)},
        {"latent_dim": 1, "items": replace(SMALL.items, content_dim=1, visual_dim=1), "days": 1},
        {"n_categories": 100},
        {"intent": replace(SMALL.intent, mission_share=0.0)},
        {"tracking": replace(SMALL.tracking, report_share=0.0)},
    ],
)
def test_odd_worlds_are_worlds_too(tmp_path, change):
    config = replace(SMALL, **{"n_users": 40, "n_items": 60, "n_advertisers": 5, **change})
    make_world(config, tmp_path / "odd")
    actions = set(pc.unique(pq.read_table(tmp_path / "odd" / "events")["action"]).to_pylist())
    shown = config.users.visits_per_day > 0 and config.traffic.platform_share > 0
    assert ("impression" in actions) == shown
    assert config.tracking.report_share > 0 or "checkout" not in actions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_userz": 3}, r"n_userz: unexpected setting \(did you mean n_users\?\)"),
        ({"n_items": 10, "n_advertisers": 11}, r"n_advertisers=11 is more than n_items=10"),
        ({"n_items": 5, "n_advertisers": 2}, r"traffic.slots=8 is more than n_items=5"),
        ({"days": 0}, r"days should be at least 1, got 0"),
        ({"start": "soon"}, r"start: should be a valid date"),
        ({"users": {"bot_share": 1.5}}, r"bot_share should be between 0 and 1, got 1.5"),
        ({"delays": {"checkout_h": -3}}, r"checkout_h should be positive, got -3"),
        ({"tracking": {"delay_h": -1.0}}, r"delay_h should not be negative, got -1"),
        ({"traffic": {"surface_share": [0.5, 0.5, 0.5]}}, r"surface_share should be three shares that add up to 1"),
        ({"response": {"accidental_click_rate": 2}}, r"accidental_click_rate should be between 0 and 1, got 2"),
        ({"intent": {"mission_days": 30}}, r"a mission ends before the next one starts"),
        ({"season": {"sale_days": 40}}, r"a sale ends before the next one starts"),
        ({"season": {"yearly_growth": -2}}, r"yearly_growth should be above -1"),
        ({"logging": {"temperature": 0}}, r"temperature should be positive, got 0"),
        ({"users": {"visits_per_day": float("nan")}}, r"visits_per_day"),
    ],
)
def test_settings_that_make_no_world_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(WorldConfig, settings, source="test")

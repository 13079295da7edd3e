"""Ranges: what they hold, and that one that cannot work is found before anything runs."""

from pathlib import Path

import pytest

from lowerfunnel.errors import ConfigError
from lowerfunnel.lab.tune.space import LoadedSpace, Range, load_space
from lowerfunnel.pipeline.recipe import load_recipe

RECIPE = """
name = "base"
[world]
[log]
synthetic = true
[[log.events]]
files = "events/*.parquet"
"""
WIDTH = '[[ranges]]\nsetting = "retrieval.tower.width"\nlow = 4\nhigh = 16\nstep = 4\n'


def loaded(folder: Path, text: str) -> LoadedSpace:
    (folder / "base.toml").write_text(RECIPE)
    (folder / "space.toml").write_text(text)
    return load_space(folder / "base.toml", folder / "space.toml")


@pytest.mark.parametrize(
    ("one", "inside", "outside"),
    [
        (Range(setting="a", low=1, high=9), [1, 9, 4], [0, 10, 2.0, 2.5, True, "2", None]),
        (Range(setting="a", low=0.1, high=9, log=True), [0.1, 9, 9.0, 2.5], [0.05, 9.5, True]),
        (Range(setting="a", low=4, high=16, step=4), [4, 8, 16], [5, 8.0, 20]),
        (Range(setting="a", low=0.0, high=1.0, step=0.1), [0.0, 0.3, 0.7, 1.0], [0.35]),
        (Range(setting="a", choices=((), (64,), "x", True)), [[], [64], "x", True], [[32], 1, None]),
    ],
)
def test_a_range_holds_what_can_be_drawn_from_it(one: Range, inside: list, outside: list) -> None:
    assert all(one.holds(value) for value in inside)
    assert not any(one.holds(value) for value in outside)


def test_a_space_changes_what_it_searches_and_what_it_sets(tmp_path: Path) -> None:
    found = loaded(tmp_path, 'settings = { "training.epochs" = 3 }\n' + WIDTH)
    recipe = found.recipe_of({"retrieval.tower.width": 8}, 5)
    assert (recipe.training.epochs, recipe.retrieval.tower.width, recipe.seed) == (3, 8, 5)


def test_a_recipe_may_hold_its_ranges_which_other_commands_leave_alone(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(RECIPE + WIDTH.replace("[[ranges]]", "[[tune.ranges]]"))
    assert [one.setting for one in load_space(path, None).space.ranges] == ["retrieval.tower.width"]
    assert load_recipe(path).name == "base"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ranges"),
        ("ranges = []\n", "at least one"),
        (WIDTH + WIDTH, "more than one range"),
        (WIDTH + "choices = [1, 2]\n", "no low, high"),
        (WIDTH.replace("step = 4\n", "log = true\nstep = 4\n"), "no step"),
        (WIDTH.replace("high = 16", "high = 4"), "low below high"),
        (WIDTH.replace("high = 16\n", ""), "needs low and high, or choices"),
        (WIDTH.replace("step = 4", "step = 0"), "step above 0"),
        (WIDTH.replace("width", "widht"), "did you mean retrieval.tower.width"),
        (WIDTH.replace("low = 4", "low = 0"), "width = 0"),
        (WIDTH.replace("retrieval.tower.width", "evaluation.bootstrap"), "cannot be searched"),
        (WIDTH.replace("retrieval.tower.width", "labels.split.test_days"), "cannot be searched"),
        ('[[ranges]]\nsetting = "training.schedule"\nchoices = ["linear", "linear"]\n', "two different choices"),
        ('[[ranges]]\nsetting = "training.schedule"\nchoices = ["linear", "wavy"]\n', "training.schedule = wavy"),
        ("seeds = []\n" + WIDTH, "seeds must be different"),
        ("sed = 1\n" + WIDTH, "sed"),
    ],
)
def test_what_cannot_work_is_one_clear_error(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(tmp_path, text)


def test_all_bad_ranges_are_named_at_once(tmp_path: Path) -> None:
    bad = '[[ranges]]\nsetting = "training.epochs"\nlow = 0\nhigh = 3\n'
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, WIDTH.replace("widht", "width").replace("low = 4", "low = -4") + bad)
    assert "width = -4" in str(caught.value)
    assert "epochs = 0" in str(caught.value)


def test_without_ranges_it_says_where_to_put_them(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(RECIPE)
    with pytest.raises(ConfigError, match=r"no table \[tune\].*--space"):
        load_space(tmp_path / "base.toml", None)
    with pytest.raises(ConfigError, match="no recipe"):
        load_space(tmp_path / "none.toml", None)

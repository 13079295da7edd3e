import datetime
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.config import describe_settings, load_settings, settings_fingerprint, settings_to_dict
from lowerfunnel.errors import ConfigError
from lowerfunnel.world import WorldConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerConfig:
    learning_rate: float = 1
    """Step size of the tower."""
    dims: tuple[int, ...] = (64, 32)
    """Widths of the layers,
    from below."""
    pooling: Literal["mean", "last"] = "mean"
    dropout: float | None = None
    l2_normalised: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributionConfig:
    click_window_h: float = 168
    """Hours after a click."""
    view_window_h: float = 24
    """Same for a view."""

    def __post_init__(self) -> None:
        if not 0 <= self.view_window_h <= self.click_window_h:
            raise ValueError(
                "a view may not be credited longer than a click: "
                f"view_window_h={self.view_window_h}, click_window_h={self.click_window_h}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FileConfig:
    path: Path
    """Where it lies."""
    columns: dict[str, str] = field(default_factory=dict)
    since: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    name: str
    """What the run is called."""
    tower: TowerConfig = TowerConfig(dims=(128,))
    attribution: AttributionConfig = field(default_factory=AttributionConfig)
    files: tuple[FileConfig, ...] = ()
    """What is read."""
    warm_up: TowerConfig | None = None
    heads: dict[str, TowerConfig] = field(default_factory=dict)


def problems(data, cls=RunConfig):
    with pytest.raises(ConfigError) as caught:
        load_settings(cls, data, source="run.toml")
    return str(caught.value)


def test_nested_tables_become_nested_settings():
    run = load_settings(
        RunConfig,
        {
            "name": "x",
            "tower": {"learning_rate": 3, "dims": [1, 2, 3], "pooling": "last"},
            "files": [{"path": "a.csv", "columns": {"user": "u"}}, {"path": "b.csv"}],
            "warm_up": {"dropout": 0.5},
            "heads": {"checkout": {"dims": []}},
        },
        source="run.toml",
    )
    assert run == RunConfig(
        name="x",
        tower=TowerConfig(learning_rate=3, dims=(1, 2, 3), pooling="last"),
        files=(FileConfig(path=Path("a.csv"), columns={"user": "u"}), FileConfig(path=Path("b.csv"))),
        warm_up=TowerConfig(dropout=0.5),
        heads={"checkout": TowerConfig(dims=())},
    )
    assert type(run.tower.learning_rate) is float


def test_all_problems_are_listed_as_the_house_style_shows():
    data = {"name": "x", "tower": {"lr": 0.1}, "attribution": {"view_window_h": 300}}
    assert problems(data) == (
        "run.toml has 2 bad settings:\n"
        "  tower.lr: unexpected setting (did you mean tower.learning_rate?)\n"
        "  attribution: a view may not be credited longer than a click: view_window_h=300.0, click_window_h=168"
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"nam": "y"}, "nam: unexpected setting (did you mean name?)"),
        (
            {"tower": {"l2-normalised": True}},
            "tower.l2-normalised: unexpected setting (did you mean tower.l2_normalised?)",
        ),
        ({"tower": {"learn_rate": 1}}, "tower.learn_rate: unexpected setting (did you mean tower.learning_rate?)"),
        ({"tower": {"rate": 1}}, "tower.rate: unexpected setting (did you mean tower.learning_rate?)"),
        ({"dropout": 0.1}, "dropout: unexpected setting (did you mean tower.dropout?)"),
        ({"towr": {"dims": []}}, "towr: unexpected setting (did you mean tower?)"),
        (
            {"files": [{"path": "a"}, {"path": "b", "colums": {}}]},
            "files.1.colums: unexpected setting (did you mean files.1.columns?)",
        ),
        ({"heads": {"lead": {"pool": 1}}}, "heads.lead.pool: unexpected setting (did you mean heads.lead.pooling?)"),
        (
            {"warm_up": {"qqq": 1}},
            "warm_up.qqq: unexpected setting (there is learning_rate, dims, pooling, dropout, l2_normalised)",
        ),
        ({"files": [{}]}, "files.0.path: needs a value and has none"),
        ({"tower": {"pooling": "max"}}, "tower.pooling: should be 'mean' or 'last', got \"max\""),
        ({"tower": 3}, "tower: should be a table of settings, got 3"),
        ({"tower": {"dims": 3}}, "tower.dims: should be a list, got 3"),
        ({"tower": {"dims": [1, 2.0]}}, "tower.dims.1: should be a whole number, got 2.0"),
        ({"tower": {"dims": [True]}}, "tower.dims.0: should be a whole number, got true"),
        ({"tower": {"learning_rate": "0.1"}}, 'tower.learning_rate: should be a number, got "0.1"'),
        ({"tower": {"learning_rate": True}}, "tower.learning_rate: should be a number, got true"),
        ({"tower": {"dropout": "x"}}, 'tower.dropout: should be a number, got "x"'),
        ({"tower": {"l2_normalised": 1}}, "tower.l2_normalised: should be true or false, got 1"),
        ({"tower": {"learning_rate": float("nan")}}, "tower.learning_rate: should be a finite number, got NaN"),
        ({"tower": {"learning_rate": float("inf")}}, "tower.learning_rate: should be a finite number, got Infinity"),
        ({"name": 3}, "name: should be a text, got 3"),
        ({"files": [{"path": 3}]}, "files.0.path: "),
    ],
)
def test_each_problem_names_the_setting_and_what_came(data, line):
    message = problems({"name": "x"} | data)
    assert message.startswith("run.toml has 1 bad setting:\n  ")
    assert message.splitlines()[1].strip().startswith(line)
    assert len(message.splitlines()) == 2


def test_a_missing_required_setting_is_named():
    assert problems({}) == "run.toml has 1 bad setting:\n  name: needs a value and has none"


def test_a_date_without_quotes_counts_as_its_text():
    data = {"name": "x", "files": [{"path": "a", "since": datetime.date(2026, 1, 2)}]}
    assert load_settings(RunConfig, data, source="run.toml").files[0].since == "2026-01-02"


towers = st.builds(
    TowerConfig,
    learning_rate=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    dims=st.lists(st.integers(-(2**63), 2**64)).map(tuple),
    pooling=st.sampled_from(["mean", "last"]),
    dropout=st.none() | st.floats(0, 1),
    l2_normalised=st.booleans(),
)
files = st.builds(FileConfig, path=st.just(Path("a/b.csv")), columns=st.dictionaries(st.text(), st.text()))
runs = st.builds(
    RunConfig,
    name=st.text(),
    tower=towers,
    files=st.lists(files, max_size=3).map(tuple),
    warm_up=st.none() | towers,
    heads=st.dictionaries(st.text(), towers, max_size=2),
)


@given(runs)
def test_settings_survive_the_way_through_json(run):
    text = json.dumps(settings_to_dict(run), allow_nan=False)
    assert load_settings(RunConfig, json.loads(text), source="x") == run


@given(runs)
def test_equal_settings_have_equal_fingerprints(run):
    again = load_settings(RunConfig, settings_to_dict(run), source="x")
    assert settings_fingerprint(again) == settings_fingerprint(run)


def test_a_whole_number_and_the_same_float_are_one_setting():
    assert settings_fingerprint(TowerConfig(learning_rate=1)) == settings_fingerprint(TowerConfig(learning_rate=1.0))


@pytest.mark.parametrize(
    "change",
    [{"learning_rate": 2}, {"dims": (64,)}, {"pooling": "last"}, {"dropout": 0.0}, {"l2_normalised": False}],
)
def test_every_setting_changes_the_fingerprint(change):
    assert settings_fingerprint(replace(TowerConfig(), **change)) != settings_fingerprint(TowerConfig())


def test_the_fingerprint_is_the_same_in_another_process():
    code = (
        "from lowerfunnel.config import settings_fingerprint\n"
        "from lowerfunnel.world import WorldConfig\n"
        "print(settings_fingerprint(WorldConfig(n_users=7)))"
    )
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == settings_fingerprint(WorldConfig(n_users=7))


def test_settings_that_no_recipe_could_hold_are_not_saved():
    with pytest.raises(ConfigError, match=r"learning_rate: should be a"):
        settings_to_dict(TowerConfig(learning_rate=float("inf")))
    with pytest.raises(ConfigError, match=r"the TowerConfig at hand has 1 bad setting:\n  dims"):
        settings_to_dict(TowerConfig(dims="ab"))


def test_settings_are_described_with_names_types_defaults_and_docstrings():
    described = {setting.name: setting for setting in describe_settings(RunConfig)}
    assert described["name"].required
    assert described["name"].description == "What the run is called."
    assert described["tower.dims"].type == "tuple[int, ...]"
    assert described["tower.dims"].default == (128,), "the default that the outer class gives"
    assert described["tower.dims"].description == "Widths of the layers, from below."
    assert described["tower.pooling"].type == '"mean" | "last"'
    assert described["attribution.click_window_h"].default == 168
    assert described["files"].default == ()
    assert described["files.N.path"].required
    assert described["files.N.path"].description == "Where it lies."
    assert described["warm_up"].default is None
    assert described["warm_up.dropout"].type == "float | None"
    assert described["heads.N.dims"].default == (64, 32)
    assert "tower" not in described


def test_every_described_default_loads_as_it_is():
    defaults = {s.name: s.default for s in describe_settings(TowerConfig)}
    assert defaults == asdict(TowerConfig())

"""Settings written as TOML are read again as they were."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.config import read_toml, to_toml
from lowerfunnel.errors import ConfigError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | texts
scalars |= st.dates() | st.times()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_is_read_again(settings):
    assert tomllib.loads(to_toml(settings)) == settings


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_survives(path):
    assert tomllib.loads(to_toml(read_toml(path))) == read_toml(path)


def test_a_setting_that_is_none_is_left_out():
    assert to_toml({"a": None, "b": {"c": None, "d": 1}}) == "[b]\nd = 1\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_no_recipe_may_hold_is_refused(value):
    with pytest.raises(ConfigError, match="cannot stand in a recipe"):
        to_toml({"a": value})

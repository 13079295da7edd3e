"""Settings laid over settings: laws, then what is merged and what is replaced."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.config import load_settings, merge_settings, settings_to_dict
from lowerfunnel.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A nested class."""

    width: int = 1
    """A number."""
    names: tuple[str, ...] = ()
    """A list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """The outermost class."""

    seed: int = 0
    """A number."""
    leaf: Leaf = field(default_factory=Leaf)
    """A table."""
    other: Leaf | None = None
    """A table that may be missing."""
    weights: dict[str, float] = field(default_factory=dict)
    """Free names."""
    leaves: tuple[Leaf, ...] = ()
    """Tables in an array."""


leaves = st.builds(Leaf, width=st.integers(0, 9), names=st.lists(st.text(max_size=2), max_size=2).map(tuple))
roots = st.builds(
    Root,
    seed=st.integers(0, 9),
    leaf=leaves,
    other=st.none() | leaves,
    weights=st.dictionaries(st.text(max_size=3), st.floats(0, 9), max_size=3),
    leaves=st.lists(leaves, max_size=2).map(tuple),
)


@given(roots, roots)
def test_all_settings_of_another_make_the_other(one, other):
    changes = settings_to_dict(other)
    if other.other is None:
        changes["other"] = None
    assert load_settings(Root, merge_settings(Root, settings_to_dict(one), changes), source="test") == other


@given(roots)
def test_no_changes_change_nothing(one):
    assert merge_settings(Root, settings_to_dict(one), {}) == settings_to_dict(one)


def test_a_table_of_settings_is_merged_and_a_table_of_free_names_replaced():
    base = {"leaf": {"width": 2, "names": ["a"]}, "weights": {"x": 1.0}}
    changed = merge_settings(Root, base, {"leaf": {"width": 3}, "weights": {"y": 2.0}})
    assert changed == {"leaf": {"width": 3, "names": ["a"]}, "weights": {"y": 2.0}}
    assert base["leaf"] == {"width": 2, "names": ["a"]}


def test_a_key_may_be_a_path_into_tables_and_arrays():
    base = {"leaves": [{"width": 1}, {"width": 2}], "weights": {"x": 1.0}}
    changes = {"leaves.1.width": 5, "weights.x": 3.0, "other.width": 4}
    assert merge_settings(Root, base, changes) == {
        "leaves": [{"width": 1}, {"width": 5}],
        "weights": {"x": 3.0},
        "other": {"width": 4},
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leaf.": 1}, "empty name"),
        ({"leaf.width": 1, "leaf": {"width": 2}}, "leaf.width.* twice"),
        ({"seed.x": 1}, "leads into seed"),
        ({"leaves.3.width": 1}, "counted from 0"),
    ],
)
def test_what_cannot_be_laid_over_is_said(changes, said):
    with pytest.raises(ConfigError, match=said):
        merge_settings(Root, {"seed": 1, "leaves": [{}]}, changes)

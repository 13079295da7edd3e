"""Categories as paths: every prefix is a token, and only of the items below it."""

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.features.category_paths import encode_paths, path_tokens, path_vocabulary

names = st.lists(st.sampled_from(["a", "b", "", " ", "c d"]), min_size=1, max_size=4).map("/".join)
columns = st.lists(st.one_of(st.none(), names), max_size=12)


def chunked(values: list[str | None]) -> pa.ChunkedArray:
    half = len(values) // 2
    return pa.chunked_array([pa.array(values[:half], pa.string()), pa.array(values[half:], pa.string())])


@pytest.mark.parametrize(
    ("category", "separator", "tokens"),
    [
        ("a.b.c", ".", ["a", "a.b", "a.b.c"]),
        ("home > garden >tools", ">", ["home", "home>garden", "home>garden>tools"]),
        ("/a//b/", "/", ["a", "a/b"]),
        ("alone", " > ", ["alone"]),
        ("/", "/", []),
    ],
)
def test_a_path_by_hand(category: str, separator: str, tokens: list[str]) -> None:
    assert path_tokens(category, separator) == tokens


@given(columns, columns)
def test_every_item_has_the_known_steps_of_its_own_path(known: list[str | None], asked: list[str | None]) -> None:
    vocabulary = path_vocabulary(chunked(known), "/")
    steps = vocabulary.ids.to_pylist()
    offsets, code = encode_paths(chunked(asked), vocabulary, "/")
    assert len(offsets) == len(asked) + 1
    for item, category in enumerate(asked):
        found = [steps[c] for c in code[offsets[item] : offsets[item + 1]]]
        assert found == [step for step in path_tokens(category or "", "/") if step in steps]
    if known == asked:
        assert set(code.tolist()) == set(range(len(steps)))
    assert set(steps) == {step for category in known for step in path_tokens(category or "", "/")}


@given(columns)
def test_the_last_step_is_the_whole_category_and_each_begins_with_the_one_above(column: list[str | None]) -> None:
    for category in column:
        path = path_tokens(category or "", "/")
        assert all(below.startswith(f"{above}/") for above, below in itertools.pairwise(path))


@given(columns)
def test_without_a_separator_there_are_no_steps(column: list[str | None]) -> None:
    vocabulary = path_vocabulary(chunked(column), None)
    offsets, code = encode_paths(chunked(column), vocabulary, None)
    assert (len(vocabulary), len(code), offsets.tolist()) == (0, 0, [0] * (len(column) + 1))

"""Side features: codes that keep the unknown apart, scaled prices, ragged tokens, content vectors."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import item_schema, user_schema
from lowerfunnel.features.entities import (
    FeatureVocabularies,
    ItemFeatures,
    UserFeatures,
    content_width,
    log_shares,
    visual_width,
)
from lowerfunnel.features.prices import PriceScale

token_lists = st.lists(st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "c=1", None]), max_size=4)), max_size=8)


def items(**columns: list[object]) -> pa.Table:
    rows = max(len(values) for values in columns.values())
    schema = item_schema("int64")
    given = {"item_id": list(range(rows)), **columns}
    return pa.table({f.name: pa.array(given.get(f.name, [None] * rows), f.type) for f in schema}, schema=schema)


def users(attributes: list[list[str] | None]) -> pa.Table:
    schema = user_schema("int64")
    return pa.table({"user_id": list(range(len(attributes))), "attributes": attributes}, schema=schema)


def features(
    table: pa.Table, known: pa.Table | None = None, *, width: int | None = None, separator: str | None = None
) -> ItemFeatures:
    """Read `table` with the vocabularies and the scale of `known`, which training saw."""
    trained = table if known is None else known
    return ItemFeatures.of(
        table,
        id_I=np.arange(len(table), dtype=np.int32),
        vocabularies=FeatureVocabularies.of(trained, users([]), ["home"], category_separator=separator),
        price_scale=PriceScale.of(trained),
        content_width=content_width(trained) if width is None else width,
        visual_width=visual_width(trained) if width is None else width,
        category_separator=separator,
        log_share_I=np.full(len(table), -1.0, np.float32),
    )


def test_codes_begin_at_one_and_the_unknown_and_the_missing_are_zero() -> None:
    known = items(advertiser_id=["b", "a", None, "b"], category_id=["x", None, "y", "x"])
    assert features(known).advertiser_I.tolist() == [2, 1, 0, 2]
    assert features(known).category_I.tolist() == [1, 0, 2, 1]
    new = features(items(advertiser_id=["c", "a"], category_id=["y", "z"]), known)
    assert (new.advertiser_I.tolist(), new.category_I.tolist()) == ([0, 1], [2, 0])


def test_prices_and_paths_are_those_of_the_catalogue_that_training_saw() -> None:
    known = items(price=[1.0, 2.0, 30.0], category_id=["a/b", "a/c", "d"])
    new = items(price=[2.0, None, 99.0], category_id=["a/c", "a/x", None])
    found = features(new, known, separator="/")
    scale = PriceScale.of(known)
    np.testing.assert_array_equal(found.price_I3, scale.scaled(new))
    np.testing.assert_array_equal(found.price_bucket_I, scale.buckets(new))
    # The vocabulary is a, a/b, a/c, d; the step x is not in it.
    assert (found.path_offsets_I1.tolist(), found.path_T.tolist()) == ([0, 2, 3, 3], [0, 2, 0])
    without = features(new, known)
    assert (without.path_offsets_I1.tolist(), without.path_T.tolist()) == ([0, 0, 0, 0], [])


def test_anything_that_is_known_beside_its_id_describes_an_item() -> None:
    table = items(
        item_id=list(range(8)),
        advertiser_id=["a", *[None] * 7],
        category_id=[None, "c", "new > leaf", *[None] * 5],
        price=[*[None] * 3, 0.0, *[None] * 4],
        attributes=[*[None] * 4, ["t"], *[None] * 3],
        content=[*[None] * 5, [1.0], None, None],
        visual=[*[None] * 6, [1.0], None],
    )
    known = pa.concat_tables([table, items(category_id=["new > other"])])
    known = known.filter(pa.array([True, True, False, *[True] * 6]))
    # The category "new > leaf" is not known, the one above it is.
    assert features(table, known, separator=" > ").described().tolist() == [True] * 7 + [False]


@given(token_lists)
def test_tokens_belong_to_their_items_and_missing_ones_to_nobody(lists: list[list[str | None] | None]) -> None:
    table = items(attributes=lists) if lists else items(attributes=[None])
    found = features(table)
    names = sorted({token for tokens in lists for token in tokens or [] if token is not None})
    offsets = found.attribute_offsets_I1
    for item, tokens in enumerate(lists):
        codes = found.attribute_T[offsets[item] : offsets[item + 1]]
        assert [names[code] for code in codes] == [token for token in tokens or [] if token is not None]
    assert offsets[-1] == len(found.attribute_T)


def test_tokens_that_training_never_saw_are_left_out() -> None:
    found = features(items(attributes=[["new", "a"], ["new"], ["b", "a"]]), items(attributes=[["a", "b"]]))
    assert found.attribute_offsets_I1.tolist() == [0, 1, 1, 3]
    assert found.attribute_T.tolist() == [0, 1, 0]


@given(token_lists)
def test_tokens_of_users_are_read_like_those_of_items(lists: list[list[str | None] | None]) -> None:
    table = users(lists)
    vocabularies = FeatureVocabularies.of(items(item_id=[1]), table, [])
    found = UserFeatures.of(table, vocabularies=vocabularies)
    assert len(found) == len(lists)
    if lists:
        as_items = features(items(attributes=lists))
        assert found.attribute_T.tolist() == as_items.attribute_T.tolist()
        assert found.attribute_offsets_U1.tolist() == as_items.attribute_offsets_I1.tolist()


def test_chunks_and_slices_of_a_table_read_as_the_whole() -> None:
    table = items(
        attributes=[["a"], None, ["b", "a"], []],
        content=[[1.0, 2.0], None, [3.0, 4.0], None],
        visual=[None, [5.0], [6.0], None],
        price=[1.0, None, 3.0, 4.0],
        category_id=["a.b", "a", None, "b"],
    )
    whole = features(table, separator=".")
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])
    chunked = features(chunked, table, separator=".")
    for name in ("attribute_T", "attribute_offsets_I1", "content_IC", "visual_IV", "price_I3", "path_T"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(chunked, name))
    tail = features(table.slice(2), table)
    np.testing.assert_array_equal(tail.content_IC, whole.content_IC[2:])
    np.testing.assert_array_equal(tail.attribute_T, whole.attribute_T[1:])


def test_shares_are_weighted_counts_with_one_mean_example_added_for_each_item() -> None:
    item_X, weight_X = np.array([0, 0, 2], np.int32), np.array([1.0, 1.0, 4.0], np.float32)
    # Total weights 2, 0 and 4; the mean example weighs 2.
    assert np.exp(log_shares(item_X, weight_X, items=3)).tolist() == pytest.approx([4 / 12, 2 / 12, 6 / 12])
    none = log_shares(np.zeros(0, np.int32), np.zeros(0, np.float32), items=4)
    assert np.exp(none).tolist() == pytest.approx([0.25] * 4)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0.125, 8)), min_size=1), st.floats(0.5, 4))
def test_shares_add_up_to_one_and_only_proportions_of_weights_count(
    rows: list[tuple[int, float]], scale: float
) -> None:
    item_X, weight_X = np.array([item for item, _ in rows], np.int32), np.array([w for _, w in rows], np.float32)
    found = log_shares(item_X, weight_X, items=5)
    assert np.exp(found).sum() == pytest.approx(1.0, rel=1e-5)
    assert log_shares(item_X, weight_X * np.float32(scale), items=5) == pytest.approx(found, abs=1e-4)


def test_content_is_zero_where_it_is_missing() -> None:
    table = items(content=[[1.0, 2.0], None, [3.0, -4.0]])
    assert (content_width(table), visual_width(table)) == (2, 0)
    assert features(table).content_IC.tolist() == [[1.0, 2.0], [0.0, 0.0], [3.0, -4.0]]
    assert content_width(items(item_id=[1])) == 0
    assert features(items(item_id=[1, 2])).content_IC.shape == (2, 0)


def test_content_of_another_length_or_without_a_number_is_refused() -> None:
    with pytest.raises(DataError, match=r"content vectors must all have length 2, some have \[3\]"):
        features(items(content=[[1.0, 2.0], [1.0, 2.0, 3.0]]), width=2)
    with pytest.raises(DataError, match=r"visual vectors must all have length 1, some have \[2\]"):
        features(items(visual=[[1.0], [1.0, 2.0]]), width=1)
    for bad in (float("nan"), float("inf"), None):
        with pytest.raises(DataError, match="content vectors must be finite, some hold NaN or infinity"):
            features(items(content=[[1.0, bad]]))


def test_features_and_vocabularies_come_back_from_disk(tmp_path: Path) -> None:
    table = items(advertiser_id=["a", None], attributes=[["t"], None], content=[[1.0], None], price=[2.0, None])
    table = table.set_column(2, table.schema.field(2), pa.array(["a > b", None]))
    people = users([["age=3"], None])
    vocabularies = FeatureVocabularies.of(table, people, ["search", "home"], category_separator=" > ")
    assert len(vocabularies.category_path) == 2
    vocabularies.save(tmp_path)
    assert FeatureVocabularies.load(tmp_path) == vocabularies
    written, read = features(table, separator=" > "), None
    written.save(tmp_path / "items.safetensors")
    read = ItemFeatures.load(tmp_path / "items.safetensors")
    for name in ItemFeatures.__slots__:
        np.testing.assert_array_equal(getattr(written, name), getattr(read, name))
        assert getattr(written, name).dtype == getattr(read, name).dtype
    own = UserFeatures.of(people, vocabularies=vocabularies)
    own.save(tmp_path / "users.safetensors")
    again = UserFeatures.load(tmp_path / "users.safetensors")
    assert again.attribute_T.tolist() == own.attribute_T.tolist() == [0]
    assert again.attribute_offsets_U1.tolist() == [0, 1, 1]

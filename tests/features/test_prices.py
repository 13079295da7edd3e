"""The scale of prices: against a plain reference, beside one's own category, in buckets, and back from disk."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.events.schema import item_schema
from lowerfunnel.features.prices import FEWEST_PRICED, PRICE_BUCKETS, PriceScale

Row = tuple[float | None, str | None]

prices = st.one_of(st.none(), st.floats(0, 1e7), st.sampled_from([0.0, 5.0]))
catalogues = st.lists(st.tuples(prices, st.sampled_from(["a", "b", None])), min_size=1, max_size=40)


def items(rows: list[Row]) -> pa.Table:
    given = {"item_id": list(range(len(rows))), "price": [p for p, _ in rows], "category_id": [c for _, c in rows]}
    schema = item_schema("int64")
    return pa.table({f.name: pa.array(given.get(f.name, [None] * len(rows)), f.type) for f in schema}, schema=schema)


def reference(known: list[Row], price: float | None, category: str | None) -> list[float]:
    if price is None:
        return [0.0, 0.0, 0.0]
    logs = [math.log1p(each) for each, _ in known if each is not None]
    own = [math.log1p(each) for each, of in known if each is not None and of == category and category is not None]
    mean = sum(logs) / len(logs) if logs else 0.0
    deviation = math.sqrt(sum((each - mean) ** 2 for each in logs) / len(logs)) if logs else 1.0
    deviation = deviation if deviation > 0 else 1.0
    beside = sum(own) / len(own) if len(own) >= FEWEST_PRICED else mean
    return [(math.log1p(price) - mean) / deviation, (math.log1p(price) - beside) / deviation, 1.0]


@given(catalogues, catalogues)
def test_every_row_equals_the_plain_reference(known: list[Row], asked: list[Row]) -> None:
    scale = PriceScale.of(items(known))
    if scale.deviation > 1e-6 * max(scale.mean, 1.0):  # Below that, only rounding tells the prices apart.
        found = scale.scaled(items(asked))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [reference(known, *row) for row in asked], rtol=1e-4, atol=1e-4)


@given(catalogues)
def test_buckets_rise_with_the_price_and_only_the_unknown_is_in_bucket_0(known: list[Row]) -> None:
    bucket = PriceScale.of(items(known)).buckets(items(known)).tolist()
    assert all((b == 0) == (price is None) and b <= PRICE_BUCKETS for b, (price, _) in zip(bucket, known, strict=True))
    by_price = sorted((price, b) for b, (price, _) in zip(bucket, known, strict=True) if price is not None)
    assert [b for _, b in by_price] == sorted(b for _, b in by_price)
    if by_price:
        assert by_price[-1][1] == PRICE_BUCKETS


@given(catalogues)
def test_a_scale_comes_back_from_disk_to_the_last_digit(known: list[Row]) -> None:
    scale = PriceScale.of(items(known))
    with tempfile.TemporaryDirectory() as folder:
        scale.save(Path(folder) / "scale.json")
        assert PriceScale.load(Path(folder) / "scale.json") == scale


def test_value_by_hand() -> None:
    # Log prices 0 and 2, five times each; only "a" has five of its own.
    low, high = 0.0, math.e**2 - 1
    rows: list[Row] = [(low, "a")] * 5 + [(high, "b")] * 4 + [(high, None), (None, "a")]
    scale = PriceScale.of(items(rows))
    assert (scale.mean, scale.deviation, scale.category_mean) == (pytest.approx(1), pytest.approx(1), {"a": 0.0})
    asked = items([(low, "a"), (high, "a"), (high, "b"), (high, "c"), (None, "a")])
    assert scale.scaled(asked).tolist() == [
        pytest.approx([-1, 0, 1]),
        pytest.approx([1, 2, 1]),
        pytest.approx([1, 1, 1]),
        pytest.approx([1, 1, 1]),
        [0, 0, 0],
    ]


def test_deciles_by_hand() -> None:
    scale = PriceScale.of(items([(float(price), None) for price in range(100)]))
    assert scale.buckets(items([(p, None) for p in (0.0, 9.0, 10.0, 55.0, 99.0, 1e9, None)])).tolist() == [
        1, 1, 2, 6, 10, 10, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(("rows", "mean"), [([(None, "a")] * 2, 0.0), ([(5.0, "a"), (5.0, "b")], math.log1p(5))])
def test_without_prices_or_with_only_one_nothing_is_divided_by_zero(rows: list[Row], mean: float) -> None:
    scale = PriceScale.of(items(rows))
    assert (scale.mean, scale.deviation) == (pytest.approx(mean), 1.0)
    assert np.isfinite(scale.scaled(items([*rows, (7.0, None)]))).all()
    assert 1 <= scale.buckets(items([(7.0, None)]))[0] <= PRICE_BUCKETS

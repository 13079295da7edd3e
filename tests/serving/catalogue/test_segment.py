from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import item_schema
from lowerfunnel.serving.catalogue.item_table import read_item_file, write_item_file
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Choice, Filters, Id
from lowerfunnel.serving.service import ItemView

RECORDS = [
    ItemRecord(
        item_id="b", advertiser_id="a1", category_id="hats", price=2.5, currency="EUR", title="Hat, groß",
        attributes=("new", "country=DE", "new"), content=(1.0, 2.0), image_url="https://example.org/b.png",
    ),
    ItemRecord(item_id="a"),
    ItemRecord(item_id="ä", advertiser_id="a2", price=0.0, currency="USD", attributes=("country=FR",)),
]  # fmt: skip


def view(record: ItemRecord) -> ItemView:
    fields = asdict(record)
    for name in ("attributes", "content", "visual"):
        del fields[name]
    return ItemView(**fields)


def same(one: CatalogueSegment, other: CatalogueSegment) -> bool:
    every = np.arange(one.items)
    every_filter = [
        Filters(country="DE"),
        Filters(attributes_all=frozenset(["new"])),
        Filters(advertisers=Choice(deny=frozenset(["a1"]))),
        Filters(categories=Choice(allow=frozenset(["hats"]))),
        Filters(least_price=1.0),
    ]
    return one.views(every) == other.views(every) and all(
        one.matching(filters).places().tolist() == other.matching(filters).places().tolist() for filters in every_filter
    )


def test_items_are_seen_as_they_were_put() -> None:
    segment = CatalogueSegment.of_records(RECORDS, "string")
    assert segment.views(np.array([2, 0, 1, 0])) == [view(RECORDS[row]) for row in (2, 0, 1, 0)]
    assert segment.views(np.zeros(0, np.int64)) == []
    assert segment.place_of("ä") == 2
    assert segment.places_of(["a", "x", "b"]).tolist() == [1, -1, 0]
    assert segment.ids_of(np.array([1, 0])) == ["a", "b"]
    codes = segment.advertiser_of(np.array([0, 1, 2]))
    assert codes[1] == -1
    assert codes[0] != codes[2]


def test_a_saved_segment_comes_back(tmp_path: Path) -> None:
    items = pa.Table.from_pylist([asdict(record) for record in RECORDS], schema=item_schema("string"))
    # Many row groups, each with dictionaries of its own.
    pq.write_table(pa.concat_tables([items]), tmp_path / "plain.parquet", row_group_size=1)
    write_item_file(pq.read_table(tmp_path / "plain.parquet"), tmp_path / "items.parquet")
    pq.write_table(read_item_file(tmp_path / "items.parquet"), tmp_path / "split.parquet", row_group_size=1)
    whole = CatalogueSegment.of(items)
    assert same(whole, CatalogueSegment.load(tmp_path / "items.parquet"))
    assert same(whole, CatalogueSegment.load(tmp_path / "split.parquet"))
    assert same(whole, CatalogueSegment.of(pa.concat_tables([items.slice(0, 1), items.slice(1, 0), items.slice(1)])))
    assert not same(whole, CatalogueSegment.of_records(list(reversed(RECORDS)), "string"))
    assert "content" not in pq.read_schema(tmp_path / "items.parquet").names


@pytest.mark.parametrize("item_type", ["int64", "string"])
def test_an_empty_segment_answers(item_type: str, tmp_path: Path) -> None:
    empty = item_schema("int64" if item_type == "int64" else "string").empty_table()
    write_item_file(empty, tmp_path / "items.parquet")
    for segment in (
        CatalogueSegment.of(empty),
        CatalogueSegment.of(pa.table({field.name: pa.chunked_array([], field.type) for field in empty.schema})),
        CatalogueSegment.of_records([], "int64" if item_type == "int64" else "string"),
        CatalogueSegment.load(tmp_path / "items.parquet"),
    ):
        filters = Filters(country="DE", most_price=1.0, items=Choice(deny=frozenset([1, "1"])))
        assert segment.allowed(filters, excluded=np.array([-1])).count == 0
        assert segment.columns.item_type == item_type
        segment.eligibility.set_budget(["a"], has_budget=False)
        segment.eligibility.set_stock([1, "1"], in_stock=False)


@pytest.mark.parametrize("damage", ["cut", "flipped", "absent", "foreign"])
def test_a_file_that_cannot_be_used_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    write_item_file(item_schema("string").empty_table(), path)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-5])
    elif damage == "flipped":
        path.write_bytes(whole[:-9] + bytes(byte ^ 255 for byte in whole[-9:]))
    elif damage == "absent":
        path.unlink()
    else:
        pq.write_table(pa.table({"item_id": ["a"]}), path)
    with pytest.raises(DataError):
        CatalogueSegment.load(path)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table({"id": [1]}), "needs a column 'item_id', got id"),
        (item_schema("int64").empty_table().drop_columns(["price"]), "needs a column 'price'"),
        (
            item_schema("int64").empty_table().set_column(3, "price", pa.array([], pa.string())),
            "column 'price' of an item table must be double, got string",
        ),
    ],
)
def test_a_table_of_another_kind_is_refused(table: pa.Table, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        CatalogueSegment.of(table)


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([ItemRecord(item_id=7)], "item ids here are string, got 7"),
        ([RECORDS[0], RECORDS[0]], "item_id must be distinct, and 'b' comes twice"),
        ([replace(RECORDS[0], title="\ud800")], "a value that the catalogue cannot hold"),
    ],
)
def test_records_that_do_not_fit_are_refused(records: list[ItemRecord], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        CatalogueSegment.of_records(records, "string")


def test_two_segments_can_count_one_advertiser_together() -> None:
    main = CatalogueSegment.of_records(RECORDS, "string")
    names: list[tuple[Id, str | None]] = [("x", "new"), ("y", "a2"), ("z", None), ("w", "a1"), ("v", "newer")]
    delta = CatalogueSegment.of_records([ItemRecord(item_id=i, advertiser_id=a) for i, a in names], "string")
    code = delta.advertiser_codes_in(main)[delta.advertiser_of(np.arange(5))]
    main_code = main.advertiser_of(np.arange(3))
    assert code[1] == main_code[2]
    assert code[3] == main_code[0]
    assert code[2] == -1
    assert len({*code[[0, 4]].tolist(), *main_code.tolist()}) == 5

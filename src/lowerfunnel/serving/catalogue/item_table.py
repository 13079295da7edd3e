"""The table that a segment is built from: checked, made of records, kept in one Parquet file."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import IdType, id_type, item_schema
from lowerfunnel.serving.records import ItemRecord

COLUMNS = ("item_id", "advertiser_id", "category_id", "price", "currency", "title", "attributes", "image_url")
"""What a segment holds of an item. Not `content` and `visual`: the item tower has read them, and nobody asks again."""

_ENCODED = ["advertiser_id", "category_id", "currency", "attributes.list.element"]


def served_schema(item_id: IdType) -> pa.Schema:
    """Return the columns that a segment is built from: those of `item_schema` but its vectors, and `image_url`."""
    full = item_schema(item_id)
    fields = [full.field(name) if name in full.names else pa.field(name, pa.string()) for name in COLUMNS]
    return pa.schema(fields)


def served_columns(items: pa.Table) -> pa.Table:
    """Pick the columns of a segment out of an item table, with nulls for an absent `image_url`.

    Raises:
        DataError: If a column is missing or of another type.
    """
    if "item_id" not in items.column_names:
        raise DataError(f"an item table needs a column 'item_id', got {', '.join(items.column_names) or 'no columns'}")
    schema = served_schema("int64" if items.schema.field("item_id").type == pa.int64() else "string")
    if "image_url" not in items.column_names:
        items = items.append_column("image_url", pa.nulls(items.num_rows, pa.string()))
    for field in schema:
        if field.name not in items.column_names:
            raise DataError(f"an item table needs a column {field.name!r}; import the log again to get it")
        came = _plain(items.schema.field(field.name).type)
        if came != field.type:
            raise DataError(f"column {field.name!r} of an item table must be {field.type}, got {came}")
    return items.select(COLUMNS)


def table_of_records(records: Sequence[ItemRecord], item_type: IdType) -> pa.Table:
    """Return the item table of some records, in their order.

    Raises:
        DataError: If an id is not of `item_type`; integers are never read as strings or strings as integers.
    """
    wanted = int if item_type == "int64" else str
    for record in records:
        if type(record.item_id) is not wanted:
            raise DataError(f"item ids here are {item_type}, got {record.item_id!r}; send the id as the log has it")
    columns: dict[str, list[object]] = {name: [getattr(record, name) for record in records] for name in COLUMNS}
    try:
        return pa.table(columns, schema=served_schema(item_type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        raise DataError(f"an item has a value that the catalogue cannot hold: {error}") from error


def write_item_file(items: pa.Table, path: Path) -> None:
    """Write what a segment needs of an item table to one Parquet file."""
    pq.write_table(served_columns(items), path, compression="zstd")


def read_item_file(path: Path) -> pa.Table:
    """Read what `write_item_file` wrote, repeated strings as dictionaries.

    Raises:
        DataError: If the file is missing, damaged, or holds something else.
    """
    try:
        return served_columns(pq.read_table(path, read_dictionary=_ENCODED))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read as an item table: {error}; publish the version again") from error


def item_type_of(items: pa.Table) -> IdType:
    """Return the type of a checked table's item ids."""
    return "int64" if items.schema.field("item_id").type == id_type("int64") else "string"


def _plain(data_type: pa.DataType) -> pa.DataType:
    """Return a type without the dictionaries that a reader may have put in."""
    if pa.types.is_dictionary(data_type):
        return data_type.value_type
    if pa.types.is_list(data_type):
        return pa.list_(_plain(data_type.value_type))
    return data_type

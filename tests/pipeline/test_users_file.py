"""Users files: ids come out as the log's ids, or not at all."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.pipeline.users_file import read_users

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


def csv_of(path, users):
    quoted = ['"' + str(user).replace('"', '""') + '"' for user in users]
    path.write_text("\n".join(["user_id", *quoted]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("users")


@given(users=st.lists(INT64, min_size=1, max_size=20))
def test_integers_come_through_both_formats_unchanged_and_once(folder, users):
    expected = list(dict.fromkeys(users))
    assert read_users(csv_of(folder / "i.csv", users), pa.int64()).to_pylist() == expected
    pq.write_table(pa.table({"user_id": users}), folder / "i.parquet")
    assert read_users(folder / "i.parquet", pa.int64()).to_pylist() == expected


@given(users=st.lists(TEXT, min_size=1, max_size=20))
def test_texts_come_through_both_formats_unchanged_and_once(folder, users):
    expected = list(dict.fromkeys(users))
    assert read_users(csv_of(folder / "t.csv", users), pa.string()).to_pylist() == expected
    pq.write_table(pa.table({"user_id": users}), folder / "t.parquet")
    assert read_users(folder / "t.parquet", pa.string()).to_pylist() == expected


@given(number=st.integers(0, 2**62), spelling=st.sampled_from(["0{}", "+{}", " {}", "{} ", "{}.0", "{}e0"]))
def test_an_integer_has_one_spelling(folder, number, spelling):
    with pytest.raises(DataError, match="user ids of this log are int64"):
        read_users(csv_of(folder / "s.csv", [spelling.format(number)]), pa.int64())


def test_what_lies_beyond_64_bits_is_no_integer_id(folder):
    with pytest.raises(DataError, match="user ids of this log are int64"):
        read_users(csv_of(folder / "b.csv", [2**63]), pa.int64())

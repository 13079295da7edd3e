"""A collection of Milvus from its build to its end, and what is said when the server is not as it should be."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lowerfunnel.errors import ConfigError, DataError, RunError, StoreError
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.milvus_collection import MilvusCollection
from lowerfunnel.index.milvus_index import MilvusIndex
from lowerfunnel.index.settings import IndexConfig, load_index

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

FloatArray = npt.NDArray[np.float32]


def client(lite: str) -> Any:
    from pymilvus import MilvusClient

    return MilvusClient(lite)


def small(lite: str, items: int = 10, **named: Any) -> tuple[MilvusIndex, FloatArray]:
    vector_ID = np.random.default_rng(items).standard_normal((items, 3)).astype(np.float32)
    return MilvusIndex.build(vector_ID, uri=lite, **named), vector_ID


def test_every_build_is_a_collection_of_its_own_and_dropping_is_explicit(lite: str) -> None:
    first, vector_ID = small(lite, prefix="mine")
    second, _ = small(lite, prefix="mine")
    assert first.collection != second.collection
    assert first.collection.startswith("mine_")
    first.drop()
    first.drop()  # gone is gone
    assert [name for name in client(lite).list_collections() if name.startswith("mine_")] == [second.collection]
    assert second.search(vector_ID, 1).item_QK.shape == (10, 1)
    with pytest.raises(RunError, match="no longer holds the collection"):
        first.search(vector_ID, 1)


def test_a_saved_index_that_was_dropped_is_named(lite: str, tmp_path: Path) -> None:
    index, _ = small(lite)
    index.save(tmp_path)
    index.drop()
    with pytest.raises(RunError, match=f"holds no collection {index.collection}: build the index again"):
        load_index(tmp_path)


def test_a_row_that_was_deleted_since_is_noticed(lite: str, tmp_path: Path) -> None:
    index, _ = small(lite)
    index.save(tmp_path)
    client(lite).delete(index.collection, ids=[4])
    with pytest.raises(RunError, match="it holds 9 rows, needed are 10"):
        load_index(tmp_path)


def test_a_vector_that_was_replaced_since_is_noticed(lite: str, tmp_path: Path) -> None:
    index, _ = small(lite)
    index.save(tmp_path)
    client(lite).upsert(index.collection, [{"id": 6, "vector": [9.0, 9.0, 9.0]}])
    with pytest.raises(RunError, match="1 of 10 vectors read back are not those written, first item 6"):
        load_index(tmp_path)


def test_an_item_that_was_added_since_is_never_answered(lite: str) -> None:
    index, _ = small(lite)
    client(lite).insert(index.collection, [{"id": 10, "vector": [900.0, 900.0, 900.0]}])
    with pytest.raises(RunError, match=r"it answered items \d+\.\.10 of 10"):
        index.search(np.ones((1, 3), np.float32), 3)


def test_the_collection_of_another_build_is_not_mistaken_for_it(lite: str, tmp_path: Path) -> None:
    index, _ = small(lite, 10)
    other, _ = small(lite, 11)
    index.save(tmp_path)
    description = tmp_path / "index.json"
    description.write_text(description.read_text().replace(index.collection, other.collection))
    with pytest.raises(RunError, match=r"is not the one that was built \(its vectors are"):
        load_index(tmp_path)


def test_a_description_without_the_collection_is_refused(lite: str, tmp_path: Path) -> None:
    index, _ = small(lite)
    index.save(tmp_path)
    description = tmp_path / "index.json"
    description.write_text(description.read_text().replace('"collection"', '"collector"'))
    with pytest.raises(RunError, match="does not say which collection to open"):
        load_index(tmp_path)


def test_a_build_that_does_not_read_back_what_it_wrote_fails_and_leaves_no_collection(
    lite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = MilvusCollection.vectors
    monkeypatch.setattr(MilvusCollection, "vectors", lambda self, place_N: read(self, place_N[::-1]))
    with pytest.raises(RunError, match="10 of 10 vectors read back are not those written, first item 0"):
        small(lite, prefix="failed")
    assert not [name for name in client(lite).list_collections() if name.startswith("failed")]


def test_what_cannot_be_is_refused(lite: str) -> None:
    index, vector_ID = small(lite)
    with pytest.raises(ValueError, match="a set over 9 items came to an index of 10"):
        index.search(vector_ID, 1, allowed=Allowed.everything(9))
    with pytest.raises(DataError, match="width 32769 came, and Milvus takes at most 32768"):
        MilvusIndex.build(np.ones((1, 32_769), np.float32), uri=lite)
    for bad in ({"links": 1}, {"links": 2049}, {"build_width": 0}, {"search_width": 0}):
        with pytest.raises(ValueError, match=r"links must lie in 2\.\.2048, and both widths be at least 1"):
            MilvusIndex.build(vector_ID, uri=lite, **bad)
    with pytest.raises(ConfigError, match=r"must begin with one of http.* got 'ftp://x'"):
        MilvusIndex.build(vector_ID, uri="ftp://x")
    with pytest.raises(RunError, match="could not be opened"):
        MilvusIndex.build(vector_ID, uri="/no/such/folder/x.db")


def test_nobody_listening_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StoreError, match=f"Milvus at http://127.0.0.1:{port} is out of reach, or slower than 2 s"):
        small(f"http://127.0.0.1:{port}", timeout_s=2)


def test_a_server_that_never_answers_does_not_hang_anyone() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(StoreError, match="is out of reach, or slower than 1 s"):
            small(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=1)
        assert time.monotonic() - begun < 5


def test_a_server_that_goes_is_noticed_and_one_that_comes_back_is_used_again(tmp_path: Path) -> None:
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path / "server.db"))
    index, vector_ID = small(f"http://127.0.0.1:{port}", timeout_s=2)
    index.save(tmp_path / "index")
    before = index.search(vector_ID, 3).item_QK.tolist()
    server.stop(grace=0).wait()
    database.close()
    begun = time.monotonic()
    for ask in (lambda: index.search(vector_ID, 3), lambda: load_index(tmp_path / "index")):
        with pytest.raises(StoreError, match="is out of reach"):
            ask()
    assert time.monotonic() - begun < 10
    server, database, _ = start_server_in_thread(str(tmp_path / "server.db"), port=port)
    try:
        assert load_index(tmp_path / "index").search(vector_ID, 3).item_QK.tolist() == before
        assert index.search(vector_ID, 3).item_QK.tolist() == before
    finally:
        server.stop(grace=0).wait()
        database.close()


_BUILD_AND_MISS = """
import sys
import numpy as np
from lowerfunnel.errors import RunError
from lowerfunnel.index.milvus_collection import MilvusCollection
from lowerfunnel.index.milvus_index import MilvusIndex
try:
    index = MilvusIndex.build(np.eye(3, dtype=np.float32), uri=sys.argv[1])
    index.search(np.eye(3, dtype=np.float32), 2)
    index.drop()
    index.search(np.eye(3, dtype=np.float32), 2)
except RunError as error:
    print(error)
"""


def test_a_folder_that_another_process_has_open_is_named(lite: str) -> None:
    small(lite)
    other = subprocess.run(
        [sys.executable, "-W", "error", "-c", _BUILD_AND_MISS, lite], capture_output=True, text=True, check=True
    )
    assert other.stdout.startswith(f"{lite} is open in another process, and Milvus Lite lets one process at a time")
    assert not other.stderr


def test_nothing_is_printed_not_even_when_a_call_fails(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _BUILD_AND_MISS, str(tmp_path / "own.db")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no longer holds the collection" in done.stdout
    assert not done.stderr


def test_the_token_comes_from_the_environment_and_is_written_nowhere(
    lite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = "MILVUS_SECRET"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match="environment variable MILVUS_SECRET, which is to hold Milvus' token, is not"):
        small(lite, token_env=variable)
    monkeypatch.setenv(variable, "root:hunter2")
    index, _ = small(lite, token_env=variable)
    index.save(tmp_path)
    assert variable in (tmp_path / "index.json").read_text()
    assert not any(b"hunter2" in file.read_bytes() for file in tmp_path.iterdir())
    assert load_index(tmp_path).items == 10


def test_settings_make_the_index(lite: str) -> None:
    config = IndexConfig(kind="milvus", milvus_uri=lite, milvus_prefix="ads", hnsw_links=5, hnsw_build_width=21)
    index = config.build(np.eye(4, 3, dtype=np.float32))
    assert isinstance(index, MilvusIndex)
    assert index.collection.startswith("ads_")
    described = client(lite).describe_index(index.collection, "vector")
    assert (int(described["params"]["M"]), int(described["params"]["efConstruction"])) == (5, 21)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"kind": "milvus"}, "needs milvus_uri"),
        ({"kind": "milvus", "milvus_uri": "x.db", "hnsw_links": 2049}, "at most 2048 links"),
        ({"milvus_uri": "https://root:hunter2@host:19530"}, "holds a user or a password"),
        ({"milvus_uri": "host:19530"}, "must begin with one of"),
        ({"milvus_prefix": "a-b"}, "milvus_prefix must be"),
        ({"milvus_timeout_s": 0.0}, "must be above 0"),
        ({"milvus_build_timeout_s": float("inf")}, "must be above 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        IndexConfig(**bad)
    assert "hunter2" not in str(refused.value)

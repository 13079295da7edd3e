"""A folder that holds no index, another's or a damaged one is refused before anything is parsed."""

import json
from pathlib import Path

import numpy as np
import pytest

from lowerfunnel.errors import RunError
from lowerfunnel.index.faiss_index import FaissIndex
from lowerfunnel.index.settings import IndexConfig, IndexKind, load_index
from lowerfunnel.index.storage import open_index, vectors_of_exact

KINDS: list[IndexKind] = ["exact", "faiss_flat", "faiss_hnsw", "faiss_ivf", "faiss_ivfpq"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def saved(folder: Path, kind: IndexKind) -> Path:
    IndexConfig(kind=kind).build(np.eye(60, 8, dtype=np.float32)).save(folder)
    return folder / str(json.loads((folder / "index.json").read_text())["file"])


@each_kind
def test_every_flipped_byte_is_noticed(tmp_path: Path, kind: IndexKind) -> None:
    data = saved(tmp_path, kind)
    content = data.read_bytes()
    for place in np.linspace(0, len(content) - 1, 25).astype(int):
        data.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(RunError, match="damaged or belongs to another index"):
            load_index(tmp_path)


@each_kind
def test_a_truncated_file_is_noticed(tmp_path: Path, kind: IndexKind) -> None:
    data = saved(tmp_path, kind)
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(RunError, match="build the index again"):
        load_index(tmp_path)


@pytest.mark.parametrize("kind", ["exact", "faiss_flat"])
def test_what_was_checked_is_what_is_read_though_the_file_is_replaced(tmp_path: Path, kind: IndexKind) -> None:
    """The second index takes the place of the first between the check and the reading."""
    vector_ID = np.eye(60, 8, dtype=np.float32)
    IndexConfig(kind=kind).build(vector_ID).save(tmp_path)
    with open_index(tmp_path) as (description, file):
        IndexConfig(kind=kind).build(-vector_ID).save(tmp_path)
        if kind == "exact":
            assert vectors_of_exact(file, tmp_path).tolist() == vector_ID.tolist()
        else:
            read = FaissIndex.load(description, file, tmp_path)
            assert read.search(vector_ID[3:4], 1).item_QK.tolist() == [[3]]


def test_nothing_temporary_is_left(tmp_path: Path) -> None:
    saved(tmp_path, "exact")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "vectors.safetensors"]


def test_a_folder_without_an_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no index"):
        load_index(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"file": "../elsewhere"}, "not a file of its folder"),
        ({"file": "missing"}, "cannot be read"),
        ({"kind": "hyperspace"}, "kind 'hyperspace'"),
        ({"kind": "faiss_flat"}, "holds no FAISS index"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    saved(tmp_path, "exact")
    path = tmp_path / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match=message):
        load_index(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_a_description_that_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    saved(tmp_path, "exact")
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(RunError, match="cannot be read"):
        load_index(tmp_path)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="ivf_probes must be at least 1, got 0"):
        IndexConfig(ivf_probes=0)

"""The query tower run by ONNX Runtime: from features to vectors without torch.

Shape letters: R requests, L entries of the longest history, N entries (ragged over R), I items, D width of the tower, E
width of its vectors, T tokens (ragged over R), F width of a feature vector.
"""

import json
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lowerfunnel.errors import RunError, require
from lowerfunnel.events.timeline import Float32Array, Int32Array, Int64Array
from lowerfunnel.retrieval.two_tower import SERVED, TwoTower
from lowerfunnel.serving.towers.query_export import INPUT_PREFIX, METADATA, graph_facts
from lowerfunnel.serving.towers.query_features import QueryFeatures
from lowerfunnel.serving.towers.query_graph import QueryGraph

_REFUSALS = (
    "EPFail",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NotImplemented",
    "RuntimeException",
)
"""What ONNX Runtime raises for bytes that are no graph it can run; the classes have no base of their own."""

_LARGEST = np.finfo(np.float32).max

_TABLES = {"user": "user", "user_attribute": "user_attribute", "request_surface": "surface", "word": "word"}
"""Input of the graph, and the model's table whose rows it is made of."""


@runtime_checkable
class InputRows(Protocol):
    """What items are in a history, by place: an array [I, D], or what gives its rows like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(I, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, place_P: Int32Array, /) -> Float32Array: ...


class QueryTower:
    """Vectors of requests, as `Encoder.users` gives them up to 1e-5. May be called from many threads.

    The graph is small and holds no table of users; those it looks rows up in are the model's own, not copies.
    """

    def __init__(self, session: Any, names: tuple[str, ...], tables: Mapping[str, Float32Array], width: int) -> None:
        self._session, self._names, self._tables, self._width = session, names, tables, width
        self._feeds = [INPUT_PREFIX + name for name in names]

    @classmethod
    def load(cls, path: Path, model: TwoTower, *, task: str = SERVED, threads: int = 1) -> "QueryTower":
        """Read what `export_query_tower` wrote of `model`.

        What the file says of itself must fit the model. That the file is what was written then is for whoever keeps
        digests of files to make sure of.

        Args:
            path: The ONNX file.
            model: The model that it was exported from, for its tables; and to make sure that it was.
            task: The head that it must be of.
            threads: Threads of one call. More help batches of many requests, and harm where several calls run at once.

        Raises:
            RunError: If the file is missing or damaged, or is of another model or head.
            UnavailableError: If the model has no such head.
            MissingPackageError: If ONNX Runtime is not installed.
        """
        runtime = require("onnxruntime", extra="serve")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin for work take it from the rest of the server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        states = runtime.capi.onnxruntime_pybind11_state
        broken = tuple(getattr(states, name) for name in _REFUSALS)
        try:
            session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
            facts = json.loads(session.get_modelmeta().custom_metadata_map.get(METADATA, "null"))
        except (*broken, OSError, ValueError, RuntimeError) as error:
            raise RunError(f"the query tower {path} cannot be read ({error}); export it again") from error
        graph = QueryGraph(model, task=task)
        if facts != graph_facts(graph, task):
            raise RunError(f'the query tower {path} is not that of this model\'s head "{task}"; export it again')
        tables = query_tables(model, graph.names)
        return cls(session, graph.names, tables, model.config.tower.width)

    def encode(self, features: QueryFeatures, x_ID: InputRows) -> Float32Array:
        """Return the vector of each request, [R, E].

        Args:
            features: What is known of the requests.
            x_ID: The items' inputs, by the places that the features name; it must reach as far as they do.
        """
        if not len(features):
            return np.zeros((0, self._session.get_outputs()[0].shape[1]), np.float32)
        arrays = query_arrays(features, x_ID, names=self._names, tables=self._tables, width=self._width)
        vector_RE: Float32Array = self._session.run(None, dict(zip(self._feeds, arrays, strict=True)))[0]
        return vector_RE


def query_tables(model: TwoTower, names: Collection[str]) -> dict[str, Float32Array]:
    """Return the model's tables whose rows the inputs `names` are made of: its own memory where it lies on the CPU."""
    return {
        name: model.user_parts.table(table).weight.detach().cpu().numpy()
        for name, table in _TABLES.items()
        if name in names
    }


def query_arrays(
    features: QueryFeatures,
    x_ID: InputRows,
    *,
    names: tuple[str, ...],
    tables: Mapping[str, Float32Array],
    width: int,
) -> list[Any]:
    """Return the inputs of `QueryGraph`, in the order of `names`: histories as rectangles, rows of tables looked up."""
    made: dict[str, Any] = {}
    rows, requests = len(features), features.requests
    if "x" in names:
        made = _history_arrays(features, x_ID)
    if "user" in names:
        made["user"] = _rows(tables["user"], features.id_R)
    if "user_attribute" in names:
        offsets_R1, token_T = features.attribute_offsets_R1, features.attribute_T
        made["user_attribute"] = _means(tables["user_attribute"], offsets_R1, token_T)
    if "activity" in names:
        made["activity"] = features.activity_RF
    if "request_surface" in names:
        made["request_surface"] = tables["request_surface"][requests.surface_R]
    if "subject" in names:
        made["subject"] = _rows(x_ID, requests.subject_R) if len(x_ID) else np.zeros((rows, width), np.float32)
    if "word" in names:
        made["word"] = _means(tables["word"], requests.word_offsets_R1, requests.word_T)
    return [made[name] for name in names]


def _history_arrays(features: QueryFeatures, x_ID: InputRows) -> dict[str, Any]:
    """Lay the entries of all histories out as rows of one rectangle, padded behind, at least one entry wide."""
    histories = features.histories
    length_R = histories.offsets_B1[1:] - histories.offsets_B1[:-1]
    rows, longest = len(length_R), max(int(length_R.max(initial=0)), 1)
    # Entry n lies in the row of its request, as far behind the row's beginning as behind its history's.
    place_N = np.arange(len(histories.item_N)) + np.repeat(
        np.arange(rows) * longest - histories.offsets_B1[:-1], length_R
    )

    def rectangle(code_N: Any) -> Int64Array:
        flat = np.zeros(rows * longest, np.int64)
        flat[place_N] = code_N
        return flat.reshape(rows, longest)

    x_SD = np.zeros((rows * longest, x_ID.shape[1]), np.float32)
    x_SD[place_N] = x_ID[histories.item_N]
    known_N = ~np.isnan(histories.dwell_N)
    dwell_N = np.where(known_N, histories.dwell_N, np.float32(0.0))
    dwell_S2 = np.zeros((rows * longest, 2), np.float32)
    dwell_S2[place_N, 0] = np.log1p(np.maximum(np.minimum(dwell_N, _LARGEST), -_LARGEST))
    dwell_S2[place_N, 1] = known_N
    return {
        "x": x_SD.reshape(rows, longest, -1),
        "length": length_R,
        "action": rectangle(histories.action_N),
        "age": rectangle(histories.age_N),
        "surface": rectangle(histories.surface_N),
        "back": rectangle(histories.back_N),
        "dwell": dwell_S2.reshape(rows, longest, 2),
    }


def _rows(table_UD: InputRows, row_R: Int32Array) -> Float32Array:
    """Return a row of the table for each request, zeros where it is -1."""
    row_RD = table_UD[np.maximum(row_R, 0)]
    row_RD[row_R < 0] = 0.0
    return row_RD


def _means(table_UD: Float32Array, offsets_R1: Int64Array, token_T: Int32Array) -> Float32Array:
    """Return the mean of each request's rows, zeros for one without."""
    mean_RD = np.zeros((len(offsets_R1) - 1, table_UD.shape[1]), np.float32)
    if len(token_T):
        offsets = offsets_R1.tolist()
        for request, (start, stop) in enumerate(pairwise(offsets)):
            if stop > start:
                mean_RD[request] = table_UD[token_T[start:stop]].mean(axis=0)
    return mean_RD

"""The query tower as an ONNX file: written once for a model, read by `QueryTower`.

Shape letters: R requests, L entries of the longest history, D width of the tower, F width of a feature vector.
"""

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lowerfunnel.errors import require
from lowerfunnel.files import disk_errors, flush
from lowerfunnel.retrieval.two_tower import SERVED, TwoTower
from lowerfunnel.serving.towers.query_graph import QueryGraph

OPSET = 20
"""Version of the ONNX operators. The graph needs 17 or newer, for LayerNormalization."""

INPUT_PREFIX = "input_"
"""Inputs are named apart from the weights, which keep the names they have in the model."""

METADATA = "lowerfunnel"
"""Key of the file's metadata under which stands, as JSON, what `graph_facts` says."""

_RECTANGLES = ("x", "action", "age", "surface", "back", "dwell")


def export_query_tower(model: TwoTower, path: Path, *, task: str = SERVED) -> None:
    """Write the query tower of one head as an ONNX graph that takes any number of requests and any length of history.

    The file is there whole or not at all. It holds no table of users, attributes, surfaces or words.

    Raises:
        UnavailableError: If the model has no such head.
        MissingPackageError: If onnx or onnxscript is not installed.
        RunError: If the file cannot be written.
    """
    onnx = require("onnx", extra="serve")
    require("onnxscript", extra="serve")
    was_training = model.training
    graph = QueryGraph(model, task=task).eval()
    inputs, shapes = example_inputs(graph, model)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                kwargs={"inputs": inputs},
                dynamic_shapes={"inputs": shapes},
                input_names=[INPUT_PREFIX + name for name in graph.names],
                output_names=["vector"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        # The graph's parts are the model's own.
        model.train(was_training)
    assert program is not None  # noqa: S101 - only the exporter of old returns nothing
    proto = program.model_proto
    # The exporter makes a size that the graph cannot keep free part of it, without a word.
    fixed = [
        each.name
        for each in proto.graph.input
        for place in shapes[each.name.removeprefix(INPUT_PREFIX)]
        if not each.type.tensor_type.shape.dim[place].dim_param
    ]
    assert not fixed, f"the graph would take the example's sizes alone: {fixed}"  # noqa: S101 - of our own making
    onnx.helper.set_model_props(proto, {METADATA: json.dumps(graph_facts(graph, task))})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path):
            temporary.write_bytes(proto.SerializeToString())
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def graph_facts(graph: QueryGraph, task: str) -> dict[str, object]:
    """Return what tells a graph from another one: its head, its inputs, and the SHA-256 of its weights."""
    digest = hashlib.sha256()
    for name, parameter in sorted(graph.named_parameters()):
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return {"task": task, "inputs": list(graph.names), "weights_sha256": digest.hexdigest()}


def example_inputs(
    graph: QueryGraph, model: TwoTower
) -> tuple[dict[str, Tensor], dict[str, dict[int, torch.export.Dim]]]:
    """Return inputs of two requests with histories of three and one entries, and which of their sizes are free."""
    requests, longest, width = 2, 3, model.config.tower.width
    shape = {"x": (requests, longest, width), "length": (requests,), "dwell": (requests, longest, 2)}
    if graph.activity is not None:
        shape["activity"] = (requests, graph.activity.shape[0])
    inputs = {}
    for name in graph.names:
        if name == "length":
            inputs[name] = torch.tensor([longest, 1])
        elif name in _RECTANGLES and name not in shape:
            inputs[name] = torch.zeros(requests, longest, dtype=torch.int64)
        else:
            inputs[name] = torch.zeros(shape.get(name, (requests, width)))
    free_R, free_L = torch.export.Dim("R"), torch.export.Dim("L")
    return inputs, {name: {0: free_R, 1: free_L} if name in _RECTANGLES else {0: free_R} for name in inputs}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says of itself: of torch's own deprecations, and of operators of absent packages."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            # Inputs share their sizes on purpose; the exporter says so once for each.
            warnings.filterwarnings("ignore", message=r"# The axis name: .* will not be used", category=UserWarning)
            yield
    finally:
        registration.setLevel(level)

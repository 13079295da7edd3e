"""The query tower over rectangles: what ONNX can hold, with the parameters of the trained model.

Offline a batch's histories lie one after another and every table lies in the model. A server asks for a few requests at a
time: their histories are rows of one rectangle, padded behind, and rows of tables are looked up before the graph, so that
no table of users or items is part of it.

Shape letters: R requests, L entries of the longest history, N = R * L entries with padding, D width of the tower, E width
of its vectors, H heads of attention, W width of one, F width of a feature vector.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.features.history import AGE_BUCKETS
from lowerfunnel.retrieval.history_reader import HistoryReader
from lowerfunnel.retrieval.two_tower import SERVED, TwoTower

HISTORY_INPUTS = ("x", "length", "action", "age", "surface")
"""What a pooled history is made of: item inputs [R, L, D], how many of them count [R], and codes [R, L]."""
READER_INPUTS = (*HISTORY_INPUTS, "back", "dwell")
"""What a Transformer reads beside it: places from the end [R, L], and dwells as `query_arrays` lays them out [R, L, 2]."""


class QueryGraph(nn.Module):
    """`TwoTower.user_tower` for padded histories, one head of it; it shares the model's parameters.

    Its inputs are arrays by name, `names` in their order: those of the history, and of each other part the model has, its
    vector [R, D] ("activity": its counts, [R, F]). A part that a request lacks is a row of zeros.

    Args:
        model: The trained model; only its user side is read.
        task: The head.
    """

    def __init__(self, model: TwoTower, *, task: str = SERVED) -> None:
        super().__init__()
        model.require_head(task)
        parts = model.user_parts
        self._task = task
        self.body = model.user_body
        self.popularity_weight = model.popularity_weight
        self.anyone, self.history_gate, self.latest_gate = parts.anyone, parts.history_gate, parts.latest_gate
        self.action_weight, self.age_weight = parts.action_weight, parts.age_weight
        self.surface_weight = parts.surface_weight
        self.reader = None if parts.reader is None else _RectangularReader(parts.reader)
        self.activity = parts.linears.get("activity", None)
        self.subject_gate = parts.subject_gate
        vectors = {
            "user": "user" in parts.tables,
            "user_attribute": "user_attribute" in parts.tables,
            "activity": self.activity is not None,
            "request_surface": "surface" in parts.tables,
            "subject": parts.subject_gate is not None,
            "word": "word" in parts.tables,
        }
        history = () if not model.config.history.length else HISTORY_INPUTS if self.reader is None else READER_INPUTS
        self._others = tuple(name for name, there in vectors.items() if there)
        self.names = (*history, *self._others)

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "R E"]:
        """Return the vectors of the requests."""
        # Sizes are read off `shape`: `len` would make the example's number of requests part of the graph.
        parts = self._history(inputs) if "x" in self.names else [self.anyone.expand(inputs[self.names[0]].shape[0], -1)]
        for name in self._others:
            part = inputs[name]
            if name == "activity" and self.activity is not None:
                part = part @ self.activity
            elif name == "subject" and self.subject_gate is not None:
                part = part * self.subject_gate
            parts.append(part)
        u_RD: Tensor = self.body(parts)[self._task]
        if self.popularity_weight is None:
            return u_RD
        return torch.cat([u_RD, self.popularity_weight.expand(u_RD.shape[0], 1)], dim=1)

    def _history(self, inputs: dict[str, Tensor]) -> list[Float[Tensor, "R D"]]:
        x_RLD, length_R = inputs["x"], inputs["length"]
        rows, longest, width = x_RLD.shape
        real_RL = torch.arange(longest, device=x_RLD.device) < length_R.unsqueeze(1)
        weight_AG = self.action_weight.unsqueeze(1) + self.age_weight
        weight_K1 = (weight_AG.unsqueeze(2) + self.surface_weight).exp().view(-1, 1)
        code_RL = (inputs["action"] * AGE_BUCKETS + inputs["age"]) * len(self.surface_weight) + inputs["surface"]
        weight_RL = nn.functional.embedding(code_RL, weight_K1).squeeze(2) * real_RL
        z_RLD = x_RLD if self.reader is None else self.reader(inputs, real_RL)
        sum_RD = torch.matmul(weight_RL.unsqueeze(1), z_RLD).squeeze(1)
        total_R1 = weight_RL.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weight_RL.dtype).tiny)
        pooled_RD = sum_RD / total_R1 * self.history_gate + self.anyone
        if self.latest_gate is None:
            return [pooled_RD]
        last_R = torch.arange(rows, device=x_RLD.device) * longest + (length_R - 1).clamp_min(0)
        latest_RD = z_RLD.reshape(-1, width).index_select(0, last_R) * (length_R > 0).unsqueeze(1)
        return [pooled_RD, latest_RD * self.latest_gate]


class _RectangularReader(nn.Module):
    """`HistoryReader` without dropout, over a rectangle: linear layers and norms see its N entries as one list."""

    def __init__(self, reader: HistoryReader) -> None:
        super().__init__()
        self.action, self.age, self.back = reader.action, reader.age, reader.back
        self.surface, self.dwell = reader.surface, reader.dwell
        self.layers = reader.encoder.layers

    def forward(self, inputs: dict[str, Tensor], real_RL: Tensor) -> Float[Tensor, "R L D"]:
        rows, longest, width = inputs["x"].shape
        embed = nn.functional.embedding
        z_RLD = inputs["x"] + embed(inputs["action"], self.action) + embed(inputs["age"], self.age)
        z_RLD = z_RLD + embed(inputs["back"], self.back)
        if self.surface is not None:
            z_RLD = z_RLD + embed(inputs["surface"], self.surface)
        z_ND = torch.addmm(z_RLD.reshape(-1, width), inputs["dwell"].reshape(-1, 2), self.dwell)
        real_R1L = real_RL.unsqueeze(1)
        # Of a finite depth, so that a request without history is a mean of padding, which nothing reads, and not NaN.
        lowest = torch.finfo(z_ND.dtype).min
        for layer in self.layers:
            seen_R1LL = real_R1L.unsqueeze(2)
            if layer.causal:
                place_L = torch.arange(longest, device=z_ND.device)
                seen_R1LL = seen_R1LL & (place_L.unsqueeze(1) >= place_L)
            z_ND = _layer(layer, z_ND, torch.where(seen_R1LL, 0.0, lowest))
        return z_ND.view(rows, longest, width)


def _layer(layer: nn.Module, z_ND: Tensor, mask_R1LL: Tensor) -> Tensor:
    """Return what a layer of `JaggedTransformer` makes of a rectangle's entries, with one product for three maps."""
    rows, longest, width = mask_R1LL.shape[0], mask_R1LL.shape[3], z_ND.shape[1]
    heads = cast("int", layer.heads)
    maps = [cast("nn.Linear", layer.get_submodule(name)) for name in ("query", "key", "value")]
    normed_ND = layer.get_submodule("attention_norm")(z_ND)
    # The scale of the scores is part of the query's weights, which are constants of the graph.
    scale = (width // heads) ** -0.5
    weight_3DD = torch.cat([maps[0].weight * scale, maps[1].weight, maps[2].weight])
    bias_3D = torch.cat([maps[0].bias * scale, maps[1].bias, maps[2].bias])
    all_N3D = nn.functional.linear(normed_ND, weight_3DD, bias_3D)
    all_3RHLW = all_N3D.view(rows, longest, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    query_RHLW, key_RHLW, value_RHLW = all_3RHLW.unbind(0)
    score_RHLL = torch.matmul(query_RHLW, key_RHLW.transpose(2, 3)) + mask_R1LL
    seen_RHLW = torch.matmul(torch.softmax(score_RHLL, dim=3), value_RHLW)
    seen_ND = seen_RHLW.transpose(1, 2).reshape(-1, width)
    z_ND = z_ND + layer.get_submodule("attention_out")(seen_ND)
    hidden_NF = torch.relu(layer.get_submodule("up")(layer.get_submodule("feedforward_norm")(z_ND)))
    out_ND: Tensor = z_ND + layer.get_submodule("down")(hidden_NF)
    return out_ND

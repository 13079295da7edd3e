"""Embedding tables by the name of their feature, and how a batch reads them.

Shape letters: U rows (items or requests), D width, F width of a feature vector.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.nn.embedding import EmbeddingTable
from lowerfunnel.nn.layers import pool_rows
from lowerfunnel.retrieval.inputs import Bag, Lookup


class FeatureTables(nn.Module):
    """Tables and linear maps of one tower's features, each of width D. A feature that the log does not have gets none."""

    def __init__(self, *, width: int, init_std: float, generator: torch.Generator) -> None:
        super().__init__()
        self._width, self._init_std, self._generator = width, init_std, generator
        self.tables = nn.ModuleDict()
        self.linears = nn.ParameterDict()

    def add_table(self, name: str, rows: int, *, unknown: bool = False) -> None:
        """Add a table, if it has rows. With `unknown`, one more row 0 says nothing until it is trained."""
        if not rows:
            return
        table = EmbeddingTable(rows + int(unknown), self._width, init_std=self._init_std, generator=self._generator)
        if unknown:
            with torch.no_grad():
                table.weight[0] = 0.0
        self.tables[name] = table

    def add_linear(self, name: str, fan_in: int) -> None:
        """Add a linear map of a feature vector, if it has a width."""
        if fan_in:
            weight_FD = torch.empty(fan_in, self._width)
            std = self._init_std / fan_in**0.5
            self.linears[name] = nn.Parameter(weight_FD.normal_(0.0, std, generator=self._generator))

    def table(self, name: str) -> EmbeddingTable:
        """Return a table by name."""
        table = self.tables[name]
        assert isinstance(table, EmbeddingTable)  # noqa: S101 - narrows the type, cannot fail
        return table

    def lookup(self, name: str, lookup: Lookup) -> Float[Tensor, "U D"]:
        """Return the row of each id."""
        return self.table(name).rows(lookup.row).index_select(0, lookup.place)

    def bag(self, name: str, bag: Bag) -> Float[Tensor, "U D"]:
        """Return the mean of each owner's rows, zero for one without."""
        row_UD = self.table(name).rows(bag.token.row)
        weight_N = torch.ones(len(bag.token.place), device=row_UD.device)
        return pool_rows(row_UD, bag.token.place, bag.offsets, weight_N)

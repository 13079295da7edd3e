"""Embedding tables whose rows are trained apart from the rest of the model.

A step touches few rows of a table. Instead of a dense gradient, a step gathers the distinct rows it needs once, as a
leaf tensor; autograd fills that leaf's gradient, and the optimiser writes back those rows alone.

Shape letters: N rows in the table, D width, U distinct rows of a step.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class EmbeddingTable(nn.Module):
    """N rows of width D, trained by a row-wise optimiser such as `RowwiseAdagrad`."""

    def __init__(self, rows: int, width: int, *, init_std: float, generator: torch.Generator) -> None:
        super().__init__()
        weight_ND = torch.empty(rows, width).normal_(0.0, init_std, generator=generator)
        self.weight = nn.Parameter(weight_ND, requires_grad=False)
        self._pending: tuple[Tensor, Tensor] | None = None

    def rows(self, index_U: Int[Tensor, " U"]) -> Float[Tensor, "U D"]:
        """Return the rows at `index_U`, which must be distinct.

        In training mode the result is a leaf that collects the gradient of this step, and a second gather before
        `take_gradient` is an error: two leaves for one row would each see only half of its gradient.
        """
        rows_UD = self.weight.index_select(0, index_U)
        if not (self.training and torch.is_grad_enabled()):
            return rows_UD
        if self._pending is not None:
            raise RuntimeError(
                "this table was gathered twice in one step; gather all of the step's distinct rows at once"
            )
        rows_UD.requires_grad_()
        self._pending = (index_U, rows_UD)
        return rows_UD

    def take_gradient(self) -> tuple[Int[Tensor, " U"], Float[Tensor, "U D"]] | None:
        """Return the rows of this step and their gradient, once; None if no gradient reached the table."""
        pending, self._pending = self._pending, None
        if pending is None or pending[1].grad is None:
            return None
        return pending[0], pending[1].grad


class RowwiseAdagrad:
    r"""Adagrad with one accumulator per row, for `EmbeddingTable`s.

    With g the gradient of a row of width D: ``a += mean(g^2);  w -= lr * g / (sqrt(a) + eps)``. One float of state per
    row instead of D, and only the rows of the step are read or written.

    References:
        Duchi et al., JMLR 2011; the row-wise form is that of FBGEMM's exact row-wise Adagrad.
    """

    def __init__(self, tables: dict[str, EmbeddingTable], *, learning_rate: float, eps: float = 1e-8) -> None:
        self._tables = tables
        self.learning_rate = learning_rate
        self._eps = eps
        self._accumulator_N = {
            name: torch.zeros(table.weight.shape[0], device=table.weight.device) for name, table in tables.items()
        }

    @torch.no_grad()
    def step(self) -> None:
        """Apply the gradients that this step's gathers collected, and forget them."""
        for name, table in self._tables.items():
            taken = table.take_gradient()
            if taken is None:
                continue
            index_U, gradient_UD = taken
            state_N = self._accumulator_N[name]
            state_U = state_N.index_select(0, index_U).add_(gradient_UD.square().mean(dim=1))
            state_N.index_copy_(0, index_U, state_U)
            update_UD = gradient_UD.mul_((-self.learning_rate / (state_U.sqrt() + self._eps)).unsqueeze(1))
            table.weight.index_add_(0, index_U, update_UD)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the accumulators by table name."""
        return dict(self._accumulator_N)

"""One tower above its parts: a body on all of them, and a head for each task.

Shape letters: B rows (items or requests), P parts, D width of a part and of the vector.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.nn.body import TowerBody
from lowerfunnel.nn.layers import MLP
from lowerfunnel.retrieval.settings import TowerConfig


class Tower(nn.Module):
    """``normalize(sum of the parts + head(body(parts side by side)))`` for each task.

    The body is DCN-V2 beside an MLP, or one of the other arrangements. With `residual` the head starts at zero, so that a
    fresh tower is the sum of its parts and the layers learn what a sum cannot say; without, the vector is the head's
    output alone, as published. A second head starts as the first does.
    """

    def __init__(self, config: TowerConfig, *, parts: int, tasks: Sequence[str], generator: torch.Generator) -> None:
        super().__init__()
        width = config.width
        self._residual = config.residual
        self._tasks = tuple(tasks)
        self.body: TowerBody | None = None
        self.heads = nn.ModuleDict()
        if config.arrangement != "none":
            self.body = TowerBody(
                width * parts,
                arrangement=config.arrangement,
                hidden=config.hidden,
                cross_layers=config.cross_layers,
                cross_kind=config.cross_kind,
                cross_rank=config.cross_rank,
                cross_experts=config.cross_experts,
                generator=generator,
            )
        elif len(self._tasks) == 1:
            return
        before = width if self.body is None else self.body.width
        for task in self._tasks:
            head = MLP(before, (*config.head_hidden, width), last="linear", generator=generator)
            if config.residual:
                with torch.no_grad():
                    last = head.layers[-1]
                    assert isinstance(last, nn.Linear)  # noqa: S101 - narrows the type, cannot fail
                    last.weight.zero_()
            self.heads[task] = head

    def forward(self, parts_PBD: Sequence[Float[Tensor, "B D"]]) -> dict[str, Float[Tensor, "B D"]]:
        """Return the unit vectors of each task; with one head, all tasks share it."""
        sum_BD = torch.stack(list(parts_PBD)).sum(dim=0) if self._residual or self.body is None else None
        if not self.heads:
            assert sum_BD is not None  # noqa: S101 - without a body the sum is there
            return {self._tasks[0]: nn.functional.normalize(sum_BD, dim=1)}
        z_BW = sum_BD if self.body is None else self.body(torch.cat(list(parts_PBD), dim=1))
        return {
            task: nn.functional.normalize(head(z_BW) if not self._residual else sum_BD + head(z_BW), dim=1)
            for task, head in self.heads.items()
        }

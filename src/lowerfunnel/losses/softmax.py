"""Sampled softmax over candidates that a whole batch shares, corrected for how they were sampled.

Shape letters: B queries in the batch, C candidates shared by the batch, D width of the embeddings, R rows of a block,
S items that queries are spared (ragged over B).
The first B candidates are the queries' own positives, in order.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sampled_softmax_loss(
    query_BD: Float[Tensor, "B D"],
    candidate_CD: Float[Tensor, "C D"],
    log_q_C: Float[Tensor, " C"],
    *,
    item_C: Int[Tensor, " C"],
    user_B: Int[Tensor, " B"],
    inverse_temperature: float,
    correct_positive: bool = True,
    spared: tuple[Int[Tensor, " S"], Int[Tensor, " B1"]] | None = None,
    block_rows: int = 512,
) -> Float[Tensor, " B"]:
    r"""Cross-entropy of each query's positive against the candidates that the batch shares.

    ``loss_i = -log( exp(s_ii) / (exp(s_ii) + sum_{j in N_i} exp(s_ij)) )`` with
    ``s_ij = inverse_temperature * <query_i, candidate_j> - log_q_j``. N_i leaves out every candidate that is query i's
    own positive item, every in-batch positive of the same user (up to a third of them are false negatives otherwise) and
    every item that the query is spared. The logits are walked in blocks of rows and recomputed for the gradient, so no
    B x C matrix is kept.

    Args:
        query_BD: One embedding per query.
        candidate_CD: One embedding per candidate; candidate i < B is query i's positive.
        log_q_C: Natural log of the expected draws of each candidate per batch. Never clipped: a floor would stop
            correcting exactly the rare candidates.
        item_C: Item of each candidate.
        user_B: User of each query, and so of each in-batch positive; negative for an anonymous one, which equals nobody.
        inverse_temperature: 1 / tau.
        correct_positive: Whether the positive's own logit is corrected as well. The positive is not sampled, so newer
            work leaves it uncorrected; Yi et al. correct it.
        spared: Items that are no negatives of single queries, such as what their users have already bought: the items,
            and where each query's start among them.
        block_rows: Rows of logits held at a time.

    Returns:
        One loss per query, in nats. Not averaged.

    Raises:
        ValueError: If there are fewer candidates than queries.

    References:
        Yi et al., RecSys 2019 (eq. 4); unlike the paper, accidental hits and same-user positives are removed.
        "Correcting the LogQ Correction", RecSys 2025, for `correct_positive=False` (without its reweighting).

    Example:
        >>> one = torch.eye(2)
        >>> ids = torch.arange(2)
        >>> sampled_softmax_loss(one, one, torch.zeros(2), item_C=ids, user_B=ids, inverse_temperature=1.0)
        tensor([0.3133, 0.3133])
    """
    if candidate_CD.shape[0] < query_BD.shape[0]:
        raise ValueError(
            f"every query needs its positive among the candidates: {query_BD.shape[0]} queries came with "
            f"{candidate_CD.shape[0]} candidates"
        )
    loss_B: Tensor = _BlockedSoftmax.apply(  # type: ignore[no-untyped-call]
        query_BD, candidate_CD, log_q_C, item_C, user_B, inverse_temperature, correct_positive, spared, block_rows
    )
    return loss_B


class _BlockedSoftmax(torch.autograd.Function):
    """The blocked forward and backward pass of `sampled_softmax_loss`."""

    @staticmethod
    def forward(
        ctx: Any,
        query_BD: Tensor,
        candidate_CD: Tensor,
        log_q_C: Tensor,
        item_C: Tensor,
        user_B: Tensor,
        inverse_temperature: float,
        correct_positive: bool,
        spared: tuple[Tensor, Tensor] | None,
        block_rows: int,
    ) -> Tensor:
        rows = query_BD.shape[0]
        positive_B = (query_BD * candidate_CD[:rows]).sum(dim=1) * inverse_temperature
        if correct_positive:
            positive_B = positive_B - log_q_C[:rows]
        masks = [_equal_pairs(item_C[:rows], item_C), _equal_pairs(user_B, user_B, above=0)]
        if spared is not None:
            masks.append(_ragged_pairs(spared[1], *_equal_pairs(spared[0], item_C)))
        total_B = torch.empty_like(positive_B)
        for start in range(0, rows, block_rows):
            part = slice(start, min(start + block_rows, rows))
            logit_RC = _negative_logits(query_BD, candidate_CD, log_q_C, inverse_temperature, masks, part)
            # The positive's logit takes part in the maximum, so a query without negatives needs no special case.
            largest_R = torch.maximum(logit_RC.amax(dim=1), positive_B[part])
            sum_R = logit_RC.sub_(largest_R[:, None]).exp_().sum(dim=1)
            total_B[part] = largest_R + torch.log(sum_R + torch.exp(positive_B[part] - largest_R))
        ctx.save_for_backward(query_BD, candidate_CD, log_q_C, positive_B, total_B)
        ctx.inverse_temperature, ctx.masks, ctx.block_rows = inverse_temperature, masks, block_rows
        return total_B - positive_B

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query_BD, candidate_CD, log_q_C, positive_B, total_B = ctx.saved_tensors
        scale_B = grad_outputs[0] * ctx.inverse_temperature
        rows = query_BD.shape[0]
        grad_query_BD = torch.empty_like(query_BD)
        grad_candidate_CD = torch.zeros_like(candidate_CD)
        for start in range(0, rows, ctx.block_rows):
            part = slice(start, min(start + ctx.block_rows, rows))
            share_RC = _negative_logits(query_BD, candidate_CD, log_q_C, ctx.inverse_temperature, ctx.masks, part)
            share_RC.sub_(total_B[part, None]).exp_().mul_(scale_B[part, None])
            torch.mm(share_RC, candidate_CD, out=grad_query_BD[part])
            grad_candidate_CD.addmm_(share_RC.T, query_BD[part])
        # The positive's own share: 1 - p enters with the opposite sign.
        pull_B1 = (-torch.expm1(positive_B - total_B) * scale_B)[:, None]
        grad_query_BD.sub_(pull_B1 * candidate_CD[:rows])
        grad_candidate_CD[:rows].sub_(pull_B1 * query_BD)
        return grad_query_BD, grad_candidate_CD, None, None, None, None, None, None, None


_Pairs = tuple[Tensor, Tensor, Tensor]
"""Pairs (row, column) in order of the row, and where each row's pairs start."""


def _equal_pairs(row_B: Tensor, column_C: Tensor, *, above: int | None = None) -> _Pairs:
    """List the pairs of equal ids. They are few, so masking them one by one beats comparing B x C ids."""
    sorted_C, order_C = column_C.sort()
    low_B = torch.searchsorted(sorted_C, row_B)
    count_B = torch.searchsorted(sorted_C, row_B, right=True) - low_B
    if above is not None:
        count_B = torch.where(row_B >= above, count_B, 0)
    start_B1 = torch.nn.functional.pad(count_B.cumsum(0), (1, 0))
    row_N = torch.repeat_interleave(torch.arange(len(row_B), device=row_B.device), count_B)
    column_N = order_C[torch.arange(len(row_N), device=row_B.device) - start_B1[row_N] + low_B[row_N]]
    return row_N, column_N, start_B1


def _ragged_pairs(offsets_B1: Tensor, row_N: Tensor, column_N: Tensor, start_S1: Tensor) -> _Pairs:
    """Turn pairs of (entry, column) into pairs of (the row that owns the entry, column)."""
    owner_S = torch.repeat_interleave(torch.arange(len(offsets_B1) - 1, device=row_N.device), offsets_B1.diff())
    return owner_S[row_N], column_N, start_S1[offsets_B1]


def _negative_logits(
    query_BD: Tensor,
    candidate_CD: Tensor,
    log_q_C: Tensor,
    inverse_temperature: float,
    masks: list[_Pairs],
    part: slice,
) -> Tensor:
    """Return the corrected logits of some rows, minus infinity where the candidate is no negative."""
    logit_RC = torch.addmm(-log_q_C, query_BD[part], candidate_CD.T, alpha=inverse_temperature)
    for row_N, column_N, start_B1 in masks:
        pairs = slice(int(start_B1[part.start]), int(start_B1[part.stop]))
        logit_RC.index_put_(
            (row_N[pairs] - part.start, column_N[pairs]), torch.tensor(-torch.inf, device=logit_RC.device)
        )
    return logit_RC


def weighted_mean(value_B: Float[Tensor, " B"], weight_B: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Reduce losses to one number: the mean weighted by `weight_B`.

    Raises:
        ValueError: If the weights do not add up to more than zero.
    """
    total = weight_B.sum()
    if not total > 0:
        raise ValueError(f"the weights of a batch must add up to more than zero, got {total.item()}")
    return (value_B * weight_B).sum() / total

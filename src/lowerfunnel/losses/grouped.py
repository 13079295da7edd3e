"""Losses on groups of items, such as an advertiser's, a brand's, a seller's or a category's.

A user is compared with one vector per group by making `group_means` the candidates, and the groups the items, of
`sampled_softmax_loss`; `grouped_softmax_loss` compares users with items and pools what each group gathers.

Shape letters: R requests in the batch, B examples (positives of the requests), C candidates, D width of the embeddings,
G distinct groups, T distinct (request, group of a positive) pairs, K examples of which the group is known, S items that
requests are spared (ragged over R), P pairs. The first B candidates are the examples' positives, in order.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lowerfunnel.losses.pairs import Pairs, blocks, equal_pairs, exclusions, ragged_ranges
from lowerfunnel.losses.softmax import offset_of


def group_means(
    vector_CD: Float[Tensor, "C D"], group_C: Int[Tensor, " C"], weight_C: Float[Tensor, " C"] | None = None
) -> tuple[Float[Tensor, "G D"], Int[Tensor, " G"], Int[Tensor, " C"]]:
    """Average the vectors of each group; the means are not normalised.

    Args:
        vector_CD: One vector per candidate. The means have their gradient.
        group_C: Group of each candidate; -1 where it is unknown, which is left out.
        weight_C: Weight of each candidate in its group's mean; equal weights if not given.

    Returns:
        The mean of each distinct group, the groups in ascending order, and the place of each candidate's group among
        them, -1 where it is unknown.

    Raises:
        ValueError: If the weights of a group do not add up to more than zero.

    Example:
        >>> mean_GD, group_G, place_C = group_means(torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([7, 7, -1]))
        >>> mean_GD, group_G, place_C
        (tensor([[2.]]), tensor([7]), tensor([ 0,  0, -1]))
    """
    known_N = torch.nonzero(group_C >= 0).squeeze(1)
    group_G, place_N = torch.unique(group_C[known_N], return_inverse=True)
    place_C = torch.full_like(group_C, -1, dtype=torch.int64).index_copy_(0, known_N, place_N)
    weight_N = vector_CD.new_ones(len(known_N)) if weight_C is None else weight_C[known_N].to(vector_CD.dtype)
    total_G = vector_CD.new_zeros(len(group_G)).index_add_(0, place_N, weight_N)
    if not (total_G > 0).all():
        worst = int(total_G.argmin())
        raise ValueError(
            f"the weights of a group must add up to more than zero, those of group {group_G[worst].item()} add up to "
            f"{total_G[worst].item()}"
        )
    sum_GD = vector_CD.new_zeros(len(group_G), vector_CD.shape[1]).index_add(
        0, place_N, vector_CD.index_select(0, known_N) * weight_N[:, None]
    )
    return sum_GD / total_G[:, None], group_G, place_C


def grouped_softmax_loss(
    query_RD: Float[Tensor, "R D"],
    candidate_CD: Float[Tensor, "C D"],
    log_q_C: Float[Tensor, " C"],
    *,
    row_B: Int[Tensor, " B"],
    item_C: Int[Tensor, " C"],
    group_C: Int[Tensor, " C"],
    user_R: Int[Tensor, " R"],
    spared: tuple[Int[Tensor, " S"], Int[Tensor, " R1"]] | None = None,
    block_rows: int = 128,
) -> Float[Tensor, " B"]:
    r"""Cross-entropy of each positive's group, whose logit pools those of its items with log-sum-exp.

    With r the request and g the group of example b's positive and ``s_c = <query_r, candidate_c> - log_q_c``,
    ``loss_b = log( sum_{c in g} exp(s_c) + sum_{c in N_rg} exp(s_c) ) - log( sum_{c in g} exp(s_c) )``. Every candidate of
    g counts as a positive, whoever's positive it is and whatever is spared. N_rg holds the candidates of other groups,
    without those whose item is a positive of the request or of another request of its user, or is spared the request.
    A candidate of an unknown group is neither: it may be of g. The positive's own logit is corrected as every other one
    is, since it is one of its group's samples and no special one.

    An example of which the group is unknown, or that has no candidate of another group, has a loss and a gradient of
    exactly zero. Examples of one request and one group have the same loss, which is found once.

    Args:
        query_RD: One embedding per request, already divided by the temperature.
        candidate_CD: One embedding per candidate; candidate b < B is example b's positive.
        log_q_C: Natural log of the expected number of draws of each candidate, in the batch as a whole. Never clipped,
            and finite for the positives; infinite for another candidate leaves it out.
        row_B: Request of each example, 0 to R - 1.
        item_C: Item of each candidate.
        group_C: Group of each candidate; -1 where it is unknown.
        user_R: User of each request; negative for an anonymous one, which equals nobody.
        spared: Items that are no negatives of single requests: the items, and where each request's start among them.
        block_rows: Rows of logits held at a time.

    Returns:
        One loss per example, in nats. Not averaged.

    Raises:
        ValueError: If there are fewer candidates than examples, `spared` does not fit the requests, or a positive's
            `log_q_C` is infinite.

    References:
        The pooling is that of a softmax over classes of which the probability is the sum of their members', as in the
        hierarchical softmax of Morin and Bengio, AISTATS 2005; unlike there, members are sampled and corrected for it.

    Example:
        >>> one = torch.eye(3)
        >>> ids = torch.arange(3)
        >>> advertiser_C = torch.tensor([0, 0, 1])
        >>> grouped_softmax_loss(one, one, torch.zeros(3), row_B=ids, item_C=ids, group_C=advertiser_C, user_R=ids)
        tensor([0.2382, 0.2382, 0.5514])
    """
    requests, examples, candidates = len(query_RD), len(row_B), len(candidate_CD)
    if candidates < examples:
        raise ValueError(
            f"every example needs its positive among the candidates: {examples} examples came with "
            f"{candidates} candidates"
        )
    if spared is not None and len(spared[1]) != requests + 1:
        raise ValueError(f"spared needs {requests + 1} offsets for {requests} requests, got {len(spared[1])}")
    if not torch.isfinite(log_q_C[:examples]).all():
        raise ValueError("log_q_C holds something infinite for a positive, which takes part in its group's logit")

    _, place_C = torch.unique(group_C, return_inverse=True)
    known_K = torch.nonzero(group_C[:examples] >= 0).squeeze(1)
    key_T, place_K = torch.unique(row_B[known_K] * candidates + place_C[known_K], return_inverse=True)
    row_T, group_T = key_T // candidates, key_T % candidates
    loss_T: Tensor = _GroupLoss.apply(  # type: ignore[no-untyped-call]
        query_RD.index_select(0, row_T),
        candidate_CD,
        torch.where(group_C >= 0, offset_of(log_q_C), -torch.inf),
        group_T,
        place_C,
        _of_rows(exclusions(item_C, row_B=row_B, user_R=user_R, spared=spared).pairs(candidates), row_T, requests),
        block_rows,
    )
    return loss_T.new_zeros(examples).index_copy(0, known_K, loss_T.index_select(0, place_K))


def _of_rows(pairs: Pairs, row_T: Tensor, rows: int) -> Pairs:
    """Repeat the pairs of a request for each of its groups."""
    row_P, column_P = pairs
    start_R1 = torch.searchsorted(row_P, torch.arange(rows + 1, device=row_P.device))
    owner_P, place_P = ragged_ranges(start_R1[row_T], start_R1[row_T + 1] - start_R1[row_T])
    return owner_P, column_P[place_P]


class _GroupLoss(torch.autograd.Function):
    """The loss of each (request, group) pair; its blocked forward and backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        query_TD: Tensor,
        candidate_CD: Tensor,
        offset_C: Tensor,
        group_T: Tensor,
        group_C: Tensor,
        excluded: Pairs,
        block_rows: int,
    ) -> Tensor:
        log_others_T, log_group_T = query_TD.new_empty(len(query_TD)), query_TD.new_empty(len(query_TD))
        for part, (masked,) in blocks(len(query_TD), block_rows, [excluded]):
            logit_TC, row_P, _, logit_P = _split_logits(
                query_TD[part], candidate_CD, offset_C, group_T[part], group_C, masked
            )
            # The largest of each group by itself: a group far below its rivals must not underflow.
            largest_T = logit_TC.new_full((len(logit_TC),), -torch.inf).scatter_reduce_(0, row_P, logit_P, "amax")
            sum_T = torch.zeros_like(largest_T).index_add_(0, row_P, torch.exp(logit_P - largest_T[row_P]))
            log_group_T[part] = largest_T + torch.log(sum_T)
            log_others_T[part] = torch.logsumexp(logit_TC, dim=1)
        ctx.save_for_backward(query_TD, candidate_CD, offset_C, log_others_T, log_group_T)
        ctx.group_T, ctx.group_C, ctx.excluded, ctx.block_rows = group_T, group_C, excluded, block_rows
        return torch.logaddexp(log_others_T - log_group_T, log_others_T.new_zeros(()))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query_TD, candidate_CD, offset_C, log_others_T, log_group_T = ctx.saved_tensors
        # The gradient moves this much from the others to the group, each sharing it by its part of its own sum.
        moved_T1 = (grad_outputs[0] * torch.sigmoid(log_others_T - log_group_T))[:, None]
        # Without others nothing moves: exp(-inf - 0) is zero, exp(-inf + inf) would be no number.
        log_others_T = log_others_T.masked_fill(torch.isneginf(log_others_T), 0.0)
        grad_query_TD = torch.empty_like(query_TD)
        grad_candidate_CD = torch.zeros_like(candidate_CD)
        for part, (masked,) in blocks(len(query_TD), ctx.block_rows, [ctx.excluded]):
            share_TC, row_P, cell_P, logit_P = _split_logits(
                query_TD[part], candidate_CD, offset_C, ctx.group_T[part], ctx.group_C, masked
            )
            share_TC.sub_(log_others_T[part, None]).exp_()
            share_TC.view(-1)[cell_P] = -torch.exp(logit_P - log_group_T[part][row_P])
            grad_query_TD[part] = torch.mm(share_TC, candidate_CD).mul_(moved_T1[part])
            grad_candidate_CD.addmm_(share_TC.T, query_TD[part] * moved_T1[part])
        return grad_query_TD, grad_candidate_CD, None, None, None, None, None


def _split_logits(
    query_TD: Tensor, candidate_CD: Tensor, offset_C: Tensor, group_T: Tensor, group_C: Tensor, masked: Pairs
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the logits of the others, minus infinity where there are none; and row, cell and logit of the group's own."""
    logit_TC = torch.addmm(offset_C, query_TD, candidate_CD.T)
    flat = logit_TC.view(-1)
    row_P, column_P = equal_pairs(group_T, group_C)
    cell_P = row_P * len(candidate_CD) + column_P
    logit_P = flat[cell_P]
    flat.index_fill_(0, cell_P, -torch.inf)
    flat.index_fill_(0, masked[0] * len(candidate_CD) + masked[1], -torch.inf)
    return logit_TC, row_P, cell_P, logit_P

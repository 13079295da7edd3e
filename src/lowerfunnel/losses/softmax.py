"""Sampled softmax over candidates that a whole batch shares, corrected for how they were sampled.

Shape letters: R requests in the batch, B examples (positives of the requests, R <= B), C candidates, D width of the
embeddings, N candidates of single requests, S items that requests are spared (both ragged over R).
The first B candidates are the examples' positives, in order. Within a block of rows, R is that block's requests, C the
shared candidates and N the block's own ones.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lowerfunnel.losses.pairs import Pairs, blocks, exclusions, ragged_pairs


def sampled_softmax_loss(
    query_RD: Float[Tensor, "R D"],
    candidate_CD: Float[Tensor, "C D"],
    log_q_C: Float[Tensor, " C"],
    *,
    row_B: Int[Tensor, " B"],
    item_C: Int[Tensor, " C"],
    user_R: Int[Tensor, " R"],
    positive_log_q_B: Float[Tensor, " B"] | None = None,
    shared: int | None = None,
    own: tuple[Int[Tensor, " N"], Int[Tensor, " R1"]] | None = None,
    spared: tuple[Int[Tensor, " S"], Int[Tensor, " R1"]] | None = None,
    reweighted: bool = False,
    block_rows: int = 128,
) -> Float[Tensor, " B"]:
    r"""Cross-entropy of each example's positive against its request's negatives.

    ``loss_b = log( exp(p_b) + Z_r ) - p_b`` with r the request of example b, ``p_b = <query_r, candidate_b> -
    positive_log_q_b`` and ``Z_r = sum_{c in N_r} exp( <query_r, candidate_c> - log_q_c )``. N_r holds the shared
    candidates and the request's own ones, without every candidate whose item is a positive of the request or of another
    request of its user in this batch (up to a third of them are false negatives otherwise), or is spared the request.
    Z_r is found once per request, however many examples it has. The logits are walked in blocks of rows and recomputed
    for the gradient, so no R x C matrix is kept. A request without negatives has a loss and a gradient of exactly zero.

    With `reweighted`, ``loss_b = (1 - P_b) * ( log Z_r - p_b )`` with ``P_b = exp(p_b) / ( exp(p_b) + Z_r )`` held
    constant. The gradient of a full softmax is ``(1 - P_b) * ( -grad p_b + E[grad s_c | c is not the positive] )``;
    only the expectation is estimated from samples, so only it is corrected. The value is no cross-entropy and may be
    negative.

    Args:
        query_RD: One embedding per request, already divided by the temperature.
        candidate_CD: One embedding per candidate; candidate b < B is example b's positive.
        log_q_C: Natural log of the expected number of draws of each candidate as a negative. Never clipped: a floor
            would stop correcting exactly the rare candidates. Infinite for what is nobody's negative: an item that is
            never drawn is no candidate.
        row_B: Request of each example, 0 to R - 1.
        item_C: Item of each candidate.
        user_R: User of each request; negative for an anonymous one, which equals nobody.
        positive_log_q_B: What is subtracted from each positive's own logit. The positive is not sampled, so newer work
            leaves it uncorrected; Yi et al. correct it.
        shared: How many leading candidates every request is compared with, from B to C; all of them if not given.
        own: Candidates that single requests alone are compared with, such as ads that were served to them and ignored:
            their places among the C, and where each request's start among these. One that is shared as well counts
            in both, and one listed twice counts twice.
        spared: Items that are no negatives of single requests, such as what their users have already bought: the items,
            and where each request's start among them.
        reweighted: Whether the positive's probability weighs the loss instead of entering its sum.
        block_rows: Rows of logits held at a time; some MiB of them stay in a cache, which is a fifth faster than 512 rows.

    Returns:
        One loss per example, in nats. Not averaged.

    Raises:
        ValueError: If there are fewer candidates than examples, `shared` is out of range, a ragged list does not fit the
            requests, or a positive is corrected by something infinite, or in a reweighted loss.

    References:
        Yi et al., RecSys 2019 (eq. 4); unlike the paper, accidental hits and same-user positives are removed.
        "Correcting the LogQ Correction", RecSys 2025, arXiv 2507.09331, for `reweighted`. Unlike the paper, `log_q_C` is
        not renormalised to what is drawn when the positive is not: that shifts log Z_r by one constant per example,
        which has no gradient of its own and moves P_b little.

    Example:
        >>> one = torch.eye(2)
        >>> ids = torch.arange(2)
        >>> sampled_softmax_loss(one, one, torch.zeros(2), row_B=ids, item_C=ids, user_R=ids)
        tensor([0.3133, 0.3133])
    """
    requests, examples, candidates = len(query_RD), len(row_B), len(candidate_CD)
    shared = candidates if shared is None else shared
    if candidates < examples:
        raise ValueError(
            f"every example needs its positive among the candidates: {examples} examples came with "
            f"{candidates} candidates"
        )
    if not examples <= shared <= candidates:
        raise ValueError(f"shared candidates number from {examples} (the positives) to {candidates}, got {shared}")
    for name, ragged in (("own", own), ("spared", spared)):
        if ragged is not None and len(ragged[1]) != requests + 1:
            raise ValueError(f"{name} needs {requests + 1} offsets for {requests} requests, got {len(ragged[1])}")
    if positive_log_q_B is not None and reweighted:
        raise ValueError("a reweighted loss leaves the positive uncorrected: leave out positive_log_q_B")
    if positive_log_q_B is not None and not torch.isfinite(positive_log_q_B).all():
        raise ValueError(
            "positive_log_q_B holds something infinite: a positive that is never drawn cannot be corrected"
        )

    excluded = exclusions(item_C, row_B=row_B, user_R=user_R, spared=spared)
    own_pairs = None
    if own is not None:
        row_N, place_N = ragged_pairs(*own)
        kept_N = ~excluded.hold(row_N, place_N)
        own_pairs = row_N[kept_N], place_N[kept_N].long()
    log_z_R: Tensor = _NegativesLogSumExp.apply(  # type: ignore[no-untyped-call]
        query_RD, candidate_CD, offset_of(log_q_C), shared, excluded.pairs(shared), own_pairs, block_rows
    )
    positive_B = (query_RD.index_select(0, row_B) * candidate_CD[:examples]).sum(dim=1)
    log_z_B = log_z_R.index_select(0, row_B)
    if not reweighted:
        if positive_log_q_B is not None:
            positive_B = positive_B - positive_log_q_B
        return torch.logaddexp(log_z_B - positive_B, log_z_B.new_zeros(()))
    weight_B = torch.sigmoid(log_z_B - positive_B).detach()
    # Without negatives the weight is zero, and zero times minus infinity would be no number.
    log_z_B = torch.where(torch.isneginf(log_z_B), positive_B.detach(), log_z_B)
    return weight_B * (log_z_B - positive_B)


def offset_of(log_q_C: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
    """Return what is added to every logit of a candidate; minus infinity for what is nobody's negative."""
    return torch.where(torch.isinf(log_q_C), -torch.inf, -log_q_C)


class _NegativesLogSumExp(torch.autograd.Function):
    """log Z of each request, minus infinity without negatives; its blocked forward and backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        query_RD: Tensor,
        candidate_CD: Tensor,
        offset_C: Tensor,
        shared: int,
        excluded: Pairs,
        own: Pairs | None,
        block_rows: int,
    ) -> Tensor:
        log_z_R = query_RD.new_empty(len(query_RD))
        lists = [excluded] if own is None else [excluded, own]
        for part, (masked, *own_part) in blocks(len(query_RD), block_rows, lists):
            query_PD = query_RD[part]
            logit_RC = _shared_logits(query_PD, candidate_CD[:shared], offset_C[:shared], masked)
            largest_R = logit_RC.amax(dim=1)
            for row_N, place_N in own_part:
                logit_N = _own_logits(query_PD, candidate_CD, offset_C, row_N, place_N)
                largest_R.scatter_reduce_(0, row_N, logit_N, "amax")
            largest_R.masked_fill_(torch.isneginf(largest_R), 0.0)
            sum_R = logit_RC.sub_(largest_R[:, None]).exp_().sum(dim=1)
            for row_N, _ in own_part:
                sum_R.index_add_(0, row_N, torch.exp(logit_N - largest_R[row_N]))
            log_z_R[part] = largest_R + torch.log(sum_R)
        ctx.save_for_backward(query_RD, candidate_CD, offset_C, log_z_R)
        ctx.shared, ctx.lists, ctx.block_rows = shared, lists, block_rows
        return log_z_R

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query_RD, candidate_CD, offset_C, log_z_R = ctx.saved_tensors
        # Requests without negatives share nothing: exp(-inf - 0) is zero, exp(-inf + inf) would be no number.
        log_z_R = log_z_R.masked_fill(torch.isneginf(log_z_R), 0.0)
        shared_SD = candidate_CD[: ctx.shared]
        grad_query_RD = torch.empty_like(query_RD)
        grad_candidate_CD = torch.zeros_like(candidate_CD)
        for part, (masked, *own_part) in blocks(len(query_RD), ctx.block_rows, ctx.lists):
            query_PD, scale_R1 = query_RD[part], grad_outputs[0][part, None]
            share_RC = _shared_logits(query_PD, shared_SD, offset_C[: ctx.shared], masked)
            share_RC.sub_(log_z_R[part, None]).exp_()
            # The upstream gradient scales D columns here, where scaling the shares would take C.
            grad_PD = torch.mm(share_RC, shared_SD)
            grad_candidate_CD[: ctx.shared].addmm_(share_RC.T, query_PD * scale_R1)
            for row_N, place_N in own_part:
                logit_N = _own_logits(query_PD, candidate_CD, offset_C, row_N, place_N)
                share_N1 = torch.exp(logit_N - log_z_R[part][row_N])[:, None]
                grad_PD.index_add_(0, row_N, share_N1 * candidate_CD[place_N])
                grad_candidate_CD.index_add_(0, place_N, share_N1 * (query_PD * scale_R1)[row_N])
            grad_query_RD[part] = grad_PD.mul_(scale_R1)
        return grad_query_RD, grad_candidate_CD, None, None, None, None, None


def _shared_logits(query_RD: Tensor, candidate_CD: Tensor, offset_C: Tensor, masked: Pairs) -> Tensor:
    """Return the corrected logits of some rows, minus infinity where the candidate is no negative."""
    logit_RC = torch.addmm(offset_C, query_RD, candidate_CD.T)
    logit_RC.view(-1).index_fill_(0, masked[0] * len(candidate_CD) + masked[1], -torch.inf)
    return logit_RC


def _own_logits(query_RD: Tensor, candidate_CD: Tensor, offset_C: Tensor, row_N: Tensor, place_N: Tensor) -> Tensor:
    """Return the corrected logits of pairs of a row and a candidate."""
    return (query_RD[row_N] * candidate_CD[place_N]).sum(dim=1) + offset_C[place_N]


def weighted_mean(value_B: Float[Tensor, " B"], weight_B: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Reduce losses to one number: the mean weighted by `weight_B`.

    Raises:
        ValueError: If the weights do not add up to more than zero.
    """
    total = weight_B.sum()
    if not total > 0:
        raise ValueError(f"the weights of a batch must add up to more than zero, got {total.item()}")
    return (value_B * weight_B).sum() / total

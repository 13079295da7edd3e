"""Laws of the losses on groups first, then values by hand, then extremes."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lowerfunnel.losses.grouped import group_means, grouped_softmax_loss
from lowerfunnel.losses.softmax import sampled_softmax_loss


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Plain values of a batch; the lists of single requests are lists here."""

    query: Tensor
    candidate: Tensor
    log_q: Tensor
    row: list[int]
    item: list[int]
    group: list[int]
    user: list[int]
    spared: list[list[int]]

    def arguments(self) -> dict[str, Any]:
        return {
            "row_B": torch.tensor(self.row),
            "item_C": torch.tensor(self.item, dtype=torch.int32),
            "user_R": torch.tensor(self.user, dtype=torch.int32),
            "spared": ragged(self.spared),
        }

    def loss(self, **changed: Any) -> Tensor:
        group_C = torch.tensor(self.group, dtype=torch.int32)
        arguments = {**self.arguments(), "group_C": group_C, **changed}
        return grouped_softmax_loss(self.query, self.candidate, self.log_q, **arguments)

    def expected(self) -> Tensor:
        """The formula, written out in the precision of the query."""
        losses = []
        for b, row in enumerate(self.row):
            logit = self.candidate @ self.query[row] - self.log_q
            user, group = self.user[row], self.group[b]
            positives = {
                self.item[other]
                for other, other_row in enumerate(self.row)
                if other_row == row or (user >= 0 and self.user[other_row] == user)
            }
            barred = positives | set(self.spared[row])
            own = [c for c, g in enumerate(self.group) if g == group]
            others = [c for c, g in enumerate(self.group) if g not in {group, -1} and self.item[c] not in barred]
            known = torch.logsumexp(logit[own + others], 0) - torch.logsumexp(logit[own], 0)
            losses.append(0.0 * logit[b] if group < 0 else known)
        return torch.stack(losses)


def ragged(lists: list[list[int]]) -> tuple[Tensor, Tensor]:
    offsets = [0, *itertools.accumulate(len(own) for own in lists)]
    return torch.tensor([item for own in lists for item in own], dtype=torch.int32), torch.tensor(offsets)


def gradients(batch: Batch, loss_of: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The losses, and the gradient of their weighted sum with respect to queries and candidates."""
    query, candidate = batch.query.clone().requires_grad_(), batch.candidate.clone().requires_grad_()
    loss = loss_of(replace(batch, query=query, candidate=candidate))
    (loss * upstream).sum().backward()
    assert query.grad is not None
    assert candidate.grad is not None
    return loss.detach(), query.grad, candidate.grad


@st.composite
def batches(draw: st.DrawFn, *, known: bool = False, dtype: torch.dtype = torch.float64) -> Batch:
    requests, width = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    row = draw(st.permutations([*range(requests), *draw(st.lists(st.integers(0, requests - 1), max_size=3))]))
    candidates = len(row) + draw(st.integers(0, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return Batch(
        query=torch.randn(requests, width, generator=generator, dtype=dtype),
        candidate=torch.randn(candidates, width, generator=generator, dtype=dtype),
        log_q=torch.randn(candidates, generator=generator, dtype=dtype) * 3,
        row=list(row),
        item=draw(st.lists(st.integers(0, 8), min_size=candidates, max_size=candidates)),
        group=draw(st.lists(st.integers(0 if known else -1, 3), min_size=candidates, max_size=candidates)),
        user=draw(st.lists(st.integers(-1, 2), min_size=requests, max_size=requests)),
        spared=draw(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=requests, max_size=requests)),
    )


@given(batches(), st.integers(1, 6))
def test_blocks_agree_with_the_formula_and_its_gradient(batch: Batch, block_rows: int) -> None:
    upstream = torch.linspace(-0.5, 1.5, len(batch.row), dtype=torch.float64)
    fused = gradients(batch, lambda b: b.loss(block_rows=block_rows), upstream)
    written_out = gradients(batch, lambda b: b.expected(), upstream)
    for left, right in zip(fused, written_out, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-10)


@given(batches(dtype=torch.float32))
def test_single_precision_agrees_with_double(batch: Batch) -> None:
    twice = {name: getattr(batch, name).double() for name in ("query", "candidate", "log_q")}
    torch.testing.assert_close(batch.loss().double(), replace(batch, **twice).loss(), rtol=1e-4, atol=1e-5)


@given(batches())
def test_when_every_item_is_its_own_group_it_is_the_sampled_softmax(batch: Batch) -> None:
    """With distinct items, the positive corrected as all others are."""
    each = list(range(len(batch.item)))
    batch = replace(batch, item=each, group=each)
    plain = sampled_softmax_loss(
        batch.query,
        batch.candidate,
        batch.log_q,
        positive_log_q_B=batch.log_q[: len(batch.row)],
        **batch.arguments(),
    )
    torch.testing.assert_close(batch.loss(), plain)


@given(batches())
def test_one_group_alone_loses_nothing(batch: Batch) -> None:
    alone = replace(batch, group=[4] * len(batch.group))
    for tensor in gradients(alone, lambda b: b.loss(), torch.ones(len(batch.row))):
        assert not tensor.any()


@given(batches(known=True), st.integers(0, 3), st.integers(0, 3))
def test_merging_the_positives_group_with_another_never_raises_its_loss(batch: Batch, into: int, merged: int) -> None:
    """Rivals become positives, and so does what was excluded, on both sides of the fraction; no other loss changes."""
    after = replace(batch, group=[into if group == merged else group for group in batch.group])
    inside = torch.tensor([group in {into, merged} for group in batch.group[: len(batch.row)]])
    assert (after.loss()[inside] <= batch.loss()[inside] + 1e-12).all()
    torch.testing.assert_close(after.loss()[~inside], batch.loss()[~inside])


@given(batches(), st.data())
def test_an_unknown_group_or_an_infinite_log_q_is_as_good_as_no_candidate(batch: Batch, data: st.DataObject) -> None:
    extra = data.draw(st.integers(len(batch.row), len(batch.item)))
    group, log_q = data.draw(st.sampled_from([(-1, 0.0), (0, -torch.inf), (1, torch.inf)]))
    widened = replace(
        batch,
        candidate=torch.cat([batch.candidate[:extra], batch.candidate[:1] + 1, batch.candidate[extra:]]),
        log_q=torch.cat([batch.log_q[:extra], torch.tensor([log_q]), batch.log_q[extra:]]),
        item=[*batch.item[:extra], data.draw(st.integers(0, 9)), *batch.item[extra:]],
        group=[*batch.group[:extra], group, *batch.group[extra:]],
    )
    torch.testing.assert_close(widened.loss(), batch.loss())


@given(batches())
def test_an_example_of_an_unknown_group_has_exactly_no_loss_and_no_gradient(batch: Batch) -> None:
    unknown = torch.tensor([group < 0 for group in batch.group[: len(batch.row)]], dtype=torch.float64)
    loss, grad_query, grad_candidate = gradients(batch, lambda b: b.loss(), unknown)
    assert not loss[unknown.bool()].any()
    assert not grad_query.any()
    assert not grad_candidate.any()


@given(batches(), st.randoms(use_true_random=False))
def test_permuting_the_examples_permutes_the_losses(batch: Batch, random: Any) -> None:
    order = list(range(len(batch.row)))
    random.shuffle(order)
    moved = [*order, *range(len(order), len(batch.item))]
    permuted = replace(
        batch,
        candidate=batch.candidate[moved],
        log_q=batch.log_q[moved],
        row=[batch.row[b] for b in order],
        item=[batch.item[c] for c in moved],
        group=[batch.group[c] for c in moved],
    )
    torch.testing.assert_close(permuted.loss(), batch.loss()[order])


@given(batches(), st.randoms(use_true_random=False))
def test_permuting_the_requests_changes_nothing(batch: Batch, random: Any) -> None:
    order = list(range(len(batch.user)))
    random.shuffle(order)
    permuted = replace(
        batch,
        query=batch.query[order],
        row=[order.index(row) for row in batch.row],
        user=[batch.user[r] for r in order],
        spared=[batch.spared[r] for r in order],
    )
    torch.testing.assert_close(permuted.loss(), batch.loss())


@given(batches(), st.floats(-50, 50))
def test_adding_a_constant_to_every_log_q_changes_nothing(batch: Batch, shift: float) -> None:
    torch.testing.assert_close(replace(batch, log_q=batch.log_q + shift).loss(), batch.loss())


@given(batches())
def test_the_names_of_groups_do_not_matter(batch: Batch) -> None:
    renamed = replace(batch, group=[-1 if group < 0 else 1_000_000 - 17 * group for group in batch.group])
    torch.testing.assert_close(renamed.loss(), batch.loss())


def simple(groups: list[int], items: list[int], users: list[int], row: list[int] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(5)
    return Batch(
        query=torch.randn(len(users), 3, generator=generator),
        candidate=torch.randn(len(items), 3, generator=generator),
        log_q=torch.zeros(len(items)),
        row=list(range(len(users))) if row is None else row,
        item=items,
        group=groups,
        user=users,
        spared=[[] for _ in users],
    )


def test_what_else_a_user_bought_is_no_negative_but_stays_in_its_own_group() -> None:
    batch = simple([0, 1], [5, 6], [3, 3])
    assert batch.loss().tolist() == [0.0, 0.0]
    assert (replace(batch, user=[-1, -1]).loss() > 0).all()
    three = simple([0, 0, 1], [5, 6, 7], [3, 3, 4])
    torch.testing.assert_close(three.loss()[:2], replace(three, user=[3, 5, 4]).loss()[:2])


def test_rare_candidates_are_still_corrected() -> None:
    rare, rarer = (
        replace(simple([0, 1], [5, 6], [1, 2]), log_q=torch.tensor([0.0, math.log(draws)])).loss()[0].item()
        for draws in (1e-6, 1e-9)
    )
    assert rarer - rare == pytest.approx(math.log(1e3), rel=1e-3)


def test_value_by_hand() -> None:
    """Group 0 holds the positive and candidate 2, which is drawn twice in expectation; 4 is of no known group."""
    batch = Batch(
        query=torch.tensor([[1.0], [-1.0]]),
        candidate=torch.tensor([[1.0], [2.0], [3.0], [4.0], [9.0]]),
        log_q=torch.tensor([0.0, 0.0, math.log(2.0), 0.0, 0.0]),
        row=[0, 1],
        item=[10, 11, 12, 13, 14],
        group=[0, 1, 0, 1, -1],
        user=[1, 2],
        spared=[[13], []],
    )
    first = math.log1p(math.exp(2.0) / (math.exp(1.0) + math.exp(3.0) / 2))
    second = math.log1p((math.exp(-1.0) + math.exp(-3.0) / 2) / (math.exp(-2.0) + math.exp(-4.0)))
    assert batch.loss().tolist() == pytest.approx([first, second])


@pytest.mark.parametrize("scale", [50.0, 1e4])
def test_extreme_logits_stay_finite(scale: float) -> None:
    for sign in (1.0, -1.0):
        batch = replace(
            simple([0, 1, 0, 1], [1, 2, 3, 4], [1, 2]),
            query=torch.tensor([[scale, 0.0], [0.0, scale]]),
            candidate=sign * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]),
        )
        loss, grad_query, grad_candidate = gradients(batch, lambda b: b.loss(), torch.ones(2))
        assert all(tensor.isfinite().all() for tensor in (loss, grad_query, grad_candidate))
        expected = 2 * scale if sign < 0 else 0.0
        assert loss.tolist() == pytest.approx([expected] * 2, abs=1e-3)
        assert grad_query.abs().amax().item() == pytest.approx(2.0 if sign < 0 else 0.0, abs=1e-3)


def test_what_does_not_fit_is_refused() -> None:
    batch = simple([0, 1], [5, 6], [1, 2])
    with pytest.raises(ValueError, match="3 examples came with 2 candidates"):
        replace(batch, row=[0, 1, 1]).loss()
    with pytest.raises(ValueError, match="spared needs 3 offsets for 2 requests, got 2"):
        batch.loss(spared=ragged([[1]]))
    with pytest.raises(ValueError, match="infinite for a positive"):
        replace(batch, log_q=torch.tensor([0.0, -torch.inf])).loss()


@given(batches(), st.booleans())
def test_the_means_of_groups_agree_with_a_loop(batch: Batch, weighted: bool) -> None:
    group_C = torch.tensor(batch.group)
    weight_C = torch.rand(len(batch.item), generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    mean_GD, group_G, place_C = group_means(batch.candidate, group_C, weight_C if weighted else None)
    assert group_G.tolist() == sorted(set(batch.group) - {-1})
    assert [-1 if place < 0 else int(group_G[place]) for place in place_C.tolist()] == batch.group
    for mean_D, group in zip(mean_GD, group_G.tolist(), strict=True):
        weight_N1 = (weight_C if weighted else torch.ones_like(weight_C))[group_C == group][:, None]
        torch.testing.assert_close(mean_D, (weight_N1 * batch.candidate[group_C == group]).sum(0) / weight_N1.sum())


def test_the_mean_of_a_group_has_its_gradient() -> None:
    vector_CD = torch.tensor([[1.0], [3.0], [8.0]], requires_grad=True)
    mean_GD, _, _ = group_means(vector_CD, torch.tensor([7, 7, -1]), torch.tensor([1.0, 3.0, 5.0]))
    assert mean_GD.tolist() == [[2.5]]
    mean_GD.sum().backward()
    assert vector_CD.grad is not None
    assert vector_CD.grad.tolist() == [[0.25], [0.75], [0.0]]


def test_a_group_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"those of group 4 add up to 0\.0"):
        group_means(torch.ones(2, 1), torch.tensor([3, 4]), torch.tensor([1.0, 0.0]))


def test_groups_as_items_of_the_sampled_softmax() -> None:
    """One request of group 0's item against the mean of each group, each once: a softmax over both groups."""
    vector_CD, group_C = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])
    mean_GD, group_G, place_C = group_means(vector_CD, group_C)
    loss = sampled_softmax_loss(
        torch.ones(1, 1),
        torch.cat([mean_GD[place_C[:1]], mean_GD]),
        # A positive's own column is nobody's negative: its group has another one.
        torch.cat([torch.full((1,), torch.inf), torch.zeros(len(group_G))]),
        row_B=torch.zeros(1, dtype=torch.int64),
        item_C=torch.cat([group_C[:1], group_G]),
        user_R=torch.tensor([-1]),
    )
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(5.0 - 2.0))])

"""Laws of the sampled softmax first, then values by hand, then extremes."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lowerfunnel.losses.softmax import sampled_softmax_loss, weighted_mean


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Plain values of a batch; the lists of single requests are lists here."""

    query: Tensor
    candidate: Tensor
    log_q: Tensor
    row: list[int]
    item: list[int]
    user: list[int]
    positive_log_q: Tensor | None = None
    shared: int
    own: list[list[int]]
    spared: list[list[int]]
    reweighted: bool = False

    def loss(self, **changed: Any) -> Tensor:
        lists = {"own": ragged(self.own), "spared": ragged(self.spared)}
        return sampled_softmax_loss(
            self.query,
            self.candidate,
            self.log_q,
            row_B=torch.tensor(self.row),
            item_C=torch.tensor(self.item, dtype=torch.int32),
            user_R=torch.tensor(self.user, dtype=torch.int32),
            positive_log_q_B=self.positive_log_q,
            **(lists | {"shared": self.shared, "reweighted": self.reweighted} | changed),
        )

    def negatives(self, request: int) -> list[int]:
        """The places of a request's negatives, by the words of the definition."""
        user = self.user[request]
        positives = {
            self.item[b] for b, row in enumerate(self.row) if row == request or (user >= 0 and self.user[row] == user)
        }
        barred = positives | set(self.spared[request])
        return [c for c in [*range(self.shared), *self.own[request]] if self.item[c] not in barred]

    def expected(self) -> Tensor:
        """The formula, written out in the precision of the query."""
        losses = []
        for b, row in enumerate(self.row):
            score = self.candidate @ self.query[row]
            positive = score[b] - (0.0 if self.positive_log_q is None else self.positive_log_q[b])
            places = self.negatives(row)
            if not places:
                losses.append(0.0 * positive)
                continue
            negative = (score - self.log_q)[places]
            total = torch.logsumexp(torch.cat([positive[None], negative]), 0)
            if self.reweighted:
                losses.append((1 - torch.exp(positive - total)).detach() * (torch.logsumexp(negative, 0) - positive))
            else:
                losses.append(total - positive)
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
def batches(draw: st.DrawFn, *, dtype: torch.dtype = torch.float64, reweighted: bool | None = None) -> Batch:
    requests, width = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    # Every request has an example, some several, in any order.
    row = draw(st.permutations([*range(requests), *draw(st.lists(st.integers(0, requests - 1), max_size=3))]))
    shared = len(row) + draw(st.integers(0, 4))
    candidates = shared + draw(st.integers(0, 4))
    items = draw(st.lists(st.integers(0, 6), min_size=candidates, max_size=candidates))
    places = st.lists(st.integers(0, candidates - 1), max_size=4)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    reweighted = draw(st.booleans()) if reweighted is None else reweighted
    log_q = torch.randn(candidates, generator=generator, dtype=dtype) * 3
    corrected = not reweighted and draw(st.booleans())
    return Batch(
        query=torch.randn(requests, width, generator=generator, dtype=dtype),
        candidate=torch.randn(candidates, width, generator=generator, dtype=dtype),
        log_q=log_q,
        row=list(row),
        item=items,
        user=draw(st.lists(st.integers(-1, 2), min_size=requests, max_size=requests)),
        positive_log_q=torch.randn(len(row), generator=generator, dtype=dtype) if corrected else None,
        shared=shared,
        own=draw(st.lists(places, min_size=requests, max_size=requests)),
        spared=draw(st.lists(st.lists(st.integers(0, 8), max_size=3), min_size=requests, max_size=requests)),
        reweighted=reweighted,
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
    if batch.positive_log_q is not None:
        twice["positive_log_q"] = batch.positive_log_q.double()
    torch.testing.assert_close(batch.loss().double(), replace(batch, **twice).loss(), rtol=1e-4, atol=1e-5)


@given(batches(), st.randoms(use_true_random=False))
def test_permuting_the_examples_permutes_the_losses(batch: Batch, random: Any) -> None:
    order = list(range(len(batch.row)))
    random.shuffle(order)
    moved = [*order, *range(len(order), len(batch.item))]
    place = {old: new for new, old in enumerate(moved)}
    permuted = replace(
        batch,
        candidate=batch.candidate[moved],
        log_q=batch.log_q[moved],
        row=[batch.row[b] for b in order],
        item=[batch.item[c] for c in moved],
        positive_log_q=None if batch.positive_log_q is None else batch.positive_log_q[order],
        own=[[place[c] for c in own] for own in batch.own],
    )
    torch.testing.assert_close(permuted.loss(), batch.loss()[order])


@given(batches(), st.randoms(use_true_random=False))
def test_permuting_the_requests_changes_nothing(batch: Batch, random: Any) -> None:
    order = list(range(len(batch.user)))
    random.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    permuted = replace(
        batch,
        query=batch.query[order],
        row=[place[row] for row in batch.row],
        user=[batch.user[r] for r in order],
        own=[batch.own[r] for r in order],
        spared=[batch.spared[r] for r in order],
    )
    torch.testing.assert_close(permuted.loss(), batch.loss())


@given(batches(reweighted=False), st.floats(-50, 50))
def test_adding_a_constant_to_every_log_q_changes_nothing(batch: Batch, shift: float) -> None:
    batch = replace(batch, positive_log_q=batch.log_q[: len(batch.row)])
    assert batch.positive_log_q is not None
    moved = replace(batch, log_q=batch.log_q + shift, positive_log_q=batch.positive_log_q + shift)
    torch.testing.assert_close(moved.loss(), batch.loss())


@given(batches(reweighted=False))
def test_equal_requests_of_one_user_lose_the_same_as_one_request(batch: Batch) -> None:
    """Every example gets a request of its own; the user's positives are no negatives of any of them."""
    user = [user if user >= 0 else 10 + r for r, user in enumerate(batch.user)]
    split = replace(
        batch,
        query=batch.query[batch.row],
        row=list(range(len(batch.row))),
        user=[user[r] for r in batch.row],
        own=[batch.own[r] for r in batch.row],
        spared=[batch.spared[r] for r in batch.row],
    )
    torch.testing.assert_close(split.loss(), batch.loss())


@given(batches(), st.data())
def test_sparing_a_candidate_equals_deleting_it(batch: Batch, data: st.DataObject) -> None:
    """A candidate that is nobody's positive, of an item that no other has, spared to all."""
    extra = data.draw(st.integers(len(batch.row), len(batch.item)))
    infinite = data.draw(st.booleans())
    widened = replace(
        batch,
        candidate=torch.cat([batch.candidate[:extra], batch.candidate[:1] + 1, batch.candidate[extra:]]),
        log_q=torch.cat([batch.log_q[:extra], torch.tensor([-torch.inf if infinite else -3.0]), batch.log_q[extra:]]),
        item=[*batch.item[:extra], 99, *batch.item[extra:]],
        shared=batch.shared + (extra <= batch.shared),
        own=[[c + (c >= extra) for c in own] + [extra] for own in batch.own],
        spared=batch.spared if infinite else [[*own, 99] for own in batch.spared],
    )
    torch.testing.assert_close(widened.loss(), batch.loss())


@given(batches(), st.data())
def test_a_hard_negative_of_one_request_touches_no_other(batch: Batch, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(batch.user) - 1))
    extra = len(batch.item)
    harder = [
        replace(
            batch,
            candidate=torch.cat([batch.candidate, torch.full((1, batch.candidate.shape[1]), value)]),
            log_q=torch.cat([batch.log_q, torch.zeros(1)]),
            item=[*batch.item, 99],
            own=[[*own, extra] if r == row else own for r, own in enumerate(batch.own)],
        )
        for value in (-1.0, 2.0)
    ]
    others = torch.tensor([r != row for r in batch.row], dtype=torch.float64)
    first, second = (gradients(one, lambda b: b.loss(), others) for one in harder)
    assert torch.equal(first[0][others.bool()], second[0][others.bool()])
    assert all(torch.equal(left, right) for left, right in zip(first[1:], second[1:], strict=True))
    assert not first[2][extra].any()


def test_a_hard_negative_of_a_request_raises_its_losses_and_gets_a_gradient() -> None:
    plain = simple([1, 2, 3, 4], [7, 8], row=[0, 1, 0])
    hard = replace(plain, shared=3, own=[[3], []])
    without = replace(plain, shared=3)
    assert (hard.loss() > without.loss()).tolist() == [True, False, True]
    grad_candidate = gradients(hard, lambda b: b.loss(), torch.ones(3))[2]
    assert grad_candidate[3].any()
    assert not gradients(without, lambda b: b.loss(), torch.ones(3))[2][3].any()


@given(batches(reweighted=False))
def test_empty_lists_equal_no_lists(batch: Batch) -> None:
    nothing = [[] for _ in batch.user]
    bare = replace(batch, shared=len(batch.item), own=nothing, spared=nothing)
    assert torch.equal(bare.loss(), bare.loss(shared=None, own=None, spared=None))


@given(batches(reweighted=True))
def test_the_reweighted_gradient_is_that_of_a_full_softmax_when_every_item_is_drawn_once(batch: Batch) -> None:
    """Nothing is estimated then: the gradient must be exact, although the value is another one."""
    items = len(batch.item)
    full = replace(
        batch,
        log_q=torch.zeros(items, dtype=torch.float64),
        item=list(range(items)),
        row=list(range(len(batch.user))),
        user=[-1] * len(batch.user),
        own=[[] for _ in batch.user],
        spared=[[] for _ in batch.user],
    )
    upstream = torch.linspace(0.5, 1.5, len(full.row), dtype=torch.float64)
    reweighted = gradients(full, lambda b: b.loss(), upstream)
    softmax = gradients(full, lambda b: replace(b, reweighted=False).loss(), upstream)
    for left, right in zip(reweighted[1:], softmax[1:], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-11)


def simple(
    items: list[int], users: list[int], *, row: list[int] | None = None, log_q: list[float] | None = None
) -> Batch:
    generator = torch.Generator().manual_seed(5)
    return Batch(
        query=torch.randn(len(users), 3, generator=generator),
        candidate=torch.randn(len(items), 3, generator=generator),
        log_q=torch.tensor(log_q) if log_q else torch.zeros(len(items)),
        row=list(range(len(users))) if row is None else row,
        item=items,
        user=users,
        shared=len(items),
        own=[[] for _ in users],
        spared=[[] for _ in users],
    )


def test_what_else_a_user_bought_is_no_negative_of_it() -> None:
    assert simple([1, 2], [7, 7]).loss().tolist() == [0.0, 0.0]
    assert (simple([1, 2], [-1, -1]).loss() > 0).all()
    # Neither is the same item drawn once more, beside the positives.
    assert simple([1, 2, 2], [7, 7]).loss().tolist() == [0.0, 0.0]


def test_a_spared_item_is_no_negative_of_its_request_alone() -> None:
    batch = simple([1, 2, 3], [7, 8])
    loss = replace(batch, spared=[[2, 3], []]).loss()
    assert loss[0].item() == 0.0
    assert loss[1].item() == batch.loss()[1].item()


@pytest.mark.parametrize("reweighted", [True, False])
def test_a_request_without_negatives_has_exactly_no_loss_and_no_gradient(reweighted: bool) -> None:
    alone = replace(simple([3], [-1]), reweighted=reweighted)
    everything_spared = replace(simple([3, 4, 5], [0], row=[0, 0]), spared=[[5]], own=[[2, 1]], reweighted=reweighted)
    for batch in (alone, everything_spared):
        for tensor in gradients(batch, lambda b: b.loss(), torch.ones(len(batch.row))):
            assert not tensor.any()


def test_rare_candidates_are_still_corrected() -> None:
    rare = simple([1, 2], [1, 2], log_q=[0.0, math.log(1e-6)])
    rarer = simple([1, 2], [1, 2], log_q=[0.0, math.log(1e-9)])
    for one, other in ((rare, rarer), (replace(rare, shared=2, own=[[1], []]), replace(rarer, own=[[1], []]))):
        assert other.loss()[0].item() - one.loss()[0].item() == pytest.approx(math.log(1e3), rel=1e-3)


def test_value_by_hand() -> None:
    """Two requests; the first has two positives and ignored candidate 3, which was drawn twice in expectation."""
    batch = Batch(
        query=torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        candidate=torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [2.0, 2.0]]),
        log_q=torch.tensor([0.0, 0.0, 0.0, math.log(2.0)]),
        row=[0, 1, 0],
        item=[10, 11, 12, 13],
        user=[1, 2],
        shared=3,
        own=[[3], []],
        spared=[[], []],
    )
    z_first, z_second = math.exp(0.0) + math.exp(2.0) / 2, math.exp(0.0) + math.exp(0.0)
    expected = [
        math.log1p(z_first / math.exp(1.0)),
        math.log1p(z_second / math.exp(2.0)),
        math.log1p(z_first / math.exp(3.0)),
    ]
    assert batch.loss().tolist() == pytest.approx(expected)
    # Corrected by log 1/2, the first positive counts double.
    corrected = replace(batch, positive_log_q=torch.tensor([math.log(0.5), 0.0, 0.0]))
    assert corrected.loss().tolist() == pytest.approx([math.log1p(z_first / (2 * math.exp(1.0))), *expected[1:]])
    share = z_first / (z_first + math.exp(1.0))
    reweighted = replace(batch, reweighted=True).loss()
    assert reweighted[0].item() == pytest.approx(share * (math.log(z_first) - 1.0))


@pytest.mark.parametrize("scale", [50.0, 1e4])
@pytest.mark.parametrize("reweighted", [True, False])
def test_extreme_logits_stay_finite(scale: float, reweighted: bool) -> None:
    batch = replace(simple([1, 2, 3, 4], [1, 2]), shared=3, own=[[3], [3]], reweighted=reweighted)
    for sign in (1.0, -1.0):
        extreme = replace(
            batch,
            query=torch.tensor([[scale, 0.0], [0.0, scale]]),
            candidate=sign * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0], [-1.0, -1.0]]),
        )
        loss, grad_query, grad_candidate = gradients(extreme, lambda b: b.loss(), torch.ones(2))
        assert all(tensor.isfinite().all() for tensor in (loss, grad_query, grad_candidate))
        # Won, or lost by twice the scale against one rival and ignored candidate; the gradient is that of the margin.
        expected = 2 * scale if sign < 0 else 0.0
        assert loss.tolist() == pytest.approx([expected] * 2, abs=1.0)
        assert grad_query.abs().amax().item() == pytest.approx(2.0 if sign < 0 else 0.0, abs=1e-3)


def test_an_ignored_candidate_far_above_all_others_does_not_overflow() -> None:
    batch = replace(
        simple([1, 2, 3], [1, 2]),
        query=torch.tensor([[1e4], [1.0]]),
        candidate=torch.tensor([[0.0], [0.0], [1.0]]),
        shared=2,
        own=[[2], []],
    )
    loss, grad_query, _ = gradients(batch, lambda b: b.loss(), torch.ones(2))
    assert loss.tolist() == pytest.approx([1e4, math.log(2.0)])
    assert grad_query.flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shared": 1}, "number from 2 .* to 3, got 1"),
        ({"shared": 4}, "number from 2 .* to 3, got 4"),
        ({"own": ragged([[1]]), "spared": None}, "own needs 3 offsets for 2 requests, got 2"),
        ({"spared": ragged([[1]]), "own": None}, "spared needs 3 offsets for 2 requests, got 2"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simple([1, 2, 3], [1, 2]).loss(**changed)


def test_positives_need_candidates_and_a_finite_correction_or_none_when_reweighted() -> None:
    with pytest.raises(ValueError, match="3 examples came with 2 candidates"):
        simple([1, 2], [1, 2, 3]).loss()
    batch = simple([1, 2], [1, 2])
    with pytest.raises(ValueError, match="infinite"):
        replace(batch, positive_log_q=torch.tensor([0.0, -torch.inf])).loss()
    with pytest.raises(ValueError, match="leave out positive_log_q_B"):
        replace(batch, positive_log_q=torch.zeros(2), reweighted=True).loss()


def test_weighted_mean_by_hand() -> None:
    assert weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([3.0, 1.0])).item() == pytest.approx((3 + 4) / 4)
    with pytest.raises(ValueError, match="more than zero"):
        weighted_mean(torch.ones(2), torch.zeros(2))

"""Laws of the sampled softmax first, then values by hand, then extremes."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lowerfunnel.losses.softmax import sampled_softmax_loss, weighted_mean


def reference(
    query: Tensor,
    candidate: Tensor,
    log_q: Tensor,
    item: Tensor,
    user: Tensor,
    scale: float,
    correct: bool,
    spared: list[set[int]],
) -> Tensor:
    """The formula, written out in float64 with one whole matrix."""
    rows = len(query)
    raw = scale * query.double() @ candidate.double().T
    logit = raw - log_q.double()
    out = []
    for i in range(rows):
        positive = logit[i, i] if correct else raw[i, i]
        negatives = [
            logit[i, j]
            for j in range(len(candidate))
            if item[j] != item[i]
            and not (j < rows and user[j] == user[i] and user[i] >= 0)
            and int(item[j]) not in spared[i]
        ]
        out.append(torch.logsumexp(torch.stack([positive, *negatives]), 0) - positive)
    return torch.stack(out)


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Tensor]:
    rows, extra, width = draw(st.integers(1, 7)), draw(st.integers(0, 4)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return {
        "query_BD": torch.randn(rows, width, generator=generator),
        "candidate_CD": torch.randn(rows + extra, width, generator=generator),
        "log_q_C": torch.randn(rows + extra, generator=generator) * 3,
        "item_C": torch.randint(0, 6, (rows + extra,), generator=generator),
        "user_B": torch.randint(-1, 4, (rows,), generator=generator),
    }


@given(batches(), st.booleans(), st.integers(1, 8), st.data())
def test_blocks_agree_with_the_formula_and_its_gradient(
    batch: dict[str, Tensor], correct: bool, block_rows: int, data: st.DataObject
) -> None:
    rows = len(batch["query_BD"])
    spared = data.draw(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=rows, max_size=rows))
    leaves = [batch["query_BD"].clone().requires_grad_(), batch["candidate_CD"].clone().requires_grad_()]
    loss = sampled_softmax_loss(
        leaves[0],
        leaves[1],
        batch["log_q_C"],
        item_C=batch["item_C"],
        user_B=batch["user_B"],
        inverse_temperature=2.0,
        correct_positive=correct,
        spared=ragged(spared),
        block_rows=block_rows,
    )
    expected_leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = reference(
        *expected_leaves, batch["log_q_C"], batch["item_C"], batch["user_B"], 2.0, correct, [set(own) for own in spared]
    )
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-5)
    upstream = torch.linspace(0.5, 1.5, len(loss))
    (loss * upstream).sum().backward()
    (expected * upstream.double()).sum().backward()
    for leaf, expected_leaf in zip(leaves, expected_leaves, strict=True):
        assert leaf.grad is not None
        assert expected_leaf.grad is not None
        torch.testing.assert_close(leaf.grad.double(), expected_leaf.grad, rtol=1e-3, atol=1e-5)


def ragged(lists: list[list[int]]) -> tuple[Tensor, Tensor]:
    offsets = [0, *itertools.accumulate(len(own) for own in lists)]
    return torch.tensor([item for own in lists for item in own], dtype=torch.int32), torch.tensor(offsets)


@given(batches())
def test_sparing_nobody_anything_changes_nothing(batch: dict[str, Tensor]) -> None:
    plain = sampled_softmax_loss(**batch, inverse_temperature=1.0)
    spared = ragged([[]] * len(batch["query_BD"]))
    assert torch.equal(sampled_softmax_loss(**batch, inverse_temperature=1.0, spared=spared), plain)


def test_a_spared_item_is_no_negative_of_its_query_alone() -> None:
    batch = _arguments([1, 2, 3], [7, 8], 2)
    plain = sampled_softmax_loss(**batch, inverse_temperature=1.0)
    spared = sampled_softmax_loss(**batch, inverse_temperature=1.0, spared=ragged([[2, 3], []]))
    assert spared[0].item() == 0.0
    assert spared[1].item() == plain[1].item()


@given(batches(), st.floats(-50, 50))
def test_adding_a_constant_to_log_q_changes_nothing(batch: dict[str, Tensor], shift: float) -> None:
    before = sampled_softmax_loss(**batch, inverse_temperature=1.0)
    moved = {**batch, "log_q_C": batch["log_q_C"] + shift}
    torch.testing.assert_close(sampled_softmax_loss(**moved, inverse_temperature=1.0), before, rtol=1e-3, atol=1e-3)


def _arguments(items: list[int], users: list[int], rows: int, log_q: list[float] | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "query_BD": torch.randn(rows, 3, generator=generator),
        "candidate_CD": torch.randn(len(items), 3, generator=generator),
        "log_q_C": torch.tensor(log_q) if log_q else torch.zeros(len(items)),
        "item_C": torch.tensor(items),
        "user_B": torch.tensor(users),
    }


def test_masking_a_repeat_equals_deleting_it() -> None:
    repeated = _arguments([10, 11, 10], [0, 1], 2)
    deleted = {**repeated, "candidate_CD": repeated["candidate_CD"][:2], "log_q_C": torch.zeros(2)}
    deleted["item_C"] = torch.tensor([10, 11])
    left = sampled_softmax_loss(**repeated, inverse_temperature=1.0)
    right = sampled_softmax_loss(**deleted, inverse_temperature=1.0)
    assert left[0].item() == pytest.approx(right[0].item())
    assert left[1].item() > right[1].item()


def test_what_else_a_user_bought_is_no_negative_of_it() -> None:
    same = sampled_softmax_loss(**_arguments([1, 2], [7, 7], 2), inverse_temperature=1.0)
    assert same.tolist() == [0.0, 0.0]
    anonymous = sampled_softmax_loss(**_arguments([1, 2], [-1, -1], 2), inverse_temperature=1.0)
    assert (anonymous > 0).all()


def test_rare_candidates_are_still_corrected() -> None:
    rare = sampled_softmax_loss(**_arguments([1, 2], [1, 2], 2, [0.0, math.log(1e-6)]), inverse_temperature=1.0)
    rarer = sampled_softmax_loss(**_arguments([1, 2], [1, 2], 2, [0.0, math.log(1e-9)]), inverse_temperature=1.0)
    assert rarer[0].item() - rare[0].item() == pytest.approx(math.log(1e3), rel=1e-3)


def test_value_by_hand() -> None:
    unit = torch.eye(2)
    ids = torch.arange(2)
    loss = sampled_softmax_loss(unit, unit, torch.zeros(2), item_C=ids, user_B=ids, inverse_temperature=2.0)
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-2.0))] * 2)


@pytest.mark.parametrize("correct", [True, False])
def test_only_the_flag_decides_whether_the_positive_is_corrected(correct: bool) -> None:
    unit, ids = torch.eye(2), torch.arange(2)
    log_q = torch.tensor([math.log(0.5), math.log(0.5)])
    loss = sampled_softmax_loss(
        unit, unit, log_q, item_C=ids, user_B=ids, inverse_temperature=1.0, correct_positive=correct
    )
    positive, negative = 1.0 + (math.log(2) if correct else 0.0), math.log(2)
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(negative - positive))] * 2)


def test_the_gradient_survives_a_hopeless_margin() -> None:
    query = torch.tensor([[1.0, 0.0]], requires_grad=True)
    candidate = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    loss = sampled_softmax_loss(
        query,
        candidate,
        torch.zeros(2),
        item_C=torch.tensor([0, 1]),
        user_B=torch.tensor([0]),
        inverse_temperature=50.0,
    )
    loss.sum().backward()
    assert loss.item() == pytest.approx(100.0)
    assert query.grad is not None
    assert query.grad[0, 0].item() == pytest.approx(100.0)


def test_fewer_candidates_than_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="3 queries came with 2 candidates"):
        sampled_softmax_loss(
            torch.zeros(3, 2),
            torch.zeros(2, 2),
            torch.zeros(2),
            item_C=torch.arange(2),
            user_B=torch.arange(3),
            inverse_temperature=1.0,
        )


def test_weighted_mean_by_hand() -> None:
    assert weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([3.0, 1.0])).item() == pytest.approx((3 + 4) / 4)
    with pytest.raises(ValueError, match="more than zero"):
        weighted_mean(torch.ones(2), torch.zeros(2))

import pytest
import torch

from lowerfunnel.nn.embedding import EmbeddingTable, RowwiseAdagrad
from lowerfunnel.nn.layers import pool_rows


def table(rows: int = 6, width: int = 4) -> EmbeddingTable:
    return EmbeddingTable(rows, width, init_std=0.3, generator=torch.Generator().manual_seed(1)).train()


def test_row_wise_adagrad_agrees_with_its_formula_in_float64() -> None:
    trained = table()
    optimiser = RowwiseAdagrad({"t": trained}, learning_rate=0.1, eps=1e-8)
    expected = trained.weight.detach().double().clone()
    accumulator = torch.zeros(6, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        index = torch.randperm(6, generator=generator)[:3].sort().values
        target = torch.randn(3, 4, generator=generator)
        (trained.rows(index) * target).sum().backward()
        optimiser.step()
        accumulator[index] += target.double().square().mean(1)
        expected[index] -= 0.1 * target.double() / (accumulator[index].sqrt() + 1e-8)[:, None]
    torch.testing.assert_close(trained.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_rows_of_no_step_stay_as_they_are() -> None:
    trained = table()
    before = trained.weight.clone()
    optimiser = RowwiseAdagrad({"t": trained}, learning_rate=0.1)
    trained.rows(torch.tensor([1, 4])).sum().backward()
    optimiser.step()
    changed = (trained.weight != before).any(dim=1)
    assert changed.tolist() == [False, True, False, False, True, False]


def test_a_second_gather_in_one_step_is_refused() -> None:
    trained = table()
    trained.rows(torch.tensor([0]))
    with pytest.raises(RuntimeError, match="gathered twice"):
        trained.rows(torch.tensor([1]))


def test_evaluation_gathers_leave_no_trace() -> None:
    trained = table().eval()
    trained.rows(torch.tensor([0]))
    trained.rows(torch.tensor([0]))
    assert trained.take_gradient() is None


def test_pooling_is_a_weighted_mean_and_an_empty_bag_is_zero() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]], requires_grad=True)
    weight = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    pooled = pool_rows(rows, torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2, 3]), weight)
    assert pooled.tolist() == [[0.25, 0.75], [0.0, 0.0], [5.0, 5.0]]
    pooled.sum().backward()
    assert rows.grad is not None
    assert weight.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert weight.grad.tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)

import pytest
import torch

from lowerfunnel.nn.layers import MLP


def mlp(width_in: int, widths: tuple[int, ...], last: str = "relu", *, seed: int = 0) -> MLP:
    return MLP(width_in, widths, generator=torch.Generator().manual_seed(seed), last=last)


def test_two_layers_by_hand() -> None:
    built = mlp(2, (2, 1), "linear")
    with torch.no_grad():
        built.layers[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        built.layers[0].bias.copy_(torch.tensor([0.5, 0.0]))
        built.layers[2].weight.copy_(torch.tensor([[2.0, 3.0]]))
        built.layers[2].bias.fill_(-20.0)
    assert built(torch.tensor([[1.0, 2.0]])).item() == 2.0 * 3.5 + 3.0 * 0.0 - 20.0


def test_a_relu_comes_last_only_where_asked_for() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    rectified, linear = mlp(6, (5, 4)), mlp(6, (5, 4), "linear")
    linear.load_state_dict(rectified.state_dict())
    assert torch.equal(rectified(x), linear(x).relu())
    assert linear(x).min() < 0


def test_without_layers_it_is_the_identity() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(mlp(4, ())(x), x)
    assert mlp(4, ()).width == 4
    assert mlp(4, (7, 5)).width == 5


def test_weights_start_he_normal_and_biases_at_zero() -> None:
    built = mlp(400, (300, 200), "linear")
    first, last = built.layers[0], built.layers[2]
    assert first.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert last.weight.std().item() == pytest.approx((1 / 300) ** 0.5, rel=0.02)
    assert not first.bias.any()
    assert not last.bias.any()


def test_equal_generators_give_equal_weights_and_the_global_one_is_left_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (mlp(3, (4, 2), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.layers[2].weight, same.layers[2].weight)
    assert not torch.equal(one.layers[2].weight, other.layers[2].weight)


def test_a_width_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"widths=\(4, 0\)"):
        mlp(3, (4, 0))

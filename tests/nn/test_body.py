import pytest
import torch
from torch import Tensor, nn

from lowerfunnel.nn.body import TowerBody

EVERY_ARRANGEMENT = pytest.mark.parametrize("arrangement", ["parallel", "stacked", "mlp", "cross"])


def body(arrangement: str, *, hidden: tuple[int, ...] = (7, 3), seed: int = 0, **other) -> TowerBody:
    sizes = {"cross_layers": 2, "cross_kind": "full", "cross_rank": 2, "cross_experts": 2} | other
    generator = torch.Generator().manual_seed(seed)
    return TowerBody(5, arrangement=arrangement, hidden=hidden, generator=generator, **sizes).double()


def rows(count: int = 6, width: int = 5) -> Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


def test_parallel_with_a_zeroed_mlp_feeds_on_what_cross_alone_would() -> None:
    parallel, cross = body("parallel"), body("cross")
    zero(parallel.mlp)
    cross.load_state_dict({k: v for k, v in parallel.state_dict().items() if k.startswith("cross")})
    weight = rows(4, parallel.width)
    torch.testing.assert_close(parallel(rows()) @ weight.T, cross(rows()) @ weight[:, :5].T)


def test_parallel_with_the_cross_columns_zeroed_feeds_on_what_the_mlp_alone_would() -> None:
    parallel, mlp = body("parallel"), body("mlp")
    mlp.load_state_dict({k: v for k, v in parallel.state_dict().items() if k.startswith("mlp")})
    weight = rows(4, parallel.width)
    weight[:, :5] = 0
    torch.testing.assert_close(parallel(rows()) @ weight.T, mlp(rows()) @ weight[:, 5:].T)


def test_parallel_with_a_zeroed_cross_network_passes_its_input_beside_the_mlp() -> None:
    parallel = body("parallel")
    zero(parallel.cross)
    assert torch.equal(parallel(rows())[:, :5], rows())
    assert torch.equal(parallel(rows())[:, 5:], parallel.mlp(rows()))


def test_stacked_is_the_mlp_of_the_cross_network() -> None:
    stacked = body("stacked")
    crossed = rows()
    for layer in stacked.cross.layers:
        crossed = rows() * (crossed @ layer.weight.T + layer.bias) + crossed
    first, second = stacked.mlp.layers[0], stacked.mlp.layers[2]
    hidden = torch.relu(crossed @ first.weight.T + first.bias)
    torch.testing.assert_close(stacked(rows()), torch.relu(hidden @ second.weight.T + second.bias))


def test_stacked_with_a_zeroed_cross_network_is_the_mlp_alone() -> None:
    stacked = body("stacked")
    zero(stacked.cross)
    assert torch.equal(stacked(rows()), stacked.mlp(rows()))


@EVERY_ARRANGEMENT
@pytest.mark.parametrize("kind", ["full", "low_rank", "mixture"])
def test_its_width_is_that_of_its_output_and_all_of_it_learns(arrangement, kind) -> None:
    built = body(arrangement, cross_kind=kind)
    out = built(rows(50))
    assert out.shape == (50, built.width)
    out.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in built.parameters())


def test_the_widths_by_hand() -> None:
    assert [body(a).width for a in ("parallel", "stacked", "mlp", "cross")] == [5 + 3, 3, 3, 5]
    assert body("mlp", hidden=()).width == 5


def test_an_mlp_without_layers_is_the_identity() -> None:
    assert torch.equal(body("mlp", hidden=())(rows()), rows())


@pytest.mark.parametrize("arrangement", ["parallel", "stacked"])
def test_a_branch_without_layers_is_refused(arrangement) -> None:
    with pytest.raises(ValueError, match="hidden is empty"):
        body(arrangement, hidden=())


@EVERY_ARRANGEMENT
def test_equal_generators_give_equal_weights_and_the_global_one_is_left_alone(arrangement) -> None:
    state = torch.get_rng_state()
    one, same, other = (body(arrangement, seed=seed)(rows()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)

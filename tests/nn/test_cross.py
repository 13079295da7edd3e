import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lowerfunnel.nn.cross import CrossNetwork

KINDS = ["full", "low_rank", "mixture"]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def network(kind: str, width: int = 5, *, layers: int = 3, rank: int = 3, experts: int = 4, seed: int = 0):
    """A float64 network whose biases and gates are not zero, so that none of its parts can go unseen."""
    generator = torch.Generator().manual_seed(seed)
    built = CrossNetwork(width, layers=layers, kind=kind, rank=rank, experts=experts, generator=generator).double()
    for name, parameter in built.named_parameters():
        if "bias" in name or "gate" in name:
            nn.init.normal_(parameter, 0.0, 0.5, generator=generator)
    return built


def rows(count: int = 7, width: int = 5, *, seed: int = 1) -> Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer_by_loops(layer: nn.Module, kind: str, x: Tensor) -> Tensor:
    """W x + b and its kin for one row, expert by expert and entry by entry."""
    if kind == "full":
        return torch.stack([sum(w * e for w, e in zip(line, x, strict=True)) for line in layer.weight]) + layer.bias
    if kind == "low_rank":
        return layer.u_DR @ (layer.v_RD @ x) + layer.bias_D
    logits = [line @ x for line in layer.gate_KD]
    share = [logit.exp() / sum(other.exp() for other in logits) for logit in logits]
    out = torch.zeros_like(x)
    for k, share_k in enumerate(share):
        inner = torch.tanh(layer.c_KRR[k] @ torch.tanh(layer.v_KRD[k] @ x))
        out = out + share_k * (layer.u_KRD[k].T @ inner + layer.bias_D)
    return out


def test_one_full_layer_by_hand() -> None:
    built = network("full", 2, layers=1)
    with torch.no_grad():
        built.layers[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        built.layers[0].bias.copy_(torch.tensor([0.5, 1.0]))
    out = built(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    assert out.tolist() == [[3.0 * (3.0 + 8.0 + 0.5) + 3.0, 4.0 * (-4.0 + 1.0) + 4.0]]


def test_the_second_layer_multiplies_by_the_input_of_the_first() -> None:
    built = network("full", 1, layers=2)
    with torch.no_grad():
        for layer in built.layers:
            layer.weight.fill_(1.0)
            layer.bias.zero_()
    first = 2.0 * 2.0 + 2.0
    assert built(torch.tensor([[2.0]], dtype=torch.float64)).item() == 2.0 * first + first


@EVERY_KIND
@given(seed=st.integers(0, 2**31), layers=st.integers(1, 4), width=st.integers(1, 6), rank=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_it_agrees_with_loops_over_rows_layers_and_experts(kind, seed, layers, width, rank) -> None:
    built = network(kind, width, layers=layers, rank=rank, seed=seed)
    x0 = rows(3, width, seed=seed + 1)
    for row, out in zip(x0, built(x0), strict=True):
        x = row
        for layer in built.layers:
            x = row * layer_by_loops(layer, kind, x) + x
        torch.testing.assert_close(out, x)


@EVERY_KIND
def test_with_all_weights_at_zero_it_is_the_identity(kind) -> None:
    built = network(kind)
    for parameter in built.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(built(rows()), rows())


@pytest.mark.parametrize("kind", ["full", "low_rank"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_its_degree_is_one_more_than_its_layers(kind, layers) -> None:
    built = network(kind, layers=layers)
    x = rows(1)
    along = torch.cat([built(step * x) for step in range(layers + 3)])
    highest = along.diff(n=layers + 1, dim=0)
    assert highest[0].abs().max() > 1e-3
    assert along.diff(n=layers + 2, dim=0).abs().max() < 1e-9 * along.abs().max()


def test_a_low_rank_product_that_equals_the_full_matrix_gives_the_full_network() -> None:
    full, low = network("full"), network("low_rank", rank=5)
    with torch.no_grad():
        for layer, factored in zip(full.layers, low.layers, strict=True):
            layer.weight.copy_(factored.u_DR @ factored.v_RD)
            layer.bias.copy_(factored.bias_D)
    torch.testing.assert_close(full(rows()), low(rows()))


def test_one_expert_in_the_linear_part_of_its_tanh_is_a_low_rank_network() -> None:
    mixture, low = network("mixture", experts=1), network("low_rank")
    small = 1e-5
    with torch.no_grad():
        for layer, factored in zip(mixture.layers, low.layers, strict=True):
            layer.v_KRD[0] = small * factored.v_RD
            layer.c_KRR[0] = torch.eye(3)
            layer.u_KRD[0] = factored.u_DR.T / small
            layer.bias_D.copy_(factored.bias_D)
    torch.testing.assert_close(mixture(rows()), low(rows()), rtol=1e-6, atol=1e-6)


def test_experts_that_are_equal_make_the_gate_immaterial() -> None:
    many, one = network("mixture"), network("mixture", experts=1)
    with torch.no_grad():
        for layer, alone in zip(many.layers, one.layers, strict=True):
            for name in ("v_KRD", "c_KRR", "u_KRD"):
                getattr(layer, name).copy_(getattr(alone, name).expand_as(getattr(layer, name)))
            layer.bias_D.copy_(alone.bias_D)
    torch.testing.assert_close(many(rows()), one(rows()))


def test_the_order_of_the_experts_is_immaterial() -> None:
    built = network("mixture")
    before = built(rows())
    with torch.no_grad():
        for layer in built.layers:
            for name in ("gate_KD", "v_KRD", "c_KRR", "u_KRD"):
                getattr(layer, name).copy_(getattr(layer, name)[torch.tensor([2, 0, 3, 1])])
    torch.testing.assert_close(built(rows()), before)


@EVERY_KIND
def test_every_parameter_is_used_and_gradients_are_right(kind) -> None:
    built = network(kind, 3, layers=2, rank=2, experts=2)
    names, values = zip(*built.named_parameters(), strict=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(built, dict(zip(names, parameters, strict=True)), (x,))

    x = rows(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *values))
    built(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in built.parameters())


@EVERY_KIND
def test_equal_generators_give_equal_weights_and_the_global_one_is_left_alone(kind) -> None:
    def fresh(seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return CrossNetwork(4, layers=2, kind=kind, rank=2, experts=3, generator=generator).state_dict()

    state = torch.get_rng_state()
    one, same, other = fresh(1), fresh(1), fresh(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@EVERY_KIND
def test_no_rows_are_legal(kind) -> None:
    assert network(kind)(rows(0)).shape == (0, 5)


@pytest.mark.parametrize(("kind", "name"), [("full", "layers"), ("low_rank", "rank"), ("mixture", "experts")])
def test_a_size_of_zero_is_refused_where_it_is_used(kind, name) -> None:
    with pytest.raises(ValueError, match=f"{name}.*0"):
        network(kind, **{name: 0})


def test_sizes_of_other_kinds_are_not_looked_at() -> None:
    network("full", rank=0, experts=0)
    network("low_rank", experts=0)

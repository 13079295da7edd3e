import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lowerfunnel.nn.transformer import JaggedTransformer

WIDTH, HEADS = 6, 2
MIXED = [0, 1, 100, 7, 0, 8, 8, 1, 93, 97, 2]
LENGTHS = st.lists(st.integers(0, 20), min_size=1, max_size=12)
BOTH_WAYS = pytest.mark.parametrize("causal", [False, True])


def fresh(*, causal: bool = False, seed: int = 0, dropout: float = 0.0, **sizes: int) -> JaggedTransformer:
    sizes = {"width": WIDTH, "layers": 2, "heads": HEADS, "feedforward": 10} | sizes
    generator = torch.Generator().manual_seed(seed)
    return JaggedTransformer(**sizes, dropout=dropout, causal=causal, generator=generator).double()


def trained(**settings_: object) -> JaggedTransformer:
    """An encoder none of whose parameters is zero or one, so that none can go unseen."""
    built = fresh(**settings_)
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=torch.float64, generator=generator), alpha=0.3)
    return built


def entries(lengths: list[int], *, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_ND = torch.randn(sum(lengths), WIDTH, dtype=torch.float64, generator=generator)
    return x_ND, torch.tensor([0, *lengths]).cumsum(0)


def by_loops(encoder: JaggedTransformer, x_LD: Tensor, causal: bool) -> Tensor:
    """One sequence, head by head and entry by entry."""
    for layer in encoder.layers:
        normed = norm(layer.attention_norm, x_LD)
        query, key, value = (normed @ p.weight.T + p.bias for p in (layer.query, layer.key, layer.value))
        size = WIDTH // HEADS
        rows = []
        for i in range(len(x_LD)):
            last = i + 1 if causal else len(x_LD)
            heads = []
            for h in range(HEADS):
                part = slice(h * size, (h + 1) * size)
                share = torch.softmax(key[:last, part] @ query[i, part] / math.sqrt(size), dim=0)
                heads.append(share @ value[:last, part])
            rows.append(torch.cat(heads))
        x_LD = x_LD + torch.stack(rows) @ layer.attention_out.weight.T + layer.attention_out.bias
        hidden = (norm(layer.feedforward_norm, x_LD) @ layer.up.weight.T + layer.up.bias).clamp_min(0)
        x_LD = x_LD + hidden @ layer.down.weight.T + layer.down.bias
    return x_LD


def norm(layer: nn.LayerNorm, x_LD: Tensor) -> Tensor:
    centred = x_LD - x_LD.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def reference(encoder: JaggedTransformer, x_ND: Tensor, lengths: list[int], causal: bool) -> Tensor:
    return torch.cat([by_loops(encoder, part, causal) for part in x_ND.split(lengths) if len(part)])


def agree(encoder: JaggedTransformer, lengths: list[int], causal: bool, seed: int = 1) -> None:
    """Output, and the gradient of a sum with uneven weights, by the input and by every parameter."""
    x_ND, offsets = entries(lengths, seed=seed)
    weight_ND, _ = entries(lengths, seed=seed + 1)
    results = []
    for run in (lambda x: encoder(x, offsets), lambda x: reference(encoder, x, lengths, causal)):
        x = x_ND.clone().requires_grad_()
        out = run(x)
        results.append((out, *torch.autograd.grad((out * weight_ND).sum(), [x, *encoder.parameters()])))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-8, atol=1e-8)


@BOTH_WAYS
def test_it_agrees_with_loops_over_short_empty_and_long_sequences(causal) -> None:
    agree(trained(causal=causal), MIXED, causal)


@BOTH_WAYS
def test_it_agrees_with_loops_where_groups_are_exact_and_where_they_are_padded(causal) -> None:
    agree(trained(causal=causal, layers=1), [8] * 130 + [9, 10, 10, 0, 9, 3], causal)


@BOTH_WAYS
@given(lengths=LENGTHS.filter(any), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_it_agrees_with_loops(causal, lengths, seed) -> None:
    agree(trained(causal=causal, seed=seed), lengths, causal, seed)


@BOTH_WAYS
@given(lengths=LENGTHS, data=st.data())
@settings(max_examples=25, deadline=None)
def test_permuting_the_sequences_permutes_the_result(causal, lengths, data) -> None:
    encoder = trained(causal=causal)
    x_ND, offsets = entries(lengths)
    order = data.draw(st.permutations(range(len(lengths))))
    moved = torch.cat([x_ND.split(lengths)[i] for i in order])
    out = encoder(moved, torch.tensor([0, *(lengths[i] for i in order)]).cumsum(0))
    expected = torch.cat([encoder(x_ND, offsets).split(lengths)[i] for i in order])
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


@BOTH_WAYS
@given(lengths=LENGTHS)
@settings(max_examples=25, deadline=None)
def test_a_sequence_does_not_see_the_others(causal, lengths) -> None:
    encoder = trained(causal=causal)
    x_ND, offsets = entries(lengths)
    together = encoder(x_ND, offsets).split(lengths)
    for part, out in zip(x_ND.split(lengths), together, strict=True):
        alone = encoder(part, torch.tensor([0, len(part)]))
        torch.testing.assert_close(out, alone, rtol=1e-10, atol=1e-10)


def test_a_sequence_gets_no_gradient_from_the_others() -> None:
    x_ND, offsets = entries(MIXED)
    x_ND.requires_grad_()
    trained()(x_ND, offsets).split(MIXED)[8].sum().backward()
    assert [bool(part.any()) for part in x_ND.grad.split(MIXED)] == [number == 8 for number in range(len(MIXED))]


@given(lengths=LENGTHS.filter(any), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_causal_encoder_never_looks_ahead(lengths, data) -> None:
    encoder = trained(causal=True)
    x_ND, offsets = entries(lengths)
    changed = data.draw(st.integers(0, len(x_ND) - 1))
    other_ND = x_ND.clone()
    other_ND[changed] *= -1  # a shift of all its entries alike would be lost in the norm
    before, after = encoder(x_ND, offsets), encoder(other_ND, offsets)
    assert torch.equal(before[:changed], after[:changed])
    assert not torch.equal(before[changed], after[changed])


def test_an_encoder_that_is_not_causal_does_look_ahead() -> None:
    encoder = trained()
    x_ND, offsets = entries([5])
    other_ND = x_ND.clone()
    other_ND[4] *= -1
    assert ((encoder(x_ND, offsets) - encoder(other_ND, offsets)).abs().amax(1) > 1e-6).all()


@BOTH_WAYS
def test_a_fresh_encoder_is_the_identity(causal) -> None:
    x_ND, offsets = entries(MIXED)
    assert torch.equal(fresh(causal=causal)(x_ND, offsets), x_ND)


def test_a_fresh_encoder_can_be_trained() -> None:
    encoder = fresh(width=WIDTH)
    x_ND, offsets = entries(MIXED)
    target_ND, _ = entries(MIXED, seed=5)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (encoder(x_ND, offsets) - target_ND).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
    # A bias of the keys shifts all logits of a query alike: it alone has no effect, and no gradient but rounding.
    useless = {"layers.0.key.bias", "layers.1.key.bias"}
    gradients = {name: parameter.grad.abs().max() for name, parameter in encoder.named_parameters()}
    assert {name for name, largest in gradients.items() if largest < 1e-12} <= useless


def test_equal_generators_give_equal_weights_and_the_global_one_is_left_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (fresh(seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["layers.1.up.weight"], other["layers.1.up.weight"])


def test_dropout_is_drawn_from_its_generator_alone() -> None:
    encoder = trained(dropout=0.4)
    x_ND, offsets = entries(MIXED)

    def run(seed: int) -> Tensor:
        return encoder(x_ND, offsets, dropout=torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    one, same, other = run(1), run(1), run(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_without_a_generator_or_a_rate_nothing_is_dropped() -> None:
    x_ND, offsets = entries(MIXED)
    still, dropping = trained(), trained(dropout=0.4).train()
    assert torch.equal(dropping(x_ND, offsets), still(x_ND, offsets))
    assert torch.equal(still(x_ND, offsets, dropout=torch.Generator().manual_seed(1)), still(x_ND, offsets))


def test_dropout_sets_its_share_of_each_branch_to_zero_and_scales_up_the_rest() -> None:
    encoder = fresh(layers=1, dropout=0.25)
    for bias in (encoder.layers[0].attention_out.bias, encoder.layers[0].down.bias):
        nn.init.ones_(bias)
    lengths = [7] * 1000
    x_ND, offsets = entries(lengths)
    added = encoder(x_ND, offsets, dropout=torch.Generator().manual_seed(1)) - x_ND
    share = torch.stack([(added - times / 0.75).abs() < 1e-9 for times in (0, 1, 2)]).double().mean((1, 2))
    assert share.tolist() == pytest.approx([0.25**2, 2 * 0.25 * 0.75, 0.75**2], abs=0.01)


def test_no_entries_and_no_sequences_are_legal() -> None:
    for offsets in ([0], [0, 0, 0]):
        assert trained()(torch.zeros(0, WIDTH).double(), torch.tensor(offsets)).shape == (0, WIDTH)


def test_extreme_entries_stay_finite() -> None:
    x_ND, offsets = entries(MIXED)
    for scale in (0.0, 1e-30, 1e30):
        scaled = (scale * x_ND).requires_grad_()
        out = trained()(scaled, offsets)
        out.sum().backward()
        assert torch.isfinite(out).all()
        assert torch.isfinite(scaled.grad).all()


def test_float32_is_close_to_float64() -> None:
    x_ND, offsets = entries(MIXED)
    exact = trained()(x_ND, offsets)
    torch.testing.assert_close(trained().float()(x_ND.float(), offsets).double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 4}, "width=6, heads=4"),
        ({"layers": 0}, "'layers': 0"),
        ({"feedforward": 0}, "'feedforward': 0"),
        ({"dropout": 1.0}, r"in \[0, 1\): 1.0"),
        ({"dropout": -0.1}, r"in \[0, 1\): -0.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        fresh(**wrong)


def test_offsets_of_other_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="number of entries, 5"):
        fresh()(entries([5])[0], torch.tensor([0, 4]))

"""Every quantizer's forward and gradient against the formulas of its docstring, in float64."""

import pytest
import torch
from torch import Tensor

from onebit_model.config import ModelConfig
from onebit_model.network.conformer import Conformer
from onebit_model.network.layers import Linear
from onebit_model.network.quantizers import (
    IndependentQuantizer,
    NestedQuantizer,
    Precision,
    QuantLinear,
    RoundActivations,
    TernaryQuantizer,
    compile_quantizers,
    quantise,
    quantised_layers,
    round_int8_rows,
)


def draw(rows: int = 6, columns: int = 40) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def scales(per_row: bool, value: float) -> Tensor:
    return torch.full((6 if per_row else 1, 1), value, dtype=torch.float64, requires_grad=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of what its compiler imports
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_compiled_it_computes_the_same(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> list[Tensor]:
        weight = draw().float().requires_grad_()
        s4, sb = (torch.full((6, 1), value, requires_grad=True) for value in (0.2, 0.9))
        quantised = NestedQuantizer.apply(weight, s4, s4 if bits == 4 else sb, bits)
        quantised.backward(draw().float() ** 2)
        return [t for t in (quantised.detach(), weight.grad, s4.grad, sb.grad) if t is not None]

    eager = outcome()
    for name in ("weight_of", "gradients_of"):  # so that they are put back
        monkeypatch.setattr(NestedQuantizer, name, staticmethod(getattr(NestedQuantizer, name)))
    compile_quantizers()
    compiled = outcome()
    assert len(compiled) == len(eager)
    for one, other in zip(compiled, eager, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_nested_forward_and_gradients(bits: int, per_row: bool) -> None:
    weight = draw().requires_grad_()
    s4, sb = scales(per_row, 0.2), scales(per_row, {1: 0.8, 2: 1.0, 4: 0.2}[bits])
    quantised = NestedQuantizer.apply(weight, s4, s4 if bits == 4 else sb, bits)
    upstream = torch.randn(6, 40, dtype=torch.float64)
    quantised.backward(upstream)
    w = weight.detach()
    c4 = torch.clamp(torch.floor(w / 0.2) + 8, 0, 15)
    inside = w.abs() < 8 * 0.2
    keep = (1,) if per_row else (0, 1)
    if bits == 4:
        assert torch.equal(quantised, 0.2 * (c4 - 7.5))
        expected = torch.where(inside, (c4 - 7.5) - w / 0.2, c4 - 7.5)
        torch.testing.assert_close(s4.grad, (upstream * expected).sum(keep, keepdim=True).view_as(s4))
    elif bits == 2:
        c2 = torch.div(c4, 4, rounding_mode="floor")
        assert torch.equal(quantised, 1.0 * (c2 - 1.5))
        torch.testing.assert_close(sb.grad, (upstream * (c2 - 1.5)).sum(keep, keepdim=True).view_as(sb))
        moved = upstream * inside * (-1.0 * w / (4 * 0.2**2))
        torch.testing.assert_close(s4.grad, moved.sum(keep, keepdim=True).view_as(s4))
    else:
        c1 = torch.div(c4, 8, rounding_mode="floor")
        assert torch.equal(quantised, 0.8 * (2 * c1 - 1))
        torch.testing.assert_close(sb.grad, (upstream * (2 * c1 - 1)).sum(keep, keepdim=True).view_as(sb))
        assert s4.grad is None
        inside = w.abs() < 3 * w.abs().mean(dim=1, keepdim=True)
    assert torch.equal(weight.grad, upstream * inside)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_scale_gradient_of_frozen_codes_is_exact(bits: int) -> None:
    # With the codes held, w_b is linear in its scale: gradcheck sees the true derivative of 1 and 2 bit.
    weight, step4 = draw(), scales(False, 0.3).detach()
    if bits == 4:
        level = torch.clamp(torch.floor(weight / step4) + 8, 0, 15) - 7.5
        outside = weight.abs() >= 8 * step4
        scale = scales(False, 0.3)
        NestedQuantizer.apply(weight, scale, scale, 4)[outside].sum().backward()
        torch.testing.assert_close(scale.grad.sum(), level[outside].sum())
    else:
        scale = scales(False, 0.7)
        assert torch.autograd.gradcheck(lambda s: NestedQuantizer.apply(weight, step4, s, bits), (scale,))


def test_ternary_follows_the_paper() -> None:
    weight, scale = (
        torch.tensor([[-1.4, -0.4, 0.3, 0.6, 2.0]], dtype=torch.float64, requires_grad=True),
        scales(False, 1.0),
    )
    quantised = TernaryQuantizer.apply(weight, scale)
    assert quantised.tolist() == [[-1.0, 0.0, 0.0, 1.0, 1.0]]
    quantised.sum().backward()
    assert weight.grad.tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0]]
    torch.testing.assert_close(scale.grad, torch.tensor([[-1 + 0.4 - 0.3 + 0.4 + 1]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("bits", "levels"), [(1, [-1, 1]), (2, [-1.5, -0.5, 0.5, 1.5]), (4, [x - 7.5 for x in range(16)])]
)
def test_independent_levels(bits: int, levels: list[float]) -> None:
    quantised = IndependentQuantizer.apply(draw() * 4, scales(False, 0.5), bits)
    assert sorted(set((quantised / 0.5).flatten().tolist())) == levels


def test_nesting_costs_what_the_design_states() -> None:
    weight = torch.randn(1, 400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = {}
    for bits, s4, sb in ((4, 0.34, 0.34), (2, 0.30, 1.11), (1, 0.30, 0.798)):
        step, scale = (torch.tensor([[v]], dtype=torch.float64) for v in (s4, sb))
        errors[bits] = float((NestedQuantizer.apply(weight, step, scale, bits) - weight).square().mean())
    assert errors[4] == pytest.approx(0.012, abs=0.001)
    assert errors[2] == pytest.approx(0.127, abs=0.004)
    assert errors[1] == pytest.approx(0.363, abs=0.003)


def test_activations_round_to_int8_rows() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, -2.0], [127.0, 0.5]], requires_grad=True)
    rounded = RoundActivations.apply(x)
    expected = [[0.0, 0.0], [round(63.5) * 2 / 127, -2.0], [127.0, 0.0]]  # ties to even, as the engine
    torch.testing.assert_close(rounded, torch.tensor(expected))
    rounded.sum().backward()
    assert torch.equal(x.grad, torch.ones(3, 2))


def test_int8_rows_survive_float16_scales() -> None:
    weight = draw().float()
    codes, scale = round_int8_rows(weight)
    assert torch.equal(scale, scale.half().float())
    assert codes.abs().max() <= 127
    assert ((codes * scale[:, None] - weight).abs() <= scale[:, None] * 0.51 + 1e-6).all()


def test_quantise_swaps_every_projection_and_starts_near_full_precision() -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        d_model=32, heads=2, blocks=2, feed_forward1=48, feed_forward2=64, average_after=1, vocabulary_size=9
    )
    network = Conformer(config).eval()
    mel, frames = torch.randn(1, 80, 80), torch.tensor([80])
    with torch.no_grad():
        plain, _ = network(mel, frames, 8)
        precision = quantise(network, per_row=True, scheme="nested", private_norms=True)
        assert isinstance(precision, Precision)
        assert len(quantised_layers(network)) == 2 * 10
        assert not any(type(m) is Linear for m in network.modules())
        torch.testing.assert_close(network(mel, frames, 8)[0], plain)
        distances = {}
        for bits in (4, 2, 1):
            precision.bits = bits
            distances[bits] = float((network(mel, frames, 8)[0] - plain).abs().mean())
        precision.ramp = 0.0
    assert distances[4] < distances[2] < distances[1]


def test_a_layers_own_draw_wins() -> None:
    torch.manual_seed(0)
    precision = Precision(bits=4)
    layer = QuantLinear(Linear(16, 8), precision, per_row=False, scheme="nested")
    layer.planes_override = 1
    x = torch.randn(3, 16)
    with torch.no_grad():
        expected = torch.nn.functional.linear(x, layer.quantised_weight(1), layer.bias)
        assert torch.equal(layer(x), expected)

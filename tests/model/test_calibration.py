"""Starting codes chosen on data: closer outputs than the nearest codes, and still nested."""

import copy

import pytest
import torch
from torch import Tensor

from onebit_model.calibration import calibrate, calibrated_codes, calibrated_signs, least_squares_scale, round_columns
from onebit_model.config import ModelConfig
from onebit_model.network import SEGMENT, Conformer
from onebit_model.quantizers import codes4, quantise, quantised_layers
from onebit_model.scale_fitting import best_scale, fit_scales
from onebit_model.sources import Inputs

CONFIG = ModelConfig(d_model=32, heads=2, blocks=3, feed_forward1=48, feed_forward2=64, average_after=1)


def correlated(rows: int = 400, columns: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(columns // 3, columns, generator=generator)
    return torch.randn(rows, columns // 3, generator=generator) @ mixing + 0.1 * torch.randn(rows, columns)


def test_rounding_columns_moves_the_error_to_later_ones() -> None:
    x, weight = correlated(), torch.randn(8, 24)
    moments = x.T @ x
    signs, scale = calibrated_signs(weight, moments)
    nearest = torch.where(weight >= 0, 1.0, -1.0)
    nearest_scale = least_squares_scale(weight, nearest, moments)

    def error(quantised: Tensor) -> float:
        return float((x @ (quantised - weight).T).square().sum())

    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert error(scale * signs) < 0.5 * error(nearest_scale * nearest)


def test_without_correlation_rounding_is_nearest() -> None:
    weight = torch.randn(5, 24)
    rounded = round_columns(weight, torch.eye(24), lambda column, _: torch.round(column))
    assert torch.equal(rounded, torch.round(weight))


def test_four_bit_codes_keep_the_signs() -> None:
    x, weight = correlated(), torch.randn(8, 24)
    moments = x.T @ x
    signs, _ = calibrated_signs(weight, moments)
    step = torch.full((8, 1), 0.3)
    codes = calibrated_codes(weight, moments, signs, step)
    assert torch.equal(codes >= 8, signs > 0)
    assert codes.min() >= 0
    assert codes.max() <= 15
    nearest = codes4(weight, step)
    forced = torch.where((nearest >= 8) == (signs > 0), nearest, torch.where(signs > 0, 8.0, 7.0))

    def error(c: Tensor) -> float:
        return float((x @ (step * (c - 7.5) - weight).T).square().sum())

    assert error(codes) < error(forced)


@pytest.fixture
def batches() -> list[Inputs]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([160, 120, 80])
    return [Inputs(torch.randn(3, 160, 80, generator=generator), lengths, SEGMENT, None) for _ in range(4)]


def test_a_calibrated_network_is_nearer_to_the_full_one(batches: list[Inputs]) -> None:
    torch.manual_seed(0)
    full = Conformer(CONFIG).eval()
    errors: dict[tuple[bool, int], float] = {}
    for calibrated in (False, True):
        network = copy.deepcopy(full)
        precision = quantise(network, per_row=True, scheme="nested", private_norms=True)
        fit_scales(network)
        if calibrated:
            calibrate(network, precision, full, batches)
        for bits in (1, 2, 4):
            precision.bits = bits
            with torch.no_grad():
                distance = batches[0].encode(network)[0] - batches[0].encode(full)[0]
            errors[calibrated, bits] = float(distance.square().mean())
    assert errors[True, 1] < 0.7 * errors[False, 1]
    assert errors[True, 4] < 0.2 * errors[True, 1]


def test_calibrated_scales_fit_their_codes(batches: list[Inputs]) -> None:
    full = Conformer(CONFIG).eval()
    network = copy.deepcopy(full)
    precision = quantise(network, per_row=True, scheme="nested", private_norms=True)
    calibrate(network, precision, full, batches)
    for layer in quantised_layers(network).values():
        codes = codes4(layer.weight, layer.scale(4))
        torch.testing.assert_close(layer.scale(4) * (codes - 7.5), layer.weight, rtol=1e-4, atol=1e-6)
        assert torch.isfinite(best_scale(layer.weight, codes, 2)).all()
        assert all((layer.scale(bits) > 0).all() for bits in (1, 2, 4))
    assert precision.bits is None

from __future__ import annotations

import pytest
import torch

from onebit_model.config import ModelConfig
from onebit_model.network.conformer import Conformer
from onebit_model.network.quantizers import codes4, dequantise, quantise, quantised_layers
from onebit_model.network.scale_fitting import fit_scales, fitted_scales


def error(rows: torch.Tensor, scales: dict[int, torch.Tensor], bits: int) -> float:
    return float((dequantise(codes4(rows, scales[4]), scales[bits], bits) - rows).square().mean())


def test_known_optima_of_gaussian_weights() -> None:
    """Mean squared errors of the optimal uniform quantizers of a unit Gaussian: 4 bit 0.0115, 1 bit 1 - 2/pi."""
    rows = torch.randn(4, 20_000, generator=torch.Generator().manual_seed(0))
    scales = fitted_scales(rows)
    assert error(rows, scales, 4) == pytest.approx(0.0115, abs=0.0006)
    assert error(rows, scales, 2) < 0.15
    assert error(rows, scales, 1) == pytest.approx(1 - 2 / torch.pi, abs=0.01)
    assert scales[1].flatten().tolist() == pytest.approx([0.798] * 4, abs=0.02)


def test_outliers_are_not_clipped_away() -> None:
    rows = torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    rows[0, 0] = 12
    wide, plain = fitted_scales(rows), fitted_scales(rows[:, 1:])
    assert wide[4] > 1.2 * plain[4]


def test_zero_rows_get_small_positive_scales() -> None:
    scales = fitted_scales(torch.zeros(2, 8))
    assert all((scale > 0).all() and (scale < 1e-3).all() for scale in scales.values())


@pytest.mark.parametrize("per_row", [False, True])
def test_every_layer_is_fitted(per_row: bool, tiny: ModelConfig) -> None:
    network = Conformer(tiny)
    quantise(network, per_row=per_row, scheme="nested", private_norms=False)
    fit_scales(network)
    for layer in quantised_layers(network).values():
        relative = (layer.quantised_weight(4) - layer.weight).square().mean() / layer.weight.square().mean()
        assert relative < 0.02

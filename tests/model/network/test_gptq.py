"""Rounding with error feedback: less error of the output than rounding to the nearest, codes that stay nested."""

import pytest
import torch
from torch import Tensor

from onebit_model.config import ModelConfig
from onebit_model.files.packed import ModelDescription
from onebit_model.network.conformer import Conformer
from onebit_model.network.gptq import input_grams, round_network
from onebit_model.network.quantizers import QuantEmbedding, QuantLinear, codes4, quantise, quantised_layers
from onebit_model.network.scale_fitting import fit_scales


def correlated_grams(network: Conformer, rank: int = 6) -> dict[str, Tensor]:
    """X'X of inputs that lie near a space of few dimensions, as a network's inputs do."""
    drawn = torch.Generator().manual_seed(3)
    grams = {}
    widths = {name: layer.in_features for name, layer in quantised_layers(network).items()}
    if network.decoder is not None:
        widths["decoder.embedding"] = network.config.d_model
    for name, width in widths.items():
        x = torch.randn(400, rank, generator=drawn) @ torch.randn(rank, width, generator=drawn)
        x += 0.1 * torch.randn(400, width, generator=drawn)
        grams[name] = x.T @ x
    return grams


def output_error(layer: QuantLinear, weight: Tensor, gram: Tensor, bits: int) -> float:
    error = layer.quantised_weight(bits).detach() - weight
    return float(((error @ gram) * error).sum() / ((weight @ gram) * weight).sum())


@pytest.fixture
def network(writing_description: ModelDescription) -> Conformer:
    torch.manual_seed(0)
    network = Conformer(writing_description.config)
    allocation = {"1": {"decoder.embedding": 2}}
    quantise(network, per_row=True, scheme="nested", private_norms=True, allocation=allocation)
    fit_scales(network)
    return network


def test_outputs_are_nearer_than_after_rounding_to_the_nearest(network: Conformer) -> None:
    grams = correlated_grams(network)
    layers = quantised_layers(network)
    weights = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    before = {n: [output_error(layer, weights[n], grams[n], b) for b in (1, 2, 4)] for n, layer in layers.items()}
    round_network(network, grams)
    after = {n: [output_error(layer, weights[n], grams[n], b) for b in (1, 2, 4)] for n, layer in layers.items()}
    for planes, factor in ((0, 0.7), (1, 0.6), (2, 2.0)):
        mean_before = sum(row[planes] for row in before.values()) / len(before)
        mean_after = sum(row[planes] for row in after.values()) / len(after)
        assert mean_after < factor * mean_before


def test_codes_are_those_of_the_latent_weights(network: Conformer) -> None:
    round_network(network, correlated_grams(network))
    for layer in quantised_layers(network).values():
        codes = codes4(layer.weight, layer.scale(4))
        torch.testing.assert_close(layer.weight, (codes - 7.5) * layer.scale(4))


def test_the_embedding_is_rounded_too(network: Conformer) -> None:
    assert network.decoder is not None
    embedding = network.decoder.embedding
    assert isinstance(embedding, QuantEmbedding)
    weight = embedding.weight.detach().clone()
    round_network(network, correlated_grams(network))
    embedding.precision.bits = 1
    assert len(embedding.table()[0].abs().unique()) <= 2
    embedding.precision.bits = 4
    relative = (embedding.table() - weight).square().mean() / weight.square().mean()
    assert 0 < relative < 0.3


def test_grams_are_those_of_the_inputs(tiny: ModelConfig) -> None:
    network = Conformer(tiny).eval()
    heard = []
    layer = network.get_submodule("blocks.0.ff1.up")
    handle = layer.register_forward_pre_hook(lambda _module, inputs: heard.append(inputs[0].flatten(0, -2)))
    with input_grams(network) as grams, torch.no_grad():
        for frames in (16, 24):
            mel = torch.randn(1, frames * 4, tiny.mel_bins)
            network(mel, torch.tensor([frames * 4]), 0)
    handle.remove()
    seen = torch.cat(heard)
    torch.testing.assert_close(grams["blocks.0.ff1.up"], seen.T @ seen, rtol=1e-4, atol=1e-4)

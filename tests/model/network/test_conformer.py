"""The network at step 0 is Whisper's encoder, and its streaming masks keep their word."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from onebit_model.audio import features
from onebit_model.config import WHOLE_SEGMENT, ModelConfig
from onebit_model.network.conformer import Conformer, attention_mask, average_pairs
from onebit_model.network.frontend import LogMel
from onebit_model.network.pretrained import load_whisper, wake_silent_layers
from onebit_model.network.whisper_file import read_whisper
from onebit_model.training.outputs import Batch, Teacher
from onebit_model.training.sources import Inputs

SMALL = ModelConfig(
    d_model=64, heads=2, blocks=3, feed_forward1=96, feed_forward2=128, average_after=1, vocabulary_size=20
)


def whisper_tensors(config: ModelConfig) -> dict[str, Tensor]:
    """A random encoder under the published names."""
    generator = torch.Generator().manual_seed(0)
    dim, hidden = config.d_model, config.feed_forward2

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    tensors = {
        "conv1.weight": draw(dim, config.mel_bins, 3),
        "conv1.bias": draw(dim),
        "conv2.weight": draw(dim, dim, 3),
        "conv2.bias": draw(dim),
        "layer_norm.weight": 1 + draw(dim),
        "layer_norm.bias": draw(dim),
    }
    for index in range(config.blocks):
        prefix = f"layers.{index}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors[f"{prefix}self_attn.{name}.weight"] = draw(dim, dim)
            if name != "k_proj":
                tensors[f"{prefix}self_attn.{name}.bias"] = draw(dim)
        tensors |= {f"{prefix}fc1.weight": draw(hidden, dim), f"{prefix}fc1.bias": draw(hidden)}
        tensors |= {f"{prefix}fc2.weight": draw(dim, hidden), f"{prefix}fc2.bias": draw(dim)}
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            tensors |= {f"{prefix}{norm}.weight": 1 + draw(dim), f"{prefix}{norm}.bias": draw(dim)}
    return {f"model.encoder.{name}": value for name, value in tensors.items()}


def whisper_encoder(tensors: dict[str, Tensor], mel: Tensor, config: ModelConfig) -> Tensor:
    """Whisper's encoder written down once more, independently: (time, mel) -> (time / 2, dim)."""
    t = {name.removeprefix("model.encoder."): value for name, value in tensors.items()}
    x = F.gelu(F.conv1d(mel.T[None], t["conv1.weight"], t["conv1.bias"], padding=1))
    x = F.gelu(F.conv1d(x, t["conv2.weight"], t["conv2.bias"], stride=2, padding=1))[0].T
    half = config.d_model // 2
    rates = 10_000 ** (-torch.arange(half) / (half - 1))
    angles = torch.arange(len(x))[:, None] * rates
    x = x + torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    for index in range(config.blocks):
        p = f"layers.{index}."
        y = _layer_norm(x, t, f"{p}self_attn_layer_norm")
        q = y @ t[f"{p}self_attn.q_proj.weight"].T + t[f"{p}self_attn.q_proj.bias"]
        k = y @ t[f"{p}self_attn.k_proj.weight"].T
        v = y @ t[f"{p}self_attn.v_proj.weight"].T + t[f"{p}self_attn.v_proj.bias"]
        heads = [
            torch.softmax(qh @ kh.T / qh.shape[1] ** 0.5, dim=1) @ vh
            for qh, kh, vh in zip(*(m.chunk(config.heads, dim=1) for m in (q, k, v)), strict=True)
        ]
        x = x + torch.cat(heads, dim=1) @ t[f"{p}self_attn.out_proj.weight"].T + t[f"{p}self_attn.out_proj.bias"]
        y = _layer_norm(x, t, f"{p}final_layer_norm")
        y = F.gelu(y @ t[f"{p}fc1.weight"].T + t[f"{p}fc1.bias"])
        x = x + y @ t[f"{p}fc2.weight"].T + t[f"{p}fc2.bias"]
    return _layer_norm(x, t, "layer_norm")


def _layer_norm(x: Tensor, tensors: dict[str, Tensor], name: str) -> Tensor:
    weight = tensors[f"{name}.weight"]
    return F.layer_norm(x, weight.shape, weight, tensors[f"{name}.bias"])


def test_step_zero_is_whispers_encoder(tmp_path: Path) -> None:
    # average_after at the last block: frame averaging comes after everything that Whisper computes.
    config = ModelConfig(
        d_model=64, heads=2, blocks=3, feed_forward1=96, feed_forward2=128, average_after=3, vocabulary_size=20
    )
    tensors = whisper_tensors(config)
    save_file(tensors, tmp_path / "encoder.safetensors")
    network = Conformer(config).eval()
    load_whisper(network, read_whisper(tmp_path / "encoder.safetensors"))
    mel = torch.from_numpy(features.log_mel(np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)))
    with torch.no_grad():
        ours = network.lower(mel[None], torch.tensor([len(mel)]), 0, 2)
        last = network.blocks[2](ours, torch.ones(1, 1, 1, ours.shape[1], dtype=torch.bool))
        ours = network.final_norm(last)[0]
    torch.testing.assert_close(ours, whisper_encoder(tensors, mel, config), rtol=0, atol=1e-4)


def test_layers_of_zeros_wake_up() -> None:
    network = Conformer(SMALL)
    before = network.blocks[0].get_parameter("attention.query.weight").clone()
    silent = network.blocks[0].get_parameter("ff1.down.weight")
    torch.nn.init.zeros_(silent)
    wake_silent_layers(network)
    assert 0 < silent.abs().mean().item() < 0.01
    assert torch.equal(network.blocks[0].get_parameter("attention.query.weight"), before)
    torch.nn.init.constant_(silent, 5e-13)  # zeros that were kept in 8 bits
    wake_silent_layers(network, ("blocks.1.",))
    assert silent.max() < 1e-6
    wake_silent_layers(network, ("blocks.0.",))
    assert silent.abs().mean().item() > 1e-3


def test_the_teacher_has_full_context() -> None:
    teacher = Teacher(Conformer(SMALL))
    values, lengths = torch.randn(1, 160, 80), torch.tensor([160])
    batches = [Batch(Inputs(values, lengths, chunk, values), [], None) for chunk in (8, WHOLE_SEGMENT)]
    chunked, whole = (teacher(batch).frames for batch in batches)
    assert torch.equal(chunked, whole)


def test_torch_and_numpy_features_agree() -> None:
    rng = np.random.default_rng(3)
    clips = [rng.normal(0, 0.1, n).astype(np.float32) for n in (16_000, 9_999, 641)]
    padded = np.stack([np.pad(c, (0, 16_000 - len(c))) for c in clips])
    mel, frames = LogMel()(torch.from_numpy(padded), torch.tensor([len(c) for c in clips]))
    for row, clip in enumerate(clips):
        expected = features.log_mel(clip)
        assert int(frames[row]) == len(expected)
        np.testing.assert_allclose(mel[row, : len(expected)].numpy(), expected, atol=2e-5)
        assert not mel[row, len(expected) :].any()


@pytest.mark.parametrize("chunk", [0, 8, 16])
def test_padding_does_not_change_a_clip(chunk: int) -> None:
    torch.manual_seed(0)
    network = Conformer(SMALL).eval()
    mel = torch.randn(1, 400, SMALL.mel_bins)
    longer = torch.zeros(2, 640, SMALL.mel_bins)
    longer[0, :400] = mel[0]
    longer[1] = torch.randn(640, SMALL.mel_bins)
    with torch.no_grad():
        alone, frames = network(mel, torch.tensor([400]), chunk)
        beside, _ = network(longer, torch.tensor([400, 640]), chunk)
    assert int(frames[0]) == 100
    torch.testing.assert_close(beside[0, :100], alone[0], rtol=1e-4, atol=1e-5)


def test_a_chunk_does_not_see_the_future() -> None:
    torch.manual_seed(0)
    network = Conformer(SMALL).eval()
    mel = torch.randn(1, 320, SMALL.mel_bins)
    changed = mel.clone()
    changed[:, 64 * 3 + 2 :] += 1  # two mel frames of look-ahead belong to the third chunk
    frames = torch.tensor([320])
    with torch.no_grad():
        before, after = network(mel, frames, 8)[0], network(changed, frames, 8)[0]
    torch.testing.assert_close(before[:, :48], after[:, :48])
    assert (before[:, 48:] - after[:, 48:]).abs().max() > 1e-3


def test_attention_mask_is_the_chunk_and_its_left_context() -> None:
    mask = attention_mask(12, torch.tensor([11]), 2, 2)[0, 0]
    assert mask[6].nonzero().flatten().tolist() == [2, 3, 4, 5, 6, 7]
    assert mask[10].nonzero().flatten().tolist() == [6, 7, 8, 9, 10]
    assert mask[11, 11]


def test_average_pairs() -> None:
    x = torch.arange(8.0).view(1, 4, 2)
    assert average_pairs(x).tolist() == [[[1.0, 2.0], [5.0, 6.0]]]

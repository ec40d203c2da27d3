"""Start the Conformer from Whisper base, so that at step 0 it computes what Whisper does."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onebit_model.audio import features
from onebit_model.config import MAXIMUM_SEGMENT_SAMPLES, MEL_FRAME_SAMPLES, WHOLE_SEGMENT
from onebit_model.network.conformer import STEM_STRIDE, Block, Conformer, attention_mask
from onebit_model.network.decoder import AttentionDecoder, CrossAttention, DecoderBlock, SelfAttention
from onebit_model.network.frontend import LogMel
from onebit_model.network.layers import Linear

SILENT = 1e-6  # no weight of a layer that has learned is all below this
SILENT_SPREAD = 0.005  # a tenth of the spread of trained weights
WHISPER_SAMPLES = MAXIMUM_SEGMENT_SAMPLES
WHISPER_FLOOR = 1e-10  # power
WHISPER_RANGE = 8.0  # decades below the loudest bin of the window


def load_whisper(network: Conformer, source: dict[str, Tensor], pieces: Sequence[int] = ()) -> None:
    """Copy Whisper (`whisper_file.read_whisper`) into `network`; what Whisper lacks starts with zero output.

    A network with a decoder takes the rows `pieces` of Whisper's embedding, in this order.
    Raises KeyError naming the tensor that the file lacks, RuntimeError when a shape differs.
    """
    with torch.no_grad():
        for convolution, name in ((network.stem.conv1, "conv1"), (network.stem.conv2, "conv2")):
            taps_first = source[f"encoder.{name}.weight"].permute(0, 2, 1)
            convolution.weight.copy_(taps_first.flatten(1))
            convolution.bias.copy_(source[f"encoder.{name}.bias"])
        for index, block in enumerate(network.blocks):
            assert isinstance(block, Block)
            _load_block(block, source, f"encoder.layers.{index}.")
        _copy(network.final_norm, source, "encoder.layer_norm")
        if network.decoder is not None:
            _load_decoder(network.decoder, source, pieces)


def _load_block(block: Block, source: dict[str, Tensor], prefix: str) -> None:
    attention = block.attention
    _copy(attention.norm, source, f"{prefix}self_attn_layer_norm")
    _copy(attention.query, source, f"{prefix}self_attn.q_proj")
    _copy(attention.key, source, f"{prefix}self_attn.k_proj")
    _copy(attention.value, source, f"{prefix}self_attn.v_proj")
    _copy(attention.output, source, f"{prefix}self_attn.out_proj")
    _copy(block.ff2.norm, source, f"{prefix}final_layer_norm")
    _copy(block.ff2.up, source, f"{prefix}fc1")
    _copy(block.ff2.down, source, f"{prefix}fc2")
    # The Conformer halves its feed-forward layers, Whisper does not.
    block.ff2.down.weight.mul_(2)
    block.ff2.down.bias.mul_(2)
    for silent in (block.ff1.down, block.convolution.project):
        nn.init.zeros_(silent.weight)
        nn.init.zeros_(silent.bias)


def _load_decoder(decoder: AttentionDecoder, source: dict[str, Tensor], pieces: Sequence[int]) -> None:
    decoder.embedding.weight.copy_(source["decoder.embed_tokens.weight"][list(pieces)])
    decoder.positions.copy_(source["decoder.embed_positions.weight"][: len(decoder.positions)])
    _copy(decoder.norm, source, "decoder.layer_norm")
    for index, block in enumerate(decoder.blocks):
        assert isinstance(block, DecoderBlock)
        prefix = f"decoder.layers.{index}."
        _copy(block.self_attention.norm, source, f"{prefix}self_attn_layer_norm")
        _load_attention(block.self_attention, source, f"{prefix}self_attn")
        _copy(block.cross_attention.norm, source, f"{prefix}encoder_attn_layer_norm")
        _load_attention(block.cross_attention, source, f"{prefix}encoder_attn")
        _copy(block.feed_forward.norm, source, f"{prefix}final_layer_norm")
        _copy(block.feed_forward.up, source, f"{prefix}fc1")
        _copy(block.feed_forward.down, source, f"{prefix}fc2")


def _load_attention(attention: SelfAttention | CrossAttention, source: dict[str, Tensor], prefix: str) -> None:
    for layer, name in (
        (attention.query, "q"),
        (attention.key, "k"),
        (attention.value, "v"),
        (attention.output, "out"),
    ):
        _copy(layer, source, f"{prefix}.{name}_proj")


def whisper_encoding(network: Conformer, audio: Tensor) -> Tensor:
    """What Whisper's encoder makes of (batch, samples) float32, padded to 30 s: (batch, 1500, d_model).

    Only of a network that was just loaded.
    """
    padded = nn.functional.pad(audio, (0, WHISPER_SAMPLES - audio.shape[1]))
    mel = whisper_log_mel(padded)
    return whisper_encoder(network, mel, torch.full((len(mel),), mel.shape[1], device=mel.device))


def whisper_encoder(network: Conformer, mel: Tensor, mel_frames: Tensor) -> Tensor:
    """Whisper's encoder on (batch, time, mel_bins) with (batch,) valid frames: (batch, time / 2, d_model).

    Only of a network that was just loaded: frames are not averaged, and what Whisper lacks is left out.
    """
    x = network.stem(mel, mel_frames)
    x = x + network.positions[: x.shape[1]]
    mask = attention_mask(x.shape[1], mel_frames // STEM_STRIDE, WHOLE_SEGMENT, 0)
    for block in network.blocks:
        assert isinstance(block, Block)
        x = x + block.attention(x, mask)
        x = x + 0.5 * block.ff2(x)
    return network.final_norm(x)


def whisper_log_mel(audio: Tensor) -> Tensor:
    """Whisper's own features, (batch, samples) -> (batch, samples / 160, 80): the floor follows the loudest bin.

    In float32 whatever autocast says.
    """
    with torch.autocast(audio.device.type, enabled=False):
        return _whisper_log_mel(audio)


def _whisper_log_mel(audio: Tensor) -> Tensor:
    front_end = LogMel().to(audio.device)
    spectrum = torch.stft(
        audio,
        features.WINDOW_SAMPLES,
        MEL_FRAME_SAMPLES,
        window=front_end.window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )[..., :-1]
    power = spectrum.real.square() + spectrum.imag.square()
    mel = (front_end.filters @ power).clamp(min=WHISPER_FLOOR).log10()
    mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - WHISPER_RANGE)
    return ((mel + 4) / 4).transpose(1, 2)


@torch.no_grad()
def wake_silent_layers(network: Conformer, parts: Sequence[str] = ("",)) -> None:
    """Give layers of zeros small random weights: codes of zeros have no size, and no gradient passes them.

    Of the layers whose names begin with one of `parts`; zeros that were kept in 8 bits are zeros but for a rounding.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, Linear) and name.startswith(tuple(parts)) and layer.weight.abs().max() < SILENT:
            nn.init.normal_(layer.weight, std=SILENT_SPREAD)


def _copy(module: nn.Linear | nn.LayerNorm, source: dict[str, Tensor], name: str) -> None:
    module.weight.copy_(source[f"{name}.weight"])
    if module.bias is not None:
        module.bias.copy_(source[f"{name}.bias"])

"""The Conformer encoder with its CTC head and, where it has one, its attention decoder (Gulati et al. 2020).

The network is plain: it does not know about bits. `quantizers.quantise` swaps its layers from outside.
Module names are the layer names of the packed file.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebit_model.config import WHOLE_SEGMENT, ModelConfig
from onebit_model.network.decoder import AttentionDecoder
from onebit_model.network.frontend import mask_frames
from onebit_model.network.layers import FeedForward, Linear, split_heads

STEM_STRIDE = 2  # mel frames per stem frame
FRAMES_PER_UNIT = 4  # stem frames in one 80 ms chunk unit


class StemConvolution(nn.Module):
    """Convolution over three frames as a matrix product on windows, so that int8 sees whole rows."""

    def __init__(self, in_dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_dim, 3 * in_dim))  # column = tap * in_dim + channel
        self.bias = nn.Parameter(torch.zeros(out_dim))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def windows(self, x: Tensor) -> Tensor:
        """(batch, time, in_dim) -> (batch, time / stride, 3 * in_dim), zeros outside."""
        padded = F.pad(x, (0, 0, 1, 1))
        taps = [padded[:, tap : tap + x.shape[1] : self.stride] for tap in range(3)]
        return torch.cat(taps, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.windows(x), self.weight, self.bias)


class Stem(nn.Module):
    """Log-mel at 100 frames a second -> d_model at 50, as in Whisper."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conv1 = StemConvolution(config.mel_bins, config.d_model, 1)
        self.conv2 = StemConvolution(config.d_model, config.d_model, STEM_STRIDE)

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """(batch, time, mel_bins) -> (batch, time / 2, d_model)."""
        hidden = mask_frames(F.gelu(self.conv1(mel)), frames)
        return F.gelu(self.conv2(hidden))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim, bias=False)
        self.value = Linear(dim, dim)
        self.output = Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask` (batch, 1, time, time) bool, True where a query may look."""
        y = self.norm(x)
        query, key, value = (split_heads(layer(y), self.heads) for layer in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(attended.transpose(1, 2).flatten(2))


class Depthwise(nn.Module):
    """Causal depthwise convolution over (batch, time, dim), taps oldest first."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.empty(dim, kernel))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight)

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if x.device.type == "cpu":
            padded = F.pad(x.transpose(1, 2), (self.kernel - 1, 0))
            convolved = F.conv1d(padded, weight[:, None].to(x.dtype), groups=x.shape[2])
            return convolved.transpose(1, 2) + self.bias
        # Tap by tap: a GPU's depthwise convolutions are slow backwards.
        padded = F.pad(x, (0, 0, self.kernel - 1, 0))
        taps = weight.to(x.dtype).unbind(dim=1)
        convolved = padded[:, : x.shape[1]] * taps[0]
        for tap, column in enumerate(taps[1:], start=1):
            convolved = torch.addcmul(convolved, padded[:, tap : tap + x.shape[1]], column)
        return convolved + self.bias


class Convolution(nn.Module):
    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = Linear(dim, 2 * dim)
        self.depthwise = Depthwise(dim, kernel)
        self.inner_norm = nn.LayerNorm(dim)
        self.project = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        gated = F.glu(self.expand(self.norm(x)), dim=-1)
        return self.project(F.silu(self.inner_norm(self.depthwise(gated))))


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ff1 = FeedForward(config.d_model, config.feed_forward1, nn.SiLU())
        self.attention = Attention(config.d_model, config.heads)
        self.convolution = Convolution(config.d_model, config.convolution_kernel)
        self.ff2 = FeedForward(config.d_model, config.feed_forward2, nn.GELU())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + 0.5 * self.ff1(x)
        x = x + self.attention(x, mask)
        x = x + self.convolution(x)
        return x + 0.5 * self.ff2(x)


class Conformer(nn.Module):
    """Log-mel -> CTC log-probabilities; `lower` and `upper` are its two halves at a block boundary."""

    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.final_norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocabulary_size + 1)
        self.decoder = AttentionDecoder(config) if config.has_decoder else None
        self.register_buffer("positions", sinusoids(config.max_positions, config.d_model), persistent=False)

    def forward(self, mel: Tensor, mel_frames: Tensor, chunk: int = WHOLE_SEGMENT) -> tuple[Tensor, Tensor]:
        """(batch, time, mel_bins), (batch,) -> log-probabilities (batch, time / 4, tokens), frames (batch,).

        `chunk` in units of 80 ms limits attention to the chunk and `left_chunks` before it.
        """
        hidden = self.lower(mel, mel_frames, chunk, self.config.average_after)
        frames = mel_frames // (STEM_STRIDE * 2)
        return self.log_probabilities(self.upper(hidden, frames, chunk)), frames

    def lower(self, mel: Tensor, mel_frames: Tensor, chunk: int, blocks: int) -> Tensor:
        """Stem and the first `blocks` blocks, frames averaged when the boundary is past that point."""
        x = self.stem(mel, mel_frames)
        x = x + self.positions[: x.shape[1]]
        frames = mel_frames // STEM_STRIDE
        return self.run_blocks(x, frames, chunk, 0, blocks)

    def upper(self, hidden: Tensor, frames: Tensor, chunk: int, start: int | None = None) -> Tensor:
        """Blocks from `start` (default: after averaging) to the final norm, (batch, frames, d_model)."""
        start = self.config.average_after if start is None else start
        return self.final_norm(self.run_blocks(hidden, frames, chunk, start, self.config.blocks))

    def log_probabilities(self, encoded: Tensor) -> Tensor:
        return F.log_softmax(self.head(encoded).float(), dim=-1)

    def run_blocks(self, x: Tensor, frames: Tensor, chunk: int, start: int, stop: int) -> Tensor:
        """Blocks start..stop-1 and the averaging between them; `frames` counts valid frames at the rate of `x`."""
        average_after = self.config.average_after
        rate = 1 if start < average_after else 2
        mask = self._mask(x.shape[1], frames, chunk, rate)
        for index in range(start, stop):
            x = self.blocks[index](x, mask)
            if index + 1 == average_after:
                x = average_pairs(x)
                frames, rate = frames // 2, 2
                mask = self._mask(x.shape[1], frames, chunk, rate)
        return x

    def _mask(self, time: int, frames: Tensor, chunk: int, rate: int) -> Tensor:
        size = chunk * FRAMES_PER_UNIT // rate
        return attention_mask(time, frames, size, self.config.left_chunks)


def average_pairs(x: Tensor) -> Tensor:
    """(batch, 2 n, dim) -> (batch, n, dim)."""
    batch, time, dim = x.shape
    return x.view(batch, time // 2, 2, dim).mean(dim=2)


def attention_mask(time: int, frames: Tensor, chunk_frames: int, left_chunks: int) -> Tensor:
    """(batch, 1, time, time) bool: valid keys, of the query's chunk or `left_chunks` before it."""
    index = torch.arange(time, device=frames.device)
    valid = index[None, :] < frames[:, None]
    mask = valid[:, None, None, :].expand(-1, 1, time, -1)
    if chunk_frames:
        chunk = index // chunk_frames
        distance = chunk[:, None] - chunk[None, :]
        mask = mask & ((distance >= 0) & (distance <= left_chunks))
    # Padded queries look at themselves, so that no row of the softmax is empty.
    return mask | torch.eye(time, dtype=torch.bool, device=frames.device)


def sinusoids(length: int, dim: int) -> Tensor:
    """Whisper's positions: sines then cosines, (length, dim) float32."""
    step = math.log(10_000) / (dim // 2 - 1)
    rates = torch.exp(-step * torch.arange(dim // 2, dtype=torch.float32))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)

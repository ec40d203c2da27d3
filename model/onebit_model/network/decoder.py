"""The attention decoder: written text, piece by piece, from the encoder's output (Watanabe et al. 2017; Whisper).

Pre-norm blocks of causal self-attention, cross-attention and feed-forward; learned positions; the output is tied to
the embedding. Like the encoder it does not know about bits. Module names are the layer names of the packed file.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebit_model.config import ModelConfig
from onebit_model.network.layers import FeedForward, Linear, split_heads


@dataclass
class KeysAndValues:
    """Of one attention: keys and values, each (batch, heads, time, head_dim)."""

    keys: Tensor
    values: Tensor


class SelfAttention(nn.Module):
    """Attention to the pieces so far."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim, bias=False)
        self.value = Linear(dim, dim)
        self.output = Linear(dim, dim)

    def forward(self, x: Tensor, past: KeysAndValues | None = None) -> tuple[Tensor, KeysAndValues]:
        """(batch, pieces, dim) after `past` pieces -> the same shape, and keys and values of all of them.

        With a past, one piece at a time.
        """
        y = self.norm(x)
        query, key, value = (split_heads(layer(y), self.heads) for layer in (self.query, self.key, self.value))
        if past is not None:
            key, value = torch.cat([past.keys, key], dim=2), torch.cat([past.values, value], dim=2)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        return self.output(attended.transpose(1, 2).flatten(2)), KeysAndValues(key, value)


class CrossAttention(nn.Module):
    """Attention to the encoder's output."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim, bias=False)
        self.value = Linear(dim, dim)
        self.output = Linear(dim, dim)

    def project(self, encoded: Tensor) -> KeysAndValues:
        """Keys and values of (batch, frames, dim): once for a segment."""
        return KeysAndValues(split_heads(self.key(encoded), self.heads), split_heads(self.value(encoded), self.heads))

    def forward(self, x: Tensor, memory: KeysAndValues, mask: Tensor) -> Tensor:
        """`mask` (batch, 1, 1, frames) bool, True where there is a frame."""
        query = split_heads(self.query(self.norm(x)), self.heads)
        attended = F.scaled_dot_product_attention(query, memory.keys, memory.values, attn_mask=mask)
        return self.output(attended.transpose(1, 2).flatten(2))


class DecoderBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config.d_model, config.heads)
        self.cross_attention = CrossAttention(config.d_model, config.heads)
        self.feed_forward = FeedForward(config.d_model, config.decoder_feed_forward, nn.GELU())

    def forward(
        self, x: Tensor, memory: KeysAndValues, mask: Tensor, past: KeysAndValues | None = None
    ) -> tuple[Tensor, KeysAndValues]:
        attended, past = self.self_attention(x, past)
        x = x + attended
        x = x + self.cross_attention(x, memory, mask)
        return x + self.feed_forward(x), past


class Embedding(nn.Module):
    """Rows of pieces; the same matrix gives the logits."""

    def __init__(self, pieces: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(pieces, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)

    def table(self) -> Tensor:
        """(pieces, dim): what both uses look at."""
        return self.weight

    def forward(self, pieces: Tensor) -> Tensor:
        return F.embedding(pieces, self.table())

    def logits(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., pieces)."""
        return F.linear(x, self.table())


class AttentionDecoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = Embedding(config.decoder_vocabulary_size, config.d_model)
        self.positions = nn.Parameter(torch.zeros(config.decoder_positions, config.d_model))
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_blocks))
        self.norm = nn.LayerNorm(config.d_model)

    def memory(self, encoded: Tensor) -> list[KeysAndValues]:
        """Keys and values of every block's cross-attention for (batch, frames, d_model)."""
        attentions = (block.get_submodule("cross_attention") for block in self.blocks)
        return [attention.project(encoded) for attention in attentions if isinstance(attention, CrossAttention)]

    def forward(self, pieces: Tensor, encoded: Tensor, frames: Tensor) -> Tensor:
        """Teacher forcing: (batch, pieces) int64 -> hidden (batch, pieces, d_model) after the final norm."""
        hidden, _ = self.step(pieces, self.memory(encoded), frame_mask(encoded, frames), None, 0)
        return hidden

    def step(
        self,
        pieces: Tensor,
        memory: list[KeysAndValues],
        mask: Tensor,
        past: list[KeysAndValues] | None,
        position: int,
    ) -> tuple[Tensor, list[KeysAndValues]]:
        """(batch, new pieces) at `position` after `past` -> hidden (batch, new pieces, d_model) and the longer past."""
        x = self.embedding(pieces) + self.positions[position : position + pieces.shape[1]]
        grown = []
        for index, block in enumerate(self.blocks):
            x, kept = block(x, memory[index], mask, None if past is None else past[index])
            grown.append(kept)
        return self.norm(x), grown

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """(..., d_model) -> (..., pieces) float32."""
        return F.log_softmax(self.embedding.logits(hidden).float(), dim=-1)


def frame_mask(encoded: Tensor, frames: Tensor) -> Tensor:
    """(batch, 1, 1, time) bool: valid frames of (batch, time, dim), of which each clip has `frames` (batch,)."""
    index = torch.arange(encoded.shape[1], device=frames.device)
    return (index[None, :] < frames[:, None])[:, None, None, :]

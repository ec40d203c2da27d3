"""The engine's arithmetic in numpy, float64, on a whole segment at once: the golden twin of the C++ core.

Written from the description of the model, not from the C++ code; only the int8 rounding rule is shared.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FRAMES_PER_UNIT = 4  # stem frames in the 80 ms unit of a chunk

erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x: Array) -> Array:
    return x / 2 * (1 + erf(x / math.sqrt(2)))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def round_rows(x: Array) -> Array:
    """Symmetric int8 per row of the last axis."""
    largest = np.abs(x).max(axis=-1, keepdims=True)
    inverse = np.divide(127, largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(x * inverse) * (largest / 127)


class ReferenceModel:
    """`planes`: by layer, where they are not as many as `bits`."""

    def __init__(
        self,
        config: dict[str, int],
        tensors: dict[str, NDArray[np.generic]],
        bits: int,
        planes: dict[str, int] | None = None,
    ) -> None:
        self.config = config
        self.tensors = tensors
        self.bits = bits
        self.planes = {"decoder.embedding": 4} | (planes or {})

    def log_probabilities(self, mel: NDArray[np.float32], chunk: int = 0) -> Array:
        """(mel frames, mel_bins) -> (frames / 4, outputs); `chunk` in units of 80 ms, 0 is the whole segment."""
        logits = self._int8("head", self.encode(mel, chunk))
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def encode(self, mel: NDArray[np.float32], chunk: int = 0) -> Array:
        """(mel frames, mel_bins) -> (frames / 4, d_model)."""
        x = self._stem(mel.astype(np.float64))
        x = x + positions(len(x), self.config["d_model"])
        chunk_frames = chunk * FRAMES_PER_UNIT
        for i in range(self.config["blocks"]):
            x = self._block(f"blocks.{i}", x, self._mask(len(x), chunk_frames))
            if i + 1 == self.config["average_after"]:
                x = x.reshape(len(x) // 2, 2, -1).mean(axis=1)
                chunk_frames //= 2
        return self._norm("final_norm", x)

    def written(self, pieces: list[int], encoded: Array) -> Array:
        """(pieces), (frames, d_model) -> log-probabilities (pieces, decoder_vocabulary_size) of what follows each."""
        x = self._weights("decoder.embedding")[pieces] + self._floats("decoder.positions")[: len(pieces)]
        past = np.tril(np.ones((len(pieces), len(pieces)), bool))
        for i in range(self.config["decoder_blocks"]):
            block = f"decoder.blocks.{i}"
            x = x + self._attention(f"{block}.self_attention", x, past)
            everything = np.ones((len(pieces), len(encoded)), bool)
            x = x + self._attention(f"{block}.cross_attention", x, everything, encoded)
            x = x + self._feed_forward(f"{block}.feed_forward", x, gelu)
        logits = self._linear("decoder.embedding", self._norm("decoder.norm", x))
        highest = logits.max(axis=1, keepdims=True)
        return logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))

    def _stem(self, mel: Array) -> Array:
        hidden = gelu(self._int8("stem.conv1", windows(mel, 1)))
        return gelu(self._int8("stem.conv2", windows(hidden, 2)))

    def _block(self, name: str, x: Array, mask: NDArray[np.bool_]) -> Array:
        x = x + 0.5 * self._feed_forward(f"{name}.ff1", x, silu)
        x = x + self._attention(f"{name}.attention", x, mask)
        x = x + self._convolution(f"{name}.convolution", x)
        return x + 0.5 * self._feed_forward(f"{name}.ff2", x, gelu)

    def _feed_forward(self, name: str, x: Array, activation) -> Array:  # type: ignore[no-untyped-def]
        return self._linear(f"{name}.down", activation(self._linear(f"{name}.up", self._norm(f"{name}.norm", x))))

    def _attention(self, name: str, x: Array, mask: NDArray[np.bool_], other: Array | None = None) -> Array:
        """To itself, or to another sequence."""
        heads = self.config["heads"]
        y = self._norm(f"{name}.norm", x)
        seen = y if other is None else other
        query, key, value = (
            self._linear(f"{name}.{part}", z).reshape(len(z), heads, -1).transpose(1, 0, 2)
            for part, z in (("query", y), ("key", seen), ("value", seen))
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        scores = np.where(mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return self._linear(f"{name}.output", (weights @ value).transpose(1, 0, 2).reshape(len(x), -1))

    def _convolution(self, name: str, x: Array) -> Array:
        expanded = self._linear(f"{name}.expand", self._norm(f"{name}.norm", x))
        gated = expanded[:, : x.shape[1]] * sigmoid(expanded[:, x.shape[1] :])
        taps = self.config["convolution_kernel"]
        padded = np.concatenate([np.zeros((taps - 1, x.shape[1])), gated])
        depthwise = f"{name}.depthwise"
        weights = self._floats(f"{depthwise}.scale8")[:, None] * self.tensors[f"{depthwise}.int8"]
        y = sum(weights[:, tap] * padded[tap : tap + len(x)] for tap in range(taps)) + self._floats(f"{depthwise}.bias")
        return self._linear(f"{name}.project", silu(self._norm(f"{name}.inner_norm", y)))

    def _mask(self, frames: int, chunk_frames: int) -> NDArray[np.bool_]:
        if chunk_frames == 0:
            return np.ones((frames, frames), bool)
        chunk = np.arange(frames) // chunk_frames
        age = chunk[:, None] - chunk[None, :]
        return (age >= 0) & (age <= self.config["left_chunks"])

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        private = f"{name}.weight{self.bits}" in self.tensors
        suffix = str(self.bits) if private else ""
        return unit * self._floats(f"{name}.weight{suffix}") + self._floats(f"{name}.bias{suffix}")

    def _weights(self, name: str) -> Array:
        count = self.planes.get(name, self.bits)
        planes = self.tensors[f"{name}.planes"][:count]
        codes = np.zeros((planes.shape[1], 8 * planes.shape[2]))  # every width here is a multiple of 8
        for plane in planes:
            codes = 2 * codes + np.unpackbits(plane, axis=1, bitorder="little")
        steps = 2 * codes - 1 if count == 1 else codes - (2**count - 1) / 2
        return self._floats(f"{name}.scale{count}")[:, None] * steps

    def _linear(self, name: str, x: Array) -> Array:
        bias = self._floats(f"{name}.bias") if f"{name}.bias" in self.tensors else 0
        return round_rows(x) @ self._weights(name).T + bias

    def _int8(self, name: str, x: Array) -> Array:
        weights = self._floats(f"{name}.scale8")[:, None] * self.tensors[f"{name}.int8"]
        return round_rows(x) @ weights.T + self._floats(f"{name}.bias")

    def _floats(self, name: str) -> Array:
        return self.tensors[name].astype(np.float64)


def windows(x: Array, stride: int) -> Array:
    """(time, channels) -> (time / stride, 3 * channels): frames before, at and after, zeros outside."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    return np.concatenate([padded[tap : tap + len(x) : stride] for tap in range(3)], axis=1)


def positions(frames: int, dim: int) -> Array:
    rates = np.exp(-math.log(10_000) / (dim // 2 - 1) * np.arange(dim // 2))
    angles = np.arange(frames)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

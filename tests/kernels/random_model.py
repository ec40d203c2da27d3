"""Packed tensors with random weights that behave like a trained network's: unit variance through every layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onebit_kernels import Result

Tensors = dict[str, NDArray[np.generic]]
Transcribe = Callable[..., Result]

SMALL = {
    "mel_bins": 80,
    "d_model": 64,
    "heads": 2,
    "blocks": 3,
    "feed_forward1": 96,
    "feed_forward2": 160,
    "convolution_kernel": 7,
    "average_after": 2,
    "vocabulary_size": 20,
    "left_chunks": 4,
    "max_positions": 1500,
}
WRITING = SMALL | {
    "blocks": 1,
    "average_after": 1,
    "decoder_blocks": 2,
    "decoder_feed_forward": 96,
    "decoder_vocabulary_size": 48,
    "decoder_positions": 64,
}
FULL = SMALL | {
    "d_model": 512,
    "heads": 8,
    "blocks": 6,
    "feed_forward1": 1024,
    "feed_forward2": 2048,
    "convolution_kernel": 15,
    "vocabulary_size": 256,
}


class TensorMaker:
    """Draws the tensors of one model."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: Tensors = {}

    def low_bit(self, name: str, outputs: int, inputs: int, *, bias: bool = True) -> None:
        """Nested codes of Gaussian weights of variance 1 / inputs, at the quantizers' optimal steps."""
        weights = self.random.standard_normal((outputs, inputs))
        deviation = 1 / np.sqrt(inputs)
        codes = np.clip(np.floor(weights / 0.30) + 8, 0, 15).astype(np.uint8)
        planes = [(codes >> (3 - p)) & 1 for p in range(4)]
        self.tensors[f"{name}.planes"] = np.stack([np.packbits(p, axis=1, bitorder="little") for p in planes])
        for bits, step in ((1, 0.8), (2, 1.11), (4, 0.30)):
            scale = step * deviation * self.random.uniform(0.8, 1.25, outputs)
            self.tensors[f"{name}.scale{bits}"] = scale.astype(np.float16)
        if bias:
            self.tensors[f"{name}.bias"] = self.random.normal(0, 0.1, outputs).astype(np.float16)

    def int8(self, name: str, outputs: int, inputs: int) -> None:
        self.tensors[f"{name}.int8"] = self.random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        scale = self.random.uniform(0.8, 1.25, outputs) / (73 * np.sqrt(inputs))
        self.tensors[f"{name}.scale8"] = scale.astype(np.float16)
        self.tensors[f"{name}.bias"] = self.random.normal(0, 0.1, outputs).astype(np.float16)

    def norm(self, name: str, dim: int, suffix: str = "") -> None:
        self.tensors[f"{name}.weight{suffix}"] = self.random.uniform(0.5, 1.5, dim).astype(np.float16)
        self.tensors[f"{name}.bias{suffix}"] = self.random.normal(0, 0.1, dim).astype(np.float16)

    def block(self, name: str, config: dict[str, int]) -> None:
        d = config["d_model"]
        for part in ("ff1", "attention", "convolution", "ff2"):
            self.norm(f"{name}.{part}.norm", d)
        self.norm(f"{name}.convolution.inner_norm", d)
        for part, hidden in (("ff1", config["feed_forward1"]), ("ff2", config["feed_forward2"])):
            self.low_bit(f"{name}.{part}.up", hidden, d)
            self.low_bit(f"{name}.{part}.down", d, hidden)
        for part in ("query", "value", "output"):
            self.low_bit(f"{name}.attention.{part}", d, d)
        self.low_bit(f"{name}.attention.key", d, d, bias=False)
        self.low_bit(f"{name}.convolution.expand", 2 * d, d)
        self.int8(f"{name}.convolution.depthwise", d, config["convolution_kernel"])
        self.low_bit(f"{name}.convolution.project", d, d)

    def decoder_block(self, name: str, config: dict[str, int]) -> None:
        d = config["d_model"]
        for part in ("self_attention", "cross_attention", "feed_forward"):
            self.norm(f"{name}.{part}.norm", d)
        for attention in ("self_attention", "cross_attention"):
            for part in ("query", "key", "value", "output"):
                self.low_bit(f"{name}.{attention}.{part}", d, d, bias=part != "key")
        self.low_bit(f"{name}.feed_forward.up", config["decoder_feed_forward"], d)
        self.low_bit(f"{name}.feed_forward.down", d, config["decoder_feed_forward"])

    def decoder(self, config: dict[str, int]) -> None:
        d, pieces = config["d_model"], config["decoder_vocabulary_size"]
        self.low_bit("decoder.embedding", pieces, d, bias=False)
        positions = self.random.normal(0, 0.5, (config["decoder_positions"], d))
        self.tensors["decoder.positions"] = positions.astype(np.float16)
        for i in range(config["decoder_blocks"]):
            self.decoder_block(f"decoder.blocks.{i}", config)
        self.norm("decoder.norm", d)


def random_tensors(config: dict[str, int], seed: int = 1) -> Tensors:
    maker = TensorMaker(seed)
    d = config["d_model"]
    maker.int8("stem.conv1", d, 3 * config["mel_bins"])
    maker.int8("stem.conv2", d, 3 * d)
    for i in range(config["blocks"]):
        maker.block(f"blocks.{i}", config)
    maker.norm("final_norm", d)
    maker.int8("head", config["vocabulary_size"] + 1, d)
    if config.get("decoder_blocks"):
        maker.decoder(config)
    return maker.tensors


def speech_like(seconds: float, seed: int = 2) -> NDArray[np.float32]:
    """A sweep under noise bursts and pauses: (samples,) float32."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    tone = np.sin(2 * np.pi * (150 + 90 * np.sin(3 * time)) * time) + 0.5 * np.sin(2 * np.pi * 900 * time)
    loudness = np.clip(np.sin(2 * np.pi * 1.7 * time), 0, None)
    return (0.2 * loudness * tone + 0.01 * random.standard_normal(len(time))).astype(np.float32)

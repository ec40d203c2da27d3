"""Encoders to compare, all from one packed file and on one thread: ours at every precision, and the network elsewhere.

An encoder takes (samples,) float32 at 16 kHz and gives (frames, outputs) log-probabilities. Every one starts from the
same native log-mel, so that what differs is the encoder.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from onebit_kernels import Engine, Model, log_mel
from onebit_model.files.packed import PackedModel

Samples = npt.NDArray[np.float32]
LogProbabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoder:
    name: str
    run: Callable[[Samples], LogProbabilities]


def our_encoder(model: Model, bits: int, chunk: int) -> Encoder:
    engine = Engine(model, bits)
    stream = engine.open(chunk, keep_logits=True)

    def run(samples: Samples) -> LogProbabilities:
        stream.reset()
        stream.feed(samples)
        stream.finish()
        while stream.ready:
            engine.step([stream])
        logits = stream.take().logits
        assert logits is not None
        return logits

    return Encoder(f"onebit {bits} bit" + (", 640 ms chunks" if chunk else ""), run)


def torch_encoder(packed: PackedModel) -> Encoder:
    import torch

    torch.set_num_threads(1)
    network = plain_network(packed)

    def run(samples: Samples) -> LogProbabilities:
        with torch.inference_mode():
            output: LogProbabilities = network(torch.from_numpy(log_mel(samples))[None])[0].numpy()
        return output

    return Encoder("torch fp32", run)


def onnx_encoders(packed: PackedModel) -> Iterator[Encoder]:
    """ONNX Runtime on an export of the network in float32, and after its own dynamic quantisation to int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder:
        float32, int8 = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        export_onnx(packed, float32)
        logging.disable(logging.WARNING)  # the quantiser advises shape inference, which this graph does not need
        quantize_dynamic(str(float32), str(int8), weight_type=QuantType.QInt8)
        logging.disable(logging.NOTSET)
        sessions = [_session(path) for path in (float32, int8)]
    for name, session in zip(("ONNX Runtime fp32", "ONNX Runtime dynamic int8"), sessions, strict=True):
        yield Encoder(name, _onnx_run(session))


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def _onnx_run(session: Any) -> Callable[[Samples], LogProbabilities]:
    def run(samples: Samples) -> LogProbabilities:
        output: LogProbabilities = session.run(None, {"mel": log_mel(samples)[None]})[0][0]
        return output

    return run


def plain_network(packed: PackedModel) -> Any:
    """The 4-bit weights as float32; no rounded activations, and no masks, which a whole segment does not need."""
    from torch import Tensor, nn
    from torch.nn import functional as F

    from onebit_model.network.conformer import average_pairs
    from onebit_model.network.export import network_from_packed

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network_from_packed(packed.path, max(packed.bits), activations=False)

        def forward(self, mel: Tensor) -> Tensor:
            network = self.network
            x = F.gelu(network.stem.conv2(F.gelu(network.stem.conv1(mel))))
            x = x + network.positions[: x.shape[1]]
            for index, block in enumerate(network.blocks):
                x = block(x, None)
                if index + 1 == network.config.average_after:
                    x = average_pairs(x)
            return network.log_probabilities(network.final_norm(x))

    return Plain().eval()


def export_onnx(packed: PackedModel, path: Path) -> None:
    import torch

    mel = torch.zeros(1, 400, packed.config.mel_bins)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            plain_network(packed),
            (mel,),
            str(path),
            input_names=["mel"],
            output_names=["log_probabilities"],
            dynamic_axes={"mel": {1: "time"}, "log_probabilities": {1: "frames"}},
            opset_version=17,
            dynamo=False,  # the newer exporter needs one more package
        )

"""Linear layers to compare: ours at every precision, and the same layer in other engines, all on one thread.

A contender takes (M, K) float32 in and gives (M, N) float32 out; whatever it does to the input in between counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit_kernels import _core

Floats = NDArray[np.float32]
Repeat = Callable[[int], None]  # computes the product so many times


@dataclass(frozen=True)
class Contender:
    name: str
    prepare: Callable[[Floats], Repeat]  # x (M, K) -> the timed loop


@dataclass(frozen=True)
class Shape:
    K: int
    N: int


def our_contenders(shape: Shape, isa: str) -> Iterator[Contender]:
    rng = np.random.default_rng(shape.K)
    planes = rng.integers(0, 256, (4, shape.N, (shape.K + 7) // 8)).astype(np.uint8)
    scales = np.full((3, shape.N), 0.1, np.float32)
    matrix = _core.PackedMatrix.from_planes([(planes, scales, scales[0])], shape.K, [1, 2, 4], isa)
    int8 = _core.PackedMatrix.from_int8(
        rng.integers(-127, 128, (shape.N, shape.K)).astype(np.int8), scales[0], scales[0], isa
    )

    def contender(name: str, weights: _core.PackedMatrix, bits: int, exact: bool) -> Contender:
        return Contender(name, lambda x: lambda repeats: weights.multiply_repeatedly(x, bits, exact, repeats))

    for bits in (1, 2, 4):
        yield contender(f"onebit {bits} bit", matrix, bits, False)
    for bits in (1, 2):
        yield contender(f"onebit {bits} bit, exact", matrix, bits, True)
    yield contender("onebit int8 weights", int8, 8, False)


def torch_contenders(shape: Shape) -> Iterator[Contender]:
    import torch

    torch.set_num_threads(1)

    def contender(name: str, layer: Any) -> Contender:
        def prepare(x: Floats) -> Repeat:
            rows = torch.from_numpy(x)

            def repeat(repeats: int) -> None:
                with torch.inference_mode():
                    for _ in range(repeats):
                        layer(rows)

            return repeat

        return Contender(name, prepare)

    layer = torch.nn.Linear(shape.K, shape.N).eval()
    yield contender("torch fp32", layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engines = torch.backends.quantized.supported_engines
        torch.backends.quantized.engine = next(name for name in ("x86", "qnnpack", *engines) if name in engines)
        quantize: Any = torch.ao.quantization.quantize_dynamic
        quantized = quantize(torch.nn.Sequential(layer), {torch.nn.Linear})
    yield contender("torch dynamic int8", quantized)


def onnx_contenders(shape: Shape) -> Iterator[Contender]:
    import onnx
    import onnxruntime

    def contender(name: str, model: Any) -> Contender:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

        def prepare(x: Floats) -> Repeat:
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
            y = onnxruntime.OrtValue.ortvalue_from_shape_and_type((len(x), shape.N), np.float32)
            binding.bind_ortvalue_output("y", y)

            def repeat(repeats: int) -> None:
                for _ in range(repeats):
                    session.run_with_iobinding(binding)

            return repeat

        return Contender(name, prepare)

    for name, nodes, weights in _onnx_graphs(shape):
        floats = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            nodes,
            "linear",
            [onnx.helper.make_tensor_value_info("x", floats, ["M", shape.K])],
            [onnx.helper.make_tensor_value_info("y", floats, ["M", shape.N])],
            [onnx.numpy_helper.from_array(array, key) for key, array in weights.items()],
        )
        opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
        yield contender(name, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9))


def _onnx_graphs(shape: Shape) -> Iterator[tuple[str, list[Any], dict[str, NDArray[Any]]]]:
    """(name, nodes, weights): the graphs that ONNX Runtime's own tools make of a linear layer."""
    import onnx

    make_node: Any = onnx.helper.make_node
    rng = np.random.default_rng(shape.N)
    w = rng.normal(size=(shape.K, shape.N)).astype(np.float32)
    bias = np.zeros(shape.N, np.float32)
    add = make_node("Add", ["product", "bias"], ["y"])
    yield "ONNX Runtime fp32", [make_node("MatMul", ["x", "w"], ["product"]), add], {"w": w, "bias": bias}

    int8: dict[str, NDArray[Any]] = {"w": rng.integers(-127, 128, w.shape).astype(np.int8), "bias": bias}
    int8 |= {"w_scale": np.array(0.01, np.float32), "w_zero": np.array(0, np.int8)}
    quantize = make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"])
    multiply = make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["sums"])
    rescale = [
        make_node("Cast", ["sums"], ["floats"], to=1),
        make_node("Mul", ["scale", "w_scale"], ["step"]),
        make_node("Mul", ["floats", "step"], ["product"]),
    ]
    yield "ONNX Runtime dynamic int8", [quantize, multiply, *rescale, add], int8

    block = 32
    for bits in (4, 2):
        packed = rng.integers(0, 256, (shape.N, shape.K // block, block * bits // 8)).astype(np.uint8)
        weights: dict[str, NDArray[Any]] = {
            "w": packed,
            "bias": bias,
            "scales": np.full(shape.N * shape.K // block, 0.01, np.float32),
        }
        sizes = {"K": shape.K, "N": shape.N, "bits": bits, "block_size": block, "accuracy_level": 4}
        node = make_node("MatMulNBits", ["x", "w", "scales"], ["product"], domain="com.microsoft", **sizes)
        yield f"ONNX Runtime {bits} bit", [node, add], weights

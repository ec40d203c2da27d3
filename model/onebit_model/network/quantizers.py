"""Nested 1/2/4-bit quantizers with learnable scales, and how they are put into a network from outside.

One 4-bit code c4 holds the 2-bit code c4 >> 2 and the 1-bit code c4 >> 3. Forward and
gradient formulas are stated there; the independent and ternary variants exist for ablations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebit_model.config import PRECISIONS
from onebit_model.files.allocation import EMBEDDING, EMBEDDING_PLANES
from onebit_model.network.conformer import Conformer, Depthwise, StemConvolution
from onebit_model.network.decoder import Embedding
from onebit_model.network.layers import Linear

# Mean-squared-error optima for Gaussian weights, in units of their standard deviation.
INITIAL_STEP4 = 0.30
INITIAL_STEP2 = 1.11
CLIP1 = 3.0  # 1-bit gradients pass where |W| < 3 mean|W|


def codes4(weight: Tensor, step4: Tensor) -> Tensor:
    """floor(W / s4) + 8 clamped to 0..15, as float."""
    return (weight / step4).floor_().add_(8).clamp_(0, 15)


def dequantise(codes: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Nested codes c4 -> the weights of a precision, (rows, columns)."""
    return _levels_of(codes.clone(), bits).mul_(scale)


def _levels_of(codes: Tensor, bits: int) -> Tensor:
    """Codes c4 -> the levels that the scale multiplies, in place: a new array costs more than the arithmetic."""
    if bits == 4:
        return codes.sub_(7.5)
    if bits == 2:
        return codes.div_(4).floor_().sub_(1.5)
    return codes.div_(8).floor_().mul_(2).sub_(1)


def one_bit(weight: Tensor, scale: Tensor) -> Tensor:
    """What `dequantise` makes of the 1-bit code, in one pass: c4 is 8 or more where W is not negative."""
    return torch.where(weight >= 0, scale, -scale)


def nested_weight(weight: Tensor, step4: Tensor, scale: Tensor, bits: int) -> Tensor:
    """(W, s4, s_b) -> w_b: what a precision makes of the latent weights."""
    return one_bit(weight, scale) if bits == 1 else _levels_of(codes4(weight, step4), bits).mul_(scale)


def nested_gradients(
    gradient: Tensor, weight: Tensor, step4: Tensor, scale: Tensor, bits: int, clip1: float
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The gradient of w_b -> those of W, s4 (none where it has no say) and s_b."""
    if bits == 1:
        to_scale = _reduce(torch.where(weight >= 0, gradient, -gradient), scale)
        magnitude = weight.abs()
        inside = magnitude < clip1 * magnitude.mean(dim=-1, keepdim=True)
        return gradient * inside, None, to_scale
    to_level = _dot(gradient, _levels_of(codes4(weight, step4), bits), scale)
    to_weight = gradient * (weight.abs() < 8 * step4)
    passed = _dot(to_weight, weight, step4)
    if bits == 4:
        # Inside the level minus W / s4, outside the level.
        return to_weight, None, to_level - passed / step4
    # The 2-bit threshold is 4 s4: without this term its loss could not move it.
    to_step4 = _dot(to_weight, weight * scale, step4) if scale.shape != step4.shape else passed * scale
    return to_weight, to_step4 / (-4 * step4**2), to_level


class NestedQuantizer(torch.autograd.Function):
    """(W, s4, s_b) -> w_b; for 4 bit s_b is s4 itself and gets its whole gradient."""

    weight_of = staticmethod(nested_weight)
    gradients_of = staticmethod(nested_gradients)

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, weight: Tensor, step4: Tensor, scale: Tensor, bits: int, clip1: float = CLIP1
    ) -> Tensor:
        ctx.save_for_backward(weight, step4, scale)
        ctx.bits = bits
        ctx.clip1 = clip1
        # Detached: what is compiled for a parameter holds for its shape alone.
        return NestedQuantizer.weight_of(weight.detach(), step4, scale, bits)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        weight, step4, scale = ctx.saved_tensors
        to_weight, to_step4, to_scale = NestedQuantizer.gradients_of(
            gradient, weight.detach(), step4, scale, ctx.bits, ctx.clip1
        )
        return to_weight, to_step4, to_scale, None, None


def compile_quantizers() -> None:
    """Has torch compile the nested quantizer for the rest of the process, which takes half a minute.

    On a CPU this needs a C++ compiler.
    """
    NestedQuantizer.weight_of = staticmethod(torch.compile(nested_weight, dynamic=True))
    NestedQuantizer.gradients_of = staticmethod(torch.compile(nested_gradients, dynamic=True))


class IndependentQuantizer(torch.autograd.Function):
    """The same levels with thresholds of their own: 2 bit at -s2, 0, s2 whatever s4 is (ablation)."""

    @staticmethod
    def forward(ctx, weight: Tensor, scale: Tensor, bits: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(weight, scale)
        ctx.bits = bits
        return scale * _levels(weight, scale, bits)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        weight, scale = ctx.saved_tensors
        level = _levels(weight, scale, ctx.bits)
        if ctx.bits == 1:
            passes = weight.abs() < CLIP1 * weight.abs().mean(dim=-1, keepdim=True)
            return gradient * passes, _reduce(gradient * level, scale), None
        inside = weight.abs() < 2 ** (ctx.bits - 1) * scale
        to_scale = torch.where(inside, level - weight / scale, level)
        return gradient * inside, _reduce(gradient * to_scale, scale), None


class TernaryQuantizer(torch.autograd.Function):
    """The paper's 2-bit model: levels -s, 0, s with the threshold at s / 2 (arXiv 2505.21245, Eq. 2-3)."""

    @staticmethod
    def forward(ctx, weight: Tensor, scale: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(weight, scale)
        return scale * torch.round(weight / scale).clamp(-1, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        weight, scale = ctx.saved_tensors
        level = torch.round(weight / scale).clamp(-1, 1)
        inside = weight.abs() < scale
        to_scale = torch.where(inside, level - weight / scale, level)
        return gradient * inside, _reduce(gradient * to_scale, scale)


def _levels(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    if bits == 1:
        return torch.where(weight >= 0, 1.0, -1.0)
    half = 2 ** (bits - 1)
    return (torch.floor(weight / scale) + half).clamp(0, 2 * half - 1) - half + 0.5


def _reduce(gradient: Tensor, like: Tensor) -> Tensor:
    """Sum a (rows, columns) gradient to the shape of a scale, (rows, 1) or (1, 1)."""
    if like.shape[0] == 1:
        return gradient.sum().view(1, 1)
    return gradient.sum(dim=1, keepdim=True)


def _dot(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    """Sum of the products of (rows, columns), in the shape of a scale, without an array of them."""
    if like.shape[0] == 1:
        return torch.dot(a.flatten(), b.flatten()).view(1, 1)
    return torch.linalg.vecdot(a, b).unsqueeze(1)


class RoundActivations(torch.autograd.Function):
    """Symmetric int8 per row of the last dimension, straight-through gradient."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        # float32, whatever autocast says: max, 127 / max and the product are what the engine computes.
        x = x.float()
        largest = x.abs().amax(dim=-1, keepdim=True)
        inverse = torch.where(largest > 0, 127 / largest, torch.zeros_like(largest))
        return torch.round(x * inverse) * (largest / 127)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return gradient


def round_int8_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 codes (rows, columns) and float16-representable scales (rows,) of a weight matrix."""
    scale = (weight.abs().amax(dim=1) / 127).half().float().clamp(min=2**-24)
    codes = torch.round(weight / scale[:, None]).clamp(-127, 127)
    return codes, scale


@dataclass
class Precision:
    """What every quantised layer of a network does now; shared, and changed between forward passes."""

    bits: int | None = None  # None: full precision
    activations: bool = False
    ramp: float = 1.0  # 0: the latent weights, 1: the quantised ones
    clip1: float = CLIP1  # 1-bit gradients pass to weights below this many times their row's mean magnitude


class QuantLinear(Linear):
    """A Linear whose weight passes a quantizer.

    `planes`: how many bits the layer has at each precision, which is the precision itself unless the allocation says
    otherwise. `planes_override` is a layer's own draw (stochastic precision).
    """

    def __init__(self, source: nn.Linear, precision: Precision, per_row: bool, scheme: str) -> None:
        super().__init__(source.in_features, source.out_features, bias=source.bias is not None)
        self.load_state_dict(source.state_dict())
        self.precision = precision
        self.scheme = scheme
        self.planes = {bits: bits for bits in PRECISIONS}
        self.planes_override: int | None = None
        with torch.no_grad():
            steps = initial_scales(self.weight, per_row)
        self.log_scale1 = nn.Parameter(steps[1].log())
        self.log_scale2 = nn.Parameter(steps[2].log())
        self.log_scale4 = nn.Parameter(steps[4].log())

    def scale(self, bits: int) -> Tensor:
        """s_b, (rows, 1) or (1, 1) float32."""
        parameter: Tensor = getattr(self, f"log_scale{bits}")
        return parameter.exp()

    def quantised_weight(self, bits: int) -> Tensor:
        if self.scheme == "nested":
            return NestedQuantizer.apply(self.weight, self.scale(4), self.scale(bits), bits, self.precision.clip1)  # type: ignore[no-untyped-call]
        if self.scheme == "ternary" and bits == 2:
            return TernaryQuantizer.apply(self.weight, self.scale(2))  # type: ignore[no-untyped-call]
        return IndependentQuantizer.apply(self.weight, self.scale(bits), bits)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        bits, planes = self.precision.bits, self.planes_override
        if self.precision.activations:
            x = RoundActivations.apply(x)  # type: ignore[no-untyped-call]
        if planes is None:
            if bits is None:
                return F.linear(x, self.weight, self.bias)
            planes = self.planes[bits]
        weight = self.quantised_weight(planes)
        if self.precision.ramp < 1:
            weight = torch.lerp(self.weight, weight, self.precision.ramp)
        return F.linear(x, weight, self.bias)


def initial_scales(weight: Tensor, per_row: bool) -> dict[int, Tensor]:
    """Starting scales of a weight matrix: near the mean-squared-error optimum of each precision."""
    rows = weight if per_row else weight.flatten()[None]
    spread = rows.std(dim=1, keepdim=True).clamp(min=1e-4)
    magnitude = rows.abs().mean(dim=1, keepdim=True).clamp(min=1e-4)
    return {1: magnitude, 2: INITIAL_STEP2 * spread, 4: INITIAL_STEP4 * spread}


class QuantEmbedding(Embedding):
    """Rows at 4 bit, or what the allocation says: looked up as they are, and multiplied with rounded activations."""

    def __init__(self, source: Embedding, precision: Precision) -> None:
        pieces, dim = source.weight.shape
        super().__init__(pieces, dim)
        self.load_state_dict(source.state_dict())
        self.precision = precision
        self.planes = dict.fromkeys(PRECISIONS, EMBEDDING_PLANES)
        with torch.no_grad():
            self.log_scale4 = nn.Parameter(initial_scales(self.weight, per_row=True)[4].log())

    def allot(self, bits: int, planes: int) -> None:
        """So many planes at a precision: 1, 2 or 4, with a scale of their own."""
        self.planes[bits] = planes
        if not hasattr(self, f"log_scale{planes}"):
            start = initial_scales(self.weight.detach(), per_row=True)[planes]
            self.register_parameter(f"log_scale{planes}", nn.Parameter(start.log()))

    def scale(self, planes: int) -> Tensor:
        """s_b of so many planes, (pieces, 1) float32; of those alone that the allocation has."""
        parameter: Tensor = getattr(self, f"log_scale{planes}")
        return parameter.exp()

    def table(self) -> Tensor:
        if self.precision.bits is None:
            return self.weight
        planes = self.planes[self.precision.bits]
        weight: Tensor = NestedQuantizer.apply(self.weight, self.scale(4), self.scale(planes), planes, CLIP1)  # type: ignore[no-untyped-call]
        return torch.lerp(self.weight, weight, self.precision.ramp) if self.precision.ramp < 1 else weight

    def logits(self, x: Tensor) -> Tensor:
        if self.precision.activations:
            x = RoundActivations.apply(x)  # type: ignore[no-untyped-call]
        return super().logits(x)


class PrivateLayerNorm(nn.Module):
    """A LayerNorm whose affine parameters belong to the precision of the pass; full precision uses those of 4 bit."""

    def __init__(self, source: nn.LayerNorm, precision: Precision) -> None:
        super().__init__()
        self.precision = precision
        self.shape = source.normalized_shape
        self.eps = source.eps
        for bits in PRECISIONS:
            setattr(self, f"weight{bits}", nn.Parameter(source.weight.detach().clone()))
            setattr(self, f"bias{bits}", nn.Parameter(source.bias.detach().clone()))

    def forward(self, x: Tensor) -> Tensor:
        bits = self.precision.bits or 4
        return F.layer_norm(x, self.shape, getattr(self, f"weight{bits}"), getattr(self, f"bias{bits}"), self.eps)


class Int8Matrix(nn.Module):
    """Weights of a stem convolution, depthwise convolution or head, rounded to int8 per row as they will ship."""

    def __init__(self, precision: Precision, depthwise: bool) -> None:
        super().__init__()
        self.precision = precision
        self.depthwise = depthwise

    def weight(self, weight: Tensor) -> Tensor:
        if self.precision.bits is None:
            return weight
        with torch.no_grad():
            codes, scale = round_int8_rows(weight)
            rounded = codes * scale[:, None]
        return weight + (rounded - weight).detach()

    def rows(self, x: Tensor) -> Tensor:
        if self.precision.activations and not self.depthwise:
            return RoundActivations.apply(x)  # type: ignore[no-untyped-call]
        return x


class Int8Linear(nn.Linear):
    def __init__(self, source: nn.Linear, precision: Precision) -> None:
        super().__init__(source.in_features, source.out_features)
        self.load_state_dict(source.state_dict())
        self.int8 = Int8Matrix(precision, depthwise=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.int8.rows(x), self.int8.weight(self.weight), self.bias)


class Int8StemConvolution(StemConvolution):
    def __init__(self, source: StemConvolution, precision: Precision) -> None:
        out_dim, columns = source.weight.shape
        super().__init__(columns // 3, out_dim, source.stride)
        self.load_state_dict(source.state_dict())
        self.int8 = Int8Matrix(precision, depthwise=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.int8.rows(self.windows(x)), self.int8.weight(self.weight), self.bias)


class Int8Depthwise(Depthwise):
    def __init__(self, source: Depthwise, precision: Precision) -> None:
        super().__init__(source.weight.shape[0], source.kernel)
        self.load_state_dict(source.state_dict())
        self.int8 = Int8Matrix(precision, depthwise=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.int8.weight(self.weight))


Allocation = dict[str, dict[str, int]]  # precision -> layer -> planes, where that is not the precision itself


def quantise(
    network: Conformer,
    *,
    per_row: bool,
    scheme: str,
    private_norms: bool,
    parts: Sequence[str] = ("",),
    allocation: Allocation | None = None,
) -> Precision:
    """Swap the layers of a plain network for quantised ones, in place; returns their shared switch.

    `scheme` is nested, independent or ternary. Norms become private per precision when asked. `parts` are prefixes of
    the names of what is quantised. Raises KeyError for an `allocation` that names a layer which is not there.
    """
    precision = Precision()
    for path, parent in list(network.named_modules()):
        for name, child in list(parent.named_children()):
            replacement: nn.Module | None = None
            if not f"{path}.{name}".lstrip(".").startswith(tuple(parts)):
                continue
            if isinstance(child, Linear):
                replacement = QuantLinear(child, precision, per_row, scheme)
            elif isinstance(child, Embedding):
                replacement = QuantEmbedding(child, precision)
            elif isinstance(child, nn.Linear):
                replacement = Int8Linear(child, precision)
            elif isinstance(child, StemConvolution):
                replacement = Int8StemConvolution(child, precision)
            elif isinstance(child, Depthwise):
                replacement = Int8Depthwise(child, precision)
            elif isinstance(child, nn.LayerNorm) and private_norms:
                replacement = PrivateLayerNorm(child, precision)
            if replacement is not None:
                setattr(parent, name, replacement)
    _allot(network, allocation or {})
    return precision


def _allot(network: Conformer, allocation: Allocation) -> None:
    layers = quantised_layers(network)
    for bits, planes in allocation.items():
        for name, count in planes.items():
            if name == EMBEDDING and isinstance(embedding := network.get_submodule(name), QuantEmbedding):
                embedding.allot(int(bits), count)
            else:
                layers[name].planes[int(bits)] = count


def quantised_layers(network: Conformer) -> dict[str, QuantLinear]:
    """The low-bit layers by name, first block first."""
    return {name: m for name, m in network.named_modules() if isinstance(m, QuantLinear)}

// Norms, activations and other operations on rows, for any vector_<isa>.h. Contracts: operations.h.
#pragma once

#include <cstddef>

#include "elementary_functions.h"
#include "operations.h"

namespace onebit {
namespace {

struct Moments {
    float mean;
    float scale;  // 1 / sqrt(variance + epsilon)
};

ONEBIT_INLINE Moments moments(const float* x, int dim) {
    constexpr float kEpsilon = 1e-5f;
    Floats even = splat(0.0f), odd = splat(0.0f);
    int i = 0;
    for (; i + 2 * kLanes <= dim; i += 2 * kLanes) {
        even = even + load(x + i);
        odd = odd + load(x + i + kLanes);
    }
    if (i < dim) even = even + load(x + i);
    const float mean = sum(even + odd) / static_cast<float>(dim);
    even = odd = splat(0.0f);
    for (i = 0; i + 2 * kLanes <= dim; i += 2 * kLanes) {
        const Floats a = load(x + i) - splat(mean), b = load(x + i + kLanes) - splat(mean);
        even = fused(a, a, even);
        odd = fused(b, b, odd);
    }
    if (i < dim) {
        const Floats a = load(x + i) - splat(mean);
        even = fused(a, a, even);
    }
    const float variance = sum(even + odd) / static_cast<float>(dim);
    return {mean, 1.0f / __builtin_sqrtf(variance + kEpsilon)};
}

template <bool kSilu>
ONEBIT_INLINE void normalise(const float* x, const float* weight, const float* bias, float* y, int rows, int dim) {
    for (int r = 0; r < rows; ++r, x += dim, y += dim) {
        const Moments row = moments(x, dim);
        for (int i = 0; i < dim; i += kLanes) {
            const Floats unit = (load(x + i) - splat(row.mean)) * splat(row.scale);
            const Floats value = fused(unit, load(weight + i), load(bias + i));
            store(y + i, kSilu ? silu(value) : value);
        }
    }
}

void layer_norm(const float* x, const float* weight, const float* bias, float* y, int rows, int dim) {
    normalise<false>(x, weight, bias, y, rows, dim);
}

void layer_norm_silu(const float* x, const float* weight, const float* bias, float* y, int rows, int dim) {
    normalise<true>(x, weight, bias, y, rows, dim);
}

void silu_rows(float* x, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(x + i, silu(load(x + i)));
}

void gelu_rows(float* x, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(x + i, gelu(load(x + i)));
}

void gated_linear_unit(const float* x, float* y, int rows, int dim) {
    for (int r = 0; r < rows; ++r, x += 2 * dim, y += dim)
        for (int i = 0; i < dim; i += kLanes) store(y + i, load(x + i) * sigmoid(load(x + dim + i)));
}

void add_scaled(float* x, const float* y, float factor, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(x + i, fused(load(y + i), splat(factor), load(x + i)));
}

void average_pairs(const float* x, float* y, int pairs, int dim) {
    for (int r = 0; r < pairs; ++r, x += 2 * dim, y += dim)
        for (int i = 0; i < dim; i += kLanes) store(y + i, (load(x + i) + load(x + dim + i)) * splat(0.5f));
}

// kRows outputs of one vector of channels: every weight is loaded once for all of them.
template <int kRows>
ONEBIT_INLINE void depthwise_tile(const float* x, const DepthwiseWeights& weights, int channel, float* y) {
    const int dim = weights.dim;
    Floats total[kRows];
    for (Floats& value : total) value = load(weights.bias + channel);
    for (int k = 0; k < weights.taps; ++k) {
        const Floats weight = load(weights.weight + k * dim + channel);
        for (int r = 0; r < kRows; ++r) total[r] = fused(weight, load(x + (r + k) * dim + channel), total[r]);
    }
    for (int r = 0; r < kRows; ++r) store(y + r * dim + channel, total[r]);
}

void depthwise(const float* x, const DepthwiseWeights& weights, float* y, int rows) {
    constexpr int kRows = 8;
    for (int channel = 0; channel < weights.dim; channel += kLanes) {
        int r = 0;
        for (; r + kRows <= rows; r += kRows)
            depthwise_tile<kRows>(x + r * weights.dim, weights, channel, y + r * weights.dim);
        for (; r < rows; ++r) depthwise_tile<1>(x + r * weights.dim, weights, channel, y + r * weights.dim);
    }
}

void log_softmax(float* x, int rows, int count, int stride) {
    constexpr float kNothing = -1e30f;
    const int padded = (count + kLanes - 1) / kLanes * kLanes;
    for (int r = 0; r < rows; ++r, x += stride) {
        for (int i = count; i < padded; ++i) x[i] = kNothing;
        Floats top = load(x);
        for (int i = kLanes; i < padded; i += kLanes) top = maximum(top, load(x + i));
        const float highest = largest(top);
        Floats total = splat(0.0f);
        for (int i = 0; i < padded; i += kLanes) total = total + exponential(load(x + i) - splat(highest));
        float lane[kLanes];
        store(lane, logarithm(splat(sum(total))));
        const Floats shift = splat(highest) + splat(lane[0]);
        for (int i = 0; i < padded; i += kLanes) store(x + i, load(x + i) - shift);
    }
}

void exponential_rows(const float* x, float* y, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(y + i, exponential(load(x + i)));
}

void logarithm_rows(const float* x, float* y, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(y + i, logarithm(load(x + i)));
}

void error_function_rows(const float* x, float* y, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(y + i, error_function(load(x + i)));
}

// Angle addition; both tables hold rows of (sines | cosines).
// sin(a + b) = sin a cos b + cos a sin b      cos(a + b) = cos a cos b - sin a sin b
void add_positions(float* x, const float* coarse, const float* fine, int rows, int dim) {
    const int half = dim / 2;
    for (int r = 0; r < rows; ++r, x += dim, fine += dim) {
        for (int i = 0; i < half; i += kLanes) {
            const Floats sine_a = load(coarse + i), cosine_a = load(coarse + half + i);
            const Floats sine_b = load(fine + i), cosine_b = load(fine + half + i);
            store(x + i, load(x + i) + fused(sine_a, cosine_b, cosine_a * sine_b));
            store(x + half + i, load(x + half + i) + (cosine_a * cosine_b - sine_a * sine_b));
        }
    }
}

}  // namespace
}  // namespace onebit

// Everything of the encoder that is not a matrix product, as one table of functions per instruction set.
//
// Arrays are float32, row-major, without padding between rows. `dim` and all widths are multiples of 16.
// Each row of a result depends on its own rows of the input only, bit for bit.
#pragma once

#include <cstddef>
#include <string_view>

#include "half.h"

namespace onebit {

struct LogMelView;

// Keys and values of up to `capacity` frames (a multiple of 16) in the order in which attention reads them:
//   keys[h * head_stride + d * capacity + t]      values[h * head_stride + t * head_dim + d]      t < frames are valid
// Elements are those of the cache that the block belongs to: float16, float32 or integers
// (integer_attention_operations.h). Blocks of one long segment lie head by head,
// so that attention walks memory in order.
struct KeyBlock {
    std::byte* keys;
    std::byte* values;
    float* scales;  // (2, heads) of keys and values, for integers
    int frames;
    int capacity;
    std::ptrdiff_t head_stride;  // in elements
};

struct HeadShape {
    int heads;
    int head_dim;
    int dim() const { return heads * head_dim; }
};

// One head, h = head:
//   out[r, h, :] = sum over t of softmax over t of (queries[r, h, :] . key[t, h, :]) * scale, times value[t, h, :]
// `out` may be `queries` when the stride is heads * head_dim.
struct AttentionCall {
    const float* queries;  // row r at queries + r * stride
    std::ptrdiff_t stride;
    int rows;
    float scale;
    HeadShape shape;
    int head;
    const KeyBlock* blocks;
    int block_count;
    float* out;      // (rows, heads * head_dim)
    float* scratch;  // attention_scratch(...) floats
    // If not null: the softmax itself is added to it, row r at weights + r * weight_stride, one value for every frame
    // of the capacities of all blocks.
    float* weights = nullptr;
    std::ptrdiff_t weight_stride = 0;
};

// One query, all heads, over rows of keys and values that lie anywhere: frame t is row rows[t] of (any, heads *
// head_dim) elements of the cache. `out` may be `query`.
struct RowAttentionCall {
    const float* query;  // (heads * head_dim)
    float scale;
    HeadShape shape;
    const std::byte* keys;
    const std::byte* values;
    const int* rows;
    int count;
    float* out;      // (heads * head_dim)
    float* scratch;  // count rounded up to 16
};

inline constexpr int kWidestTileRows = 8;

// Floats of scratch for `padded_keys`, the sum of the capacities of all blocks.
constexpr std::size_t attention_scratch(int head_dim, int padded_keys) {
    return static_cast<std::size_t>(kWidestTileRows) * (head_dim + 2 * padded_keys);
}

struct DepthwiseWeights {
    const float* weight;  // (taps, dim), oldest first
    const float* bias;    // (dim)
    int taps;
    int dim;
};

// How streams remember: keys and values of attention, and the last inputs of the depthwise convolution.
struct CacheOperations {
    std::size_t element_bytes;
    bool has_scales;  // whether key blocks need them

    // Rows k[t * stride + h * head_dim + d], and the same of v, into a block; frames from block.frames to capacity
    // become 0.
    void (*pack)(const float* k, const float* v, std::ptrdiff_t stride, HeadShape shape, const KeyBlock& block);
    void (*attend)(const AttentionCall& call);
    void (*attend_rows)(const RowAttentionCall& call);  // of rows that `write` wrote

    void (*write)(const float* from, void* to, std::size_t count);  // count: a multiple of 16
    void (*read)(const void* from, float* to, std::size_t count);
};

struct Operations {
    const char* name;

    // y[r] = (x[r] - mean) / sqrt(variance + 1e-5) * weight + bias, optionally through SiLU; y may be x
    void (*layer_norm)(const float* x, const float* weight, const float* bias, float* y, int rows, int dim);
    void (*layer_norm_silu)(const float* x, const float* weight, const float* bias, float* y, int rows, int dim);

    void (*silu)(float* x, std::size_t count);  // x = x / (1 + e^-x)
    void (*gelu)(float* x, std::size_t count);  // x = x / 2 * (1 + erf(x / sqrt 2))

    // y[r, i] = x[r, i] * sigmoid(x[r, dim + i]), x: (rows, 2 * dim)
    void (*gated_linear_unit)(const float* x, float* y, int rows, int dim);

    void (*add_scaled)(float* x, const float* y, float factor, std::size_t count);  // x += factor * y

    // x[r] += (sin(a + b[r]) | cos(a + b[r])), coarse: (sin a | cos a), fine: rows of
    // (sin b[r] | cos b[r]); dim: a multiple of 32
    void (*add_positions)(float* x, const float* coarse, const float* fine, int rows, int dim);

    void (*average_pairs)(const float* x, float* y, int pairs, int dim);  // y[r] = (x[2r] + x[2r + 1]) / 2; y may be x

    // y[r, c] = bias[c] + sum over k of weight[k, c] * x[r + k, c], x: (rows + taps - 1, dim), weight: (taps, dim)
    void (*depthwise)(const float* x, const DepthwiseWeights& weights, float* y, int rows);

    // In place: x[r, i] -= log(sum over j of e^x[r, j]), i < count; rows are `stride` apart, stride >= count rounded up
    // to 16
    void (*log_softmax)(float* x, int rows, int count, int stride);

    CacheOperations fast_cache;    // streams in the fast mode: two bytes a value
    CacheOperations frames_cache;  // key blocks of the decoder in the fast mode: one byte where there are integers
    CacheOperations exact_cache;   // streams in the exact mode: float32

    // Frame t of mel (frames, bins) from samples[160 t .. 160 t + 400); scratch: kLogMelScratch floats
    void (*log_mel)(const LogMelView& view, const float* samples, int frames, float* mel, float* scratch);

    // The elementary functions themselves, for the tests of their error bounds; count: a multiple of 16
    void (*exponential)(const float* x, float* y, std::size_t count);
    void (*logarithm)(const float* x, float* y, std::size_t count);
    void (*error_function)(const float* x, float* y, std::size_t count);
};

// The operations that go with an instruction set of gemm/kernels.inc; this machine must have it.
const Operations& operations_for(std::string_view isa);

}  // namespace onebit

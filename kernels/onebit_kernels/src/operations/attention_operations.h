// Attention of a few queries over blocks of keys and values, for any vector_<isa>.h. Contracts: operations.h.
#pragma once

#include <cstddef>

#include "elementary_functions.h"
#include "operations.h"

namespace onebit {
namespace {

// Transposes: one frame's head becomes one column of the block. A strip of kLanes frames is gathered first, so that
// conversion and stores are whole vectors.
template <class Element>
ONEBIT_INLINE void pack_keys(const float* k, std::ptrdiff_t stride, HeadShape shape, const KeyBlock& block) {
    for (int t = 0; t < block.capacity; t += kLanes) {
        const int present = block.frames - t < kLanes ? block.frames - t : kLanes;
        for (int h = 0; h < shape.heads; ++h) {
            Element* keys = reinterpret_cast<Element*>(block.keys) + h * block.head_stride + t;
            for (int d = 0; d < shape.head_dim; ++d, keys += block.capacity) {
                float column[kLanes] = {};
                for (int lane = 0; lane < present; ++lane)
                    column[lane] = k[(t + lane) * stride + h * shape.head_dim + d];
                store(keys, load(column));
            }
        }
    }
}

template <class Element>
ONEBIT_INLINE void pack_values(const float* v, std::ptrdiff_t stride, HeadShape shape, const KeyBlock& block) {
    for (int h = 0; h < shape.heads; ++h) {
        Element* values = reinterpret_cast<Element*>(block.values) + h * block.head_stride;
        for (int t = 0; t < block.capacity; ++t, values += shape.head_dim) {
            const float* row = v + t * stride + h * shape.head_dim;
            for (int d = 0; d < shape.head_dim; d += kLanes)
                store(values + d, t < block.frames ? load(row + d) : splat(0.0f));
        }
    }
}

template <class Element>
void pack(const float* k, const float* v, std::ptrdiff_t stride, HeadShape shape, const KeyBlock& block) {
    pack_keys<Element>(k, stride, shape, block);
    pack_values<Element>(v, stride, shape, block);
}

// scores[r, t .. t + kVectors * kLanes) of one block and one head.
template <class Element, int kRows, int kVectors>
ONEBIT_INLINE void score_tile(const float* queries, int head_dim, const Element* keys, int capacity, float* scores,
                              std::ptrdiff_t score_stride) {
    Floats total[kRows][kVectors];
    for (auto& row : total)
        for (Floats& value : row) value = splat(0.0f);
    for (int d = 0; d < head_dim; ++d, keys += capacity) {
        Floats key[kVectors];
        for (int v = 0; v < kVectors; ++v) key[v] = load(keys + v * kLanes);
        for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v)
                total[r][v] = fused(splat(queries[r * head_dim + d]), key[v], total[r][v]);
    }
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) store(scores + r * score_stride + v * kLanes, total[r][v]);
}

template <class Element, int kRows>
ONEBIT_INLINE void score_block(const float* queries, int head_dim, const Element* keys, const KeyBlock& block,
                               float* scores, std::ptrdiff_t score_stride) {
    constexpr float kMasked = -1e30f;
    int t = 0;
    for (; t + 2 * kLanes <= block.capacity; t += 2 * kLanes)
        score_tile<Element, kRows, 2>(queries, head_dim, keys + t, block.capacity, scores + t, score_stride);
    if (t < block.capacity)
        score_tile<Element, kRows, 1>(queries, head_dim, keys + t, block.capacity, scores + t, score_stride);
    for (int r = 0; r < kRows; ++r)
        for (t = block.frames; t < block.capacity; ++t) scores[r * score_stride + t] = kMasked;
}

ONEBIT_INLINE float largest_of(const float* scores, int count) {
    Floats top = load(scores);
    for (int t = kLanes; t < count; t += kLanes) top = maximum(top, load(scores + t));
    return largest(top);
}

// scores become e^(score - highest); returns 1 / their sum. Masked scores become 1e-38 of the highest: nothing.
ONEBIT_INLINE float soften(float* scores, int count) {
    const Floats highest = splat(largest_of(scores, count));
    Floats total = splat(0.0f);
    for (int t = 0; t < count; t += kLanes) {
        const Floats weight = exponential(load(scores + t) - highest);
        store(scores + t, weight);
        total = total + weight;
    }
    return 1.0f / sum(total);
}

// The softmax of a row, from the exponentials that `soften` left.
ONEBIT_INLINE void add_weights(const AttentionCall& call, int row, const float* exponentials, int count,
                               float inverse_sum) {
    float* to = call.weights + row * call.weight_stride;
    for (int t = 0; t < count; t += kLanes)
        store(to + t, fused(load(exponentials + t), splat(inverse_sum), load(to + t)));
}

// kVectors vectors of the head's output for all rows of the tile, over all blocks.
template <class Element, int kRows, int kVectors>
ONEBIT_INLINE void mix_tile(const AttentionCall& call, int head, int d, const float* weights,
                            std::ptrdiff_t weight_stride, Floats (&total)[kRows][kVectors]) {
    for (auto& row : total)
        for (Floats& value : row) value = splat(0.0f);
    for (int b = 0; b < call.block_count; ++b) {
        const KeyBlock& block = call.blocks[b];
        const Element* values = reinterpret_cast<const Element*>(block.values) + head * block.head_stride + d;
        for (int t = 0; t < block.frames; ++t, values += call.shape.head_dim) {
            Floats value[kVectors];
            for (int v = 0; v < kVectors; ++v) value[v] = load(values + v * kLanes);
            for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < kVectors; ++v)
                    total[r][v] = fused(splat(weights[r * weight_stride + t]), value[v], total[r][v]);
        }
        weights += block.capacity;
    }
}

template <class Element, int kRows, int kVectors>
ONEBIT_INLINE void mix(const AttentionCall& call, int head, int first_row, int rows, const float* weights,
                       std::ptrdiff_t weight_stride, const float* inverse_sums) {
    const HeadShape& shape = call.shape;
    for (int d = 0; d < shape.head_dim; d += kVectors * kLanes) {
        Floats total[kRows][kVectors];
        mix_tile<Element, kRows, kVectors>(call, head, d, weights, weight_stride, total);
        for (int r = 0; r < rows; ++r) {
            float* out =
                call.out + static_cast<std::ptrdiff_t>(first_row + r) * shape.dim() + head * shape.head_dim + d;
            for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, total[r][v] * splat(inverse_sums[r]));
        }
    }
}

// One head, up to kRows queries from first_row on; an absent row repeats the first, so that every row takes the
// same path.
template <class Element, int kRows>
ONEBIT_INLINE void attend_tile(const AttentionCall& call, int first_row, int rows, int padded_keys) {
    const int head = call.head, head_dim = call.shape.head_dim;
    float* queries = call.scratch;
    float* scores = call.scratch + kRows * head_dim;
    for (int r = 0; r < kRows; ++r) {
        const float* from = call.queries + (first_row + (r < rows ? r : 0)) * call.stride + head * head_dim;
        for (int d = 0; d < head_dim; d += kLanes)
            store(queries + r * head_dim + d, load(from + d) * splat(call.scale));
    }
    int at = 0;
    for (int b = 0; b < call.block_count; ++b) {
        const KeyBlock& block = call.blocks[b];
        const Element* keys = reinterpret_cast<const Element*>(block.keys) + head * block.head_stride;
        score_block<Element, kRows>(queries, head_dim, keys, block, scores + at, padded_keys);
        at += block.capacity;
    }
    float inverse_sums[kRows];
    for (int r = 0; r < kRows; ++r)
        inverse_sums[r] = soften(scores + static_cast<std::ptrdiff_t>(r) * padded_keys, padded_keys);
    if (call.weights)
        for (int r = 0; r < rows; ++r)
            add_weights(call, first_row + r, scores + static_cast<std::ptrdiff_t>(r) * padded_keys, padded_keys,
                        inverse_sums[r]);
    if (head_dim % (2 * kLanes) == 0) {
        mix<Element, kRows, 2>(call, head, first_row, rows, scores, padded_keys, inverse_sums);
    } else {
        mix<Element, kRows, 1>(call, head, first_row, rows, scores, padded_keys, inverse_sums);
    }
}

ONEBIT_INLINE int padded_keys_of(const AttentionCall& call) {
    int count = 0;
    for (int b = 0; b < call.block_count; ++b) count += call.blocks[b].capacity;
    return count;
}

// A lone row, as the decoder has them, does not pay for a whole tile; its own arithmetic is the same in both.
template <class Element>
void attend(const AttentionCall& call) {
    const int padded_keys = padded_keys_of(call);
    for (int row = 0; row < call.rows; row += kTileRows) {
        const int rows = call.rows - row < kTileRows ? call.rows - row : kTileRows;
        if (rows == 1)
            attend_tile<Element, 1>(call, row, rows, padded_keys);
        else
            attend_tile<Element, kTileRows>(call, row, rows, padded_keys);
    }
}

// scores[t] of one head: the dot product of the query and row rows[t].
template <class Element>
ONEBIT_INLINE void score_rows(const RowAttentionCall& call, int head) {
    constexpr float kMasked = -1e30f;
    const float* query = call.query + head * call.shape.head_dim;
    const Element* keys = reinterpret_cast<const Element*>(call.keys) + head * call.shape.head_dim;
    for (int t = 0; t < call.count; ++t) {
        const Element* key = keys + static_cast<std::ptrdiff_t>(call.rows[t]) * call.shape.dim();
        Floats total = splat(0.0f);
        for (int d = 0; d < call.shape.head_dim; d += kLanes) total = fused(load(query + d), load(key + d), total);
        call.scratch[t] = sum(total) * call.scale;
    }
    for (int t = call.count; t % kLanes; ++t) call.scratch[t] = kMasked;
}

template <class Element, int kVectors>
ONEBIT_INLINE void mix_rows(const RowAttentionCall& call, int place, float inverse_sum) {
    const Element* values = reinterpret_cast<const Element*>(call.values) + place;
    Floats total[kVectors];
    for (Floats& value : total) value = splat(0.0f);
    for (int t = 0; t < call.count; ++t) {
        const Element* value = values + static_cast<std::ptrdiff_t>(call.rows[t]) * call.shape.dim();
        const Floats weight = splat(call.scratch[t]);
        for (int v = 0; v < kVectors; ++v) total[v] = fused(weight, load(value + v * kLanes), total[v]);
    }
    for (int v = 0; v < kVectors; ++v) store(call.out + place + v * kLanes, total[v] * splat(inverse_sum));
}

template <class Element>
void attend_rows(const RowAttentionCall& call) {
    const int head_dim = call.shape.head_dim, padded = (call.count + kLanes - 1) / kLanes * kLanes;
    for (int head = 0; head < call.shape.heads; ++head) {
        score_rows<Element>(call, head);
        const float inverse_sum = soften(call.scratch, padded);
        const int begin = head * head_dim, end = begin + head_dim;
        int place = begin;
        for (; place + 4 * kLanes <= end; place += 4 * kLanes) mix_rows<Element, 4>(call, place, inverse_sum);
        for (; place < end; place += kLanes) mix_rows<Element, 1>(call, place, inverse_sum);
    }
}

template <class Element>
void write_cache(const float* from, void* to, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(static_cast<Element*>(to) + i, load(from + i));
}

template <class Element>
void read_cache(const void* from, float* to, std::size_t count) {
    for (std::size_t i = 0; i < count; i += kLanes) store(to + i, load(static_cast<const Element*>(from) + i));
}

template <class Element>
constexpr CacheOperations cache_operations() {
    return {
        .element_bytes = sizeof(Element),
        .has_scales = false,
        .pack = pack<Element>,
        .attend = attend<Element>,
        .attend_rows = attend_rows<Element>,
        .write = write_cache<Element>,
        .read = read_cache<Element>,
    };
}

}  // namespace
}  // namespace onebit

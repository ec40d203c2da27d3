// Attention on integers, for vectors that have a dot product of int16 pairs (twice the work of a float instruction).
// Keys and values are int16 or, where they are read often and written once, int8: then half the memory passes by.
//
// Queries, keys and values are rounded to integers with one scale per row (queries) or per block and head (keys,
// values). Ranges keep every sum within 32 bits: head_dim * kQueryRange * kKeyRange < 2^31, and the weights of a row
// sum to kWeightRange at most, rounding aside, so that they times kValueRange stay below it, too. Contracts: operations.h,
// except for the order in a block, where two neighbours along the summed axis lie together:
//   keys[h * head_stride + ((d / 2) * capacity + t) * 2 + d % 2]
//   values[h * head_stride + ((t / 2) * head_dim + d) * 2 + t % 2]
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention_operations.h"
#include "elementary_functions.h"
#include "operations.h"

namespace onebit {
namespace {

constexpr float kQueryRange = 4095.0f;  // for heads of up to 128 (model_config.cpp)
constexpr float kWeightRange = 32767.0f;
template <class Integer>
constexpr float kKeyRange = sizeof(Integer) == 2 ? kQueryRange : 127.0f;
template <class Integer>
constexpr float kValueRange = sizeof(Integer) == 2 ? 32767.0f : 127.0f;

template <class Integer>
ONEBIT_INLINE void copy_integers(const std::int16_t* from, Integer* to, int count) {
    if constexpr (sizeof(Integer) == sizeof(std::int16_t))
        __builtin_memcpy(to, from, count * sizeof(Integer));
    else
        for (int i = 0; i < count; ++i) to[i] = static_cast<Integer>(from[i]);
}

// The largest magnitude of (frames, head_dim) rows.
ONEBIT_INLINE float largest_magnitude(const float* rows, std::ptrdiff_t stride, int frames, int head_dim) {
    Floats top = splat(0.0f);
    for (int t = 0; t < frames; ++t)
        for (int d = 0; d < head_dim; d += kLanes) top = maximum(top, magnitude(load(rows + t * stride + d)));
    return largest(top);
}

ONEBIT_INLINE float steps_per_unit(float range, float bound) { return bound > 1e-30f ? range / bound : 0.0f; }

// Rounds a strip of frames row by row, then transposes it pair by pair.
template <class Integer>
ONEBIT_INLINE void pack_integer_keys(const float* k, std::ptrdiff_t stride, int head_dim, const KeyBlock& block,
                                     Integer* keys, float steps) {
    constexpr int kStrip = 16, kWidestHead = 128;
    std::int16_t rows[kStrip * kWidestHead];
    for (int t = 0; t < block.capacity; t += kStrip) {
        for (int i = 0; i < kStrip; ++i) {
            const bool present = t + i < block.frames;
            const float* from = k + (present ? t + i : 0) * stride;
            const Floats factor = splat(present ? steps : 0.0f);
            for (int d = 0; d < head_dim; d += kLanes) store_integers(rows + i * head_dim + d, load(from + d) * factor);
        }
        for (int pair = 0; pair < head_dim / 2; ++pair) {
            Integer* to = keys + (pair * block.capacity + t) * 2;
            for (int i = 0; i < kStrip; ++i) copy_integers(rows + i * head_dim + 2 * pair, to + 2 * i, 2);
        }
    }
}

template <class Integer>
ONEBIT_INLINE void pack_integer_values(const float* v, std::ptrdiff_t stride, int head_dim, const KeyBlock& block,
                                       Integer* values, float steps) {
    for (int t = 0; t < block.capacity; t += 2) {
        const float low_steps = t < block.frames ? steps : 0.0f, high_steps = t + 1 < block.frames ? steps : 0.0f;
        const float* low = v + (t < block.frames ? t : 0) * stride;
        const float* high = v + (t + 1 < block.frames ? t + 1 : 0) * stride;
        for (int d = 0; d < head_dim; d += kLanes) {
            std::int16_t pairs[2 * kLanes];
            store_pairs(pairs, load(low + d) * splat(low_steps), load(high + d) * splat(high_steps));
            copy_integers(pairs, values + (t / 2 * head_dim + d) * 2, 2 * kLanes);
        }
    }
}

template <class Integer>
void pack_integers(const float* k, const float* v, std::ptrdiff_t stride, HeadShape shape, const KeyBlock& block) {
    for (int h = 0; h < shape.heads; ++h, k += shape.head_dim, v += shape.head_dim) {
        const std::ptrdiff_t place = h * block.head_stride;
        const float key_bound = largest_magnitude(k, stride, block.frames, shape.head_dim);
        const float value_bound = largest_magnitude(v, stride, block.frames, shape.head_dim);
        block.scales[h] = key_bound / kKeyRange<Integer>;
        block.scales[shape.heads + h] = value_bound / kValueRange<Integer>;
        pack_integer_keys(k, stride, shape.head_dim, block, reinterpret_cast<Integer*>(block.keys) + place,
                          steps_per_unit(kKeyRange<Integer>, key_bound));
        pack_integer_values(v, stride, shape.head_dim, block, reinterpret_cast<Integer*>(block.values) + place,
                            steps_per_unit(kValueRange<Integer>, value_bound));
    }
}

// The queries of one head and kRows rows.
template <int kRows>
struct IntegerTile {
    std::int16_t* queries;  // (kRows, head_dim)
    float* scores;          // (kRows, padded keys)
    std::int16_t* weights;  // (kRows, padded keys)
    int padded_keys;
    float query_scale[kRows];
    float out_scale[kRows];
    float inverse_sum[kRows];
};

template <int kRows>
ONEBIT_INLINE void round_queries(const AttentionCall& call, int head, int first_row, int rows,
                                 IntegerTile<kRows>& tile) {
    const int head_dim = call.shape.head_dim;
    for (int r = 0; r < kRows; ++r) {
        const float* from = call.queries + (first_row + (r < rows ? r : 0)) * call.stride + head * head_dim;
        const float bound = largest_magnitude(from, 0, 1, head_dim);
        const float steps = steps_per_unit(kQueryRange, bound);
        tile.query_scale[r] = bound / kQueryRange * call.scale;
        for (int d = 0; d < head_dim; d += kLanes)
            store_integers(tile.queries + r * head_dim + d, load(from + d) * splat(steps));
    }
}

template <class Integer, int kRows, int kVectors>
ONEBIT_INLINE void integer_score_tile(const IntegerTile<kRows>& tile, int head_dim, const Integer* keys, int capacity,
                                      float key_scale, float* scores) {
    Integers total[kRows][kVectors];
    for (auto& row : total)
        for (Integers& value : row) value = zero_integers();
    for (int d = 0; d < head_dim; d += 2, keys += 2 * capacity) {
        Integers key[kVectors];
        for (int v = 0; v < kVectors; ++v) key[v] = load_pairs(keys + v * 2 * kLanes);
        for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v)
                total[r][v] = dot_pairs(total[r][v], key[v], broadcast_pair(tile.queries + r * head_dim + d));
    }
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v)
            store(scores + static_cast<std::ptrdiff_t>(r) * tile.padded_keys + v * kLanes,
                  to_floats(total[r][v]) * splat(tile.query_scale[r] * key_scale));
}

template <class Integer, int kRows>
ONEBIT_INLINE void integer_score_block(const IntegerTile<kRows>& tile, int head, int head_dim, const KeyBlock& block,
                                       float* scores) {
    constexpr float kMasked = -1e30f;
    const Integer* keys = reinterpret_cast<const Integer*>(block.keys) + head * block.head_stride;
    const float scale = block.scales[head];
    int t = 0;
    for (; t + 2 * kLanes <= block.capacity; t += 2 * kLanes)
        integer_score_tile<Integer, kRows, 2>(tile, head_dim, keys + 2 * t, block.capacity, scale, scores + t);
    if (t < block.capacity)
        integer_score_tile<Integer, kRows, 1>(tile, head_dim, keys + 2 * t, block.capacity, scale, scores + t);
    for (int r = 0; r < kRows; ++r)
        for (t = block.frames; t < block.capacity; ++t)
            scores[static_cast<std::ptrdiff_t>(r) * tile.padded_keys + t] = kMasked;
}

// scores become e^(score - highest); returns their sum.
ONEBIT_INLINE float exponentials(float* scores, int count, float highest) {
    Floats total = splat(0.0f);
    for (int t = 0; t < count; t += kLanes) {
        const Floats weight = exponential(load(scores + t) - splat(highest));
        store(scores + t, weight);
        total = total + weight;
    }
    return sum(total);
}

// Integer weights of row r: softmax times the scale of the value's block, so that one integer sum covers all blocks.
template <int kRows>
ONEBIT_INLINE void integer_weights(const AttentionCall& call, int head, IntegerTile<kRows>& tile, int r) {
    float* scores = tile.scores + static_cast<std::ptrdiff_t>(r) * tile.padded_keys;
    std::int16_t* weights = tile.weights + static_cast<std::ptrdiff_t>(r) * tile.padded_keys;
    const float highest = largest_of(scores, tile.padded_keys);
    float plain = 0.0f, scaled = 0.0f;
    int at = 0;
    for (int b = 0; b < call.block_count; ++b) {
        const float part = exponentials(scores + at, call.blocks[b].capacity, highest);
        plain += part;
        scaled += part * call.blocks[b].scales[call.shape.heads + head];
        at += call.blocks[b].capacity;
    }
    const float steps = steps_per_unit(kWeightRange, scaled);
    at = 0;
    for (int b = 0; b < call.block_count; ++b) {
        const Floats factor = splat(call.blocks[b].scales[call.shape.heads + head] * steps);
        const int end = at + call.blocks[b].capacity;
        for (; at < end; at += kLanes) store_integers(weights + at, load(scores + at) * factor);
    }
    tile.out_scale[r] = scaled / (kWeightRange * plain);
    tile.inverse_sum[r] = 1.0f / plain;
}

template <class Integer, int kRows, int kVectors>
ONEBIT_INLINE void integer_mix_tile(const AttentionCall& call, int head, int d, const IntegerTile<kRows>& tile,
                                    Integers (&total)[kRows][kVectors]) {
    for (auto& row : total)
        for (Integers& value : row) value = zero_integers();
    const int head_dim = call.shape.head_dim;
    const std::int16_t* weights = tile.weights;
    for (int b = 0; b < call.block_count; ++b) {
        const KeyBlock& block = call.blocks[b];
        const Integer* values = reinterpret_cast<const Integer*>(block.values) + head * block.head_stride + 2 * d;
        for (int t = 0; t < block.frames; t += 2, values += 2 * head_dim) {
            Integers value[kVectors];
            for (int v = 0; v < kVectors; ++v) value[v] = load_pairs(values + v * 2 * kLanes);
            for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < kVectors; ++v)
                    total[r][v] =
                        dot_pairs(total[r][v], value[v],
                                  broadcast_pair(weights + static_cast<std::ptrdiff_t>(r) * tile.padded_keys + t));
        }
        weights += block.capacity;
    }
}

template <class Integer, int kRows, int kVectors>
ONEBIT_INLINE void integer_mix(const AttentionCall& call, int head, int first_row, int rows,
                               const IntegerTile<kRows>& tile) {
    const HeadShape& shape = call.shape;
    for (int d = 0; d < shape.head_dim; d += kVectors * kLanes) {
        Integers total[kRows][kVectors];
        integer_mix_tile<Integer, kRows, kVectors>(call, head, d, tile, total);
        for (int r = 0; r < rows; ++r) {
            float* out =
                call.out + static_cast<std::ptrdiff_t>(first_row + r) * shape.dim() + head * shape.head_dim + d;
            for (int v = 0; v < kVectors; ++v)
                store(out + v * kLanes, to_floats(total[r][v]) * splat(tile.out_scale[r]));
        }
    }
}

template <class Integer, int kRows>
ONEBIT_INLINE void attend_integer_tile(const AttentionCall& call, int first_row, int rows, int padded_keys) {
    const int head = call.head, head_dim = call.shape.head_dim;
    IntegerTile<kRows> tile;
    tile.padded_keys = padded_keys;
    tile.scores = call.scratch;
    tile.weights = reinterpret_cast<std::int16_t*>(tile.scores + static_cast<std::ptrdiff_t>(kRows) * padded_keys);
    tile.queries = tile.weights + static_cast<std::ptrdiff_t>(kRows) * padded_keys;
    round_queries(call, head, first_row, rows, tile);
    int at = 0;
    for (int b = 0; b < call.block_count; ++b) {
        integer_score_block<Integer>(tile, head, head_dim, call.blocks[b], tile.scores + at);
        at += call.blocks[b].capacity;
    }
    for (int r = 0; r < kRows; ++r) integer_weights(call, head, tile, r);
    if (call.weights)
        for (int r = 0; r < rows; ++r)
            add_weights(call, first_row + r, tile.scores + static_cast<std::ptrdiff_t>(r) * padded_keys, padded_keys,
                        tile.inverse_sum[r]);
    if (head_dim % (2 * kLanes) == 0) {
        integer_mix<Integer, kRows, 2>(call, head, first_row, rows, tile);
    } else {
        integer_mix<Integer, kRows, 1>(call, head, first_row, rows, tile);
    }
}

template <class Integer>
void attend_integers(const AttentionCall& call) {
    const int padded_keys = padded_keys_of(call);
    for (int row = 0; row < call.rows; row += kTileRows) {
        const int rows = call.rows - row < kTileRows ? call.rows - row : kTileRows;
        if (rows == 1)
            attend_integer_tile<Integer, 1>(call, row, rows, padded_keys);
        else
            attend_integer_tile<Integer, kTileRows>(call, row, rows, padded_keys);
    }
}

template <class Integer>
constexpr CacheOperations integer_cache_operations() {
    return {
        .element_bytes = sizeof(Integer),
        .has_scales = true,
        .pack = pack_integers<Integer>,
        .attend = attend_integers<Integer>,
        .attend_rows = attend_rows<Half>,
        .write = write_cache<Half>,
        .read = read_cache<Half>,
    };
}

}  // namespace
}  // namespace onebit

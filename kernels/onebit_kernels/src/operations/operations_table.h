// Defines the table of one instruction set from the bodies; included once by each isa/<isa>.cpp after its vector.
#pragma once

#include "attention_operations.h"
#include "log_mel_operations.h"
#include "operations.h"
#include "row_operations.h"

namespace onebit {
namespace {

constexpr Operations table_of(const char* name, CacheOperations fast_cache, CacheOperations frames_cache) {
    static_assert(kTileRows <= kWidestTileRows);
    return {
        .name = name,
        .layer_norm = layer_norm,
        .layer_norm_silu = layer_norm_silu,
        .silu = silu_rows,
        .gelu = gelu_rows,
        .gated_linear_unit = gated_linear_unit,
        .add_scaled = add_scaled,
        .add_positions = add_positions,
        .average_pairs = average_pairs,
        .depthwise = depthwise,
        .log_softmax = log_softmax,
        .fast_cache = fast_cache,
        .frames_cache = frames_cache,
        .exact_cache = cache_operations<float>(),
        .log_mel = log_mel,
        .exponential = exponential_rows,
        .logarithm = logarithm_rows,
        .error_function = error_function_rows,
    };
}

}  // namespace
}  // namespace onebit

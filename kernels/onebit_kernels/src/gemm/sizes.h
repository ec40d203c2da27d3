// Padded sizes of the packed layouts, which packing and multiplication share.
#pragma once

#include <cstddef>

#include "lowbit_gemm.h"
#include "registry.h"

namespace onebit::gemm {

constexpr std::ptrdiff_t ceil_div(std::ptrdiff_t value, std::ptrdiff_t step) { return (value + step - 1) / step; }
constexpr std::ptrdiff_t round_up(std::ptrdiff_t value, std::ptrdiff_t step) { return ceil_div(value, step) * step; }

constexpr int padded_columns(int columns) { return static_cast<int>(round_up(columns, kColumnQuantum)); }

// Scales and biases reach to the end of the last strip of any kernel.
constexpr int kWidestStrip = 64;
constexpr std::ptrdiff_t padded_rows(int rows) { return round_up(rows, kWidestStrip); }

inline int table_blocks(const PackedMatrix& w) {
    return static_cast<int>(ceil_div(w.columns, 2 * kGroup * w.isa->tables.interleave));
}
inline std::ptrdiff_t table_strip_bytes(const PackedMatrix& w) {
    return static_cast<std::ptrdiff_t>(table_blocks(w)) * w.isa->tables.shape.strip_columns * w.isa->tables.interleave;
}
inline std::ptrdiff_t table_plane_bytes(const PackedMatrix& w) {
    return ceil_div(w.rows, w.isa->tables.shape.strip_columns) * table_strip_bytes(w);
}

// Into PackedMatrix::units, for 1, 2, 4 and 8 bit.
constexpr int unit_index(int bits) { return bits == 1 ? 0 : bits == 2 ? 1 : bits == 4 ? 2 : 3; }

// 4-bit blocks hold 8 columns of W, int8 blocks 4.
inline int dot_blocks(const PackedMatrix& w, int bits) {
    return static_cast<int>(ceil_div(w.columns, bits == 4 ? 8 : 4));
}
inline std::ptrdiff_t dot_strip_bytes(const PackedMatrix& w, int bits) {
    return static_cast<std::ptrdiff_t>(dot_blocks(w, bits)) * w.isa->dot.shape.strip_columns * 4;
}

}  // namespace onebit::gemm

// What tiles share: the choice of the right size, and beginning and end of those that hold int32 sums in registers.
#pragma once

#include "kernels.h"

namespace onebit::gemm {
namespace {

// Runs Kernel::run<rows, vectors>; vectors is Vectors or 1, rows at most Rows.
template <class Kernel, int Rows, int Vectors>
void run_tile(const typename Kernel::Tile& tile, int rows, int vectors) {
    if constexpr (Rows > 1) {
        if (rows < Rows) return run_tile<Kernel, Rows - 1, Vectors>(tile, rows, vectors);
    }
    if (vectors == Vectors)
        Kernel::template run<Rows, Vectors>(tile);
    else
        Kernel::template run<Rows, 1>(tile);
}

// sums[row][vector]
template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void fill(typename Lanes::Bytes (&sums)[Rows][Vectors], std::int32_t value) {
    ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m) ONEBIT_UNROLL
    for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::set32(value);
}

template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void shift_left_and_subtract(typename Lanes::Bytes (&sums)[Rows][Vectors], int count,
                                           std::int32_t value) {
    ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m) ONEBIT_UNROLL
    for (int v = 0; v < Vectors; ++v)
        sums[m][v] = Lanes::sub32(Lanes::shift_left32(sums[m][v], count), Lanes::set32(value));
}

// To the next `vectors` strips.
ONEBIT_INLINE void advance(TableTile& tile, int vectors, int strip_columns) {
    const std::ptrdiff_t columns = std::ptrdiff_t{vectors} * strip_columns;
    tile.planes += vectors * tile.strip_bytes;
    tile.out.units += columns;
    tile.out.bias += columns;
    tile.out.y += columns;
}

// The rule of struct Epilogue for one register of sums, columns n and on of row m.
template <class Lanes>
ONEBIT_INLINE void store_columns(const Epilogue& out, int m, int n, typename Lanes::Bytes sums) {
    const typename Lanes::Floats scaled = Lanes::mul(Lanes::to_float(sums), Lanes::set(out.scales[m]));
    const typename Lanes::Floats product = Lanes::mul(scaled, Lanes::load_floats(out.units + n));
    Lanes::store_floats(out.y + m * out.stride + n, Lanes::add(product, Lanes::load_floats(out.bias + n)));
}

// `out` is a copy: stores to y could otherwise change it under the compiler's eyes, which costs 7 % of a product.
template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void store_product(const Epilogue out, const typename Lanes::Bytes (&sums)[Rows][Vectors]) {
    ONEBIT_UNROLL
    for (int v = 0; v < Vectors; ++v) ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m) store_columns<Lanes>(out, m, v * Lanes::kFloats, sums[m][v]);
}

// Sums of 4-bit codes c q become sums of (2c - 15) q.
template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void store_four_bit_product(const DotTile& tile, typename Lanes::Bytes (&sums)[Rows][Vectors]) {
    ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m) {
        const typename Lanes::Bytes offset = Lanes::set32(15 * tile.sums[m]);
        ONEBIT_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::sub32(Lanes::add32(sums[m][v], sums[m][v]), offset);
    }
    store_product<Lanes>(tile.out, sums);
}

}  // namespace
}  // namespace onebit::gemm

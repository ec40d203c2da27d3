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
ONEBIT_INLINE void clear(typename Lanes::Bytes (&sums)[Rows][Vectors]) {
    ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m)
        ONEBIT_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::zero();
}

template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void shift_left(typename Lanes::Bytes (&sums)[Rows][Vectors], int count) {
    ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m)
        ONEBIT_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::shift_left32(sums[m][v], count);
}

// The rule of struct Epilogue, which is passed by value: stores to y could otherwise change it under the compiler's eyes.
template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void store_product(const Epilogue out, const typename Lanes::Bytes (&sums)[Rows][Vectors]) {
    ONEBIT_UNROLL
    for (int v = 0; v < Vectors; ++v) {
        const typename Lanes::Floats unit = Lanes::load_floats(out.units + v * Lanes::kFloats);
        const typename Lanes::Floats bias = Lanes::load_floats(out.bias + v * Lanes::kFloats);
        float* y = out.y + v * Lanes::kFloats;
        ONEBIT_UNROLL
        for (int m = 0; m < Rows; ++m, y += out.stride) {
            const typename Lanes::Floats scaled = Lanes::mul(Lanes::to_float(sums[m][v]), Lanes::set(out.scales[m]));
            Lanes::store_floats(y, Lanes::add(Lanes::mul(scaled, unit), bias));
        }
    }
}

}  // namespace
}  // namespace onebit::gemm

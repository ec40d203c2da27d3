// 4 bit and int8 with an instruction that adds four products of unsigned weights and signed activations to an int32.
#pragma once

#include "kernels.h"
#include "tiles.h"

namespace onebit::gemm {
namespace {

// sums[m][v] += (weights & mask) * codes, where a row of weights advances by a register and the codes by `step`
// columns.
template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void walk(typename Lanes::Bytes (&sums)[Rows][Vectors], const DotTile& tile, int mask, int first,
                        int step) {
    const typename Lanes::Bytes mask_bytes = Lanes::set_bytes(mask);
    const std::int8_t* codes = tile.codes + first;
    const std::uint8_t* weights = tile.weights;
    ONEBIT_LOOP
    for (int b = 0; b < tile.blocks; ++b, codes += step, weights += Lanes::kBytes) {
        typename Lanes::Bytes w[Vectors];
        ONEBIT_UNROLL
        for (int v = 0; v < Vectors; ++v) w[v] = Lanes::both(Lanes::load(weights + v * tile.strip_bytes), mask_bytes);
        ONEBIT_UNROLL
        for (int m = 0; m < Rows; ++m) {
            const typename Lanes::Bytes q = Lanes::repeat4(codes + m * tile.row_bytes);
            ONEBIT_UNROLL
            for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::dot(sums[m][v], w[v], q);
        }
    }
}

// The high nibbles first, in place: as bytes they are 16 times their value, and the sums are divided by 16 before the
// low nibbles follow. That unpacks 4 bits with nothing but an AND.
template <class Lanes>
struct Multiply4 {
    using Tile = DotTile;

    template <int Rows, int Vectors>
    static ONEBIT_TILE void run(const DotTile& tile) {
        typename Lanes::Bytes sums[Rows][Vectors];
        fill<Lanes>(sums, 0);
        walk<Lanes>(sums, tile, 0xf0, 4, 8);
        ONEBIT_UNROLL
        for (int m = 0; m < Rows; ++m) ONEBIT_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::shift_right32_4(sums[m][v]);
        walk<Lanes>(sums, tile, 0x0f, 0, 8);
        store_four_bit_product<Lanes>(tile, sums);
    }
};

// Weights are stored as w + 128: the sums start at what that adds too much.
template <class Lanes>
struct Multiply8 {
    using Tile = DotTile;

    template <int Rows, int Vectors>
    static ONEBIT_TILE void run(const DotTile& tile) {
        typename Lanes::Bytes sums[Rows][Vectors];
        ONEBIT_UNROLL
        for (int m = 0; m < Rows; ++m) ONEBIT_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::set32(-128 * tile.sums[m]);
        walk<Lanes>(sums, tile, 0xff, 0, 4);
        store_product<Lanes>(tile.out, sums);
    }
};

}  // namespace
}  // namespace onebit::gemm

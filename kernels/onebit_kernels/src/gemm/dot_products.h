// 4 bit and int8 in the plainest way: unpack to bytes, multiply, add four products to an int32. `Lanes` says how:
//   add_dots(sum, low, q_low, high, q_high)   sum[i] += the dots of bytes 4i..4i+3 of low and q_low, and of high and
//                                             q_high; the weights are 0..15
//   add_int8_dots(sum, w, q)                  the same for one pair, w in -128..127
// The activations are in -127..127.
#pragma once

#include "tiles.h"

namespace onebit::gemm {
namespace {

template <class Lanes>
struct Multiply4 {
    using Tile = DotTile;

    template <int Rows, int Vectors>
    static ONEBIT_TILE void run(const DotTile& tile) {
        typename Lanes::Bytes sums[Rows][Vectors];
        fill<Lanes>(sums, 0);
        const std::int8_t* codes = tile.codes;
        const std::uint8_t* weights = tile.weights;
        ONEBIT_LOOP
        for (int b = 0; b < tile.blocks; ++b, codes += 8, weights += Lanes::kBytes) {
            typename Lanes::Bytes low[Vectors], high[Vectors];
            ONEBIT_UNROLL
            for (int v = 0; v < Vectors; ++v) {
                const typename Lanes::Bytes nibbles = Lanes::load(weights + v * tile.strip_bytes);
                low[v] = Lanes::low_nibbles(nibbles);
                high[v] = Lanes::high_nibbles(nibbles);
            }
            ONEBIT_UNROLL
            for (int m = 0; m < Rows; ++m) {
                const typename Lanes::Bytes q_low = Lanes::repeat4(codes + m * tile.row_bytes);
                const typename Lanes::Bytes q_high = Lanes::repeat4(codes + m * tile.row_bytes + 4);
                ONEBIT_UNROLL
                for (int v = 0; v < Vectors; ++v)
                    sums[m][v] = Lanes::add_dots(sums[m][v], low[v], q_low, high[v], q_high);
            }
        }
        store_four_bit_product<Lanes>(tile, sums);
    }
};

template <class Lanes>
struct Multiply8 {
    using Tile = DotTile;

    template <int Rows, int Vectors>
    static ONEBIT_TILE void run(const DotTile& tile) {
        typename Lanes::Bytes sums[Rows][Vectors];
        fill<Lanes>(sums, 0);
        const std::int8_t* codes = tile.codes;
        const std::uint8_t* weights = tile.weights;
        ONEBIT_LOOP
        for (int b = 0; b < tile.blocks; ++b, codes += 4, weights += Lanes::kBytes) {
            typename Lanes::Bytes w[Vectors];
            ONEBIT_UNROLL
            for (int v = 0; v < Vectors; ++v) w[v] = Lanes::load(weights + v * tile.strip_bytes);
            ONEBIT_UNROLL
            for (int m = 0; m < Rows; ++m) {
                const typename Lanes::Bytes q = Lanes::repeat4(codes + m * tile.row_bytes);
                ONEBIT_UNROLL
                for (int v = 0; v < Vectors; ++v) sums[m][v] = Lanes::add_int8_dots(sums[m][v], w[v], q);
            }
        }
        store_product<Lanes>(tile.out, sums);
    }
};

}  // namespace
}  // namespace onebit::gemm

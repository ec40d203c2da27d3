// 1 and 2 bit with a shuffle of 16 bytes: one register holds the same table in every lane, and one shuffle looks up the
// sums of as many columns as a register has bytes. They are added as 16-bit numbers, because the bytes of a lane are
// different columns.
#pragma once

#include "tiles.h"

namespace onebit::gemm {
namespace {

// Entries are at most 255, a block adds two: 128 blocks (1024 columns of W) stay below 2^16.
constexpr int kBlocksBeforeOverflow = 128;

// sums[m][column] += the lookups of blocks [first, last)
template <class Lanes, int Rows, int Vectors>
ONEBIT_INLINE void walk(std::int32_t (&sums)[Rows][Vectors * Lanes::kBytes], const TableTile& tile,
                        const TablePass& pass, int first, int last) {
    const std::uint8_t* tables = tile.tables + pass.table_offset + first * std::ptrdiff_t{2 * kTableEntries};
    const std::uint8_t* planes = tile.planes + pass.plane_offset + first * std::ptrdiff_t{Lanes::kBytes};
    typename Lanes::ColumnSums partial[Rows][Vectors];
    ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m) ONEBIT_UNROLL
    for (int v = 0; v < Vectors; ++v) partial[m][v] = {Lanes::zero(), Lanes::zero()};
    ONEBIT_LOOP
    for (int b = first; b < last; ++b, planes += Lanes::kBytes) {
        ONEBIT_UNROLL
        for (int half = 0; half < 2; ++half, tables += kTableEntries) {
            typename Lanes::Bytes indices[Vectors];
            ONEBIT_UNROLL
            for (int v = 0; v < Vectors; ++v) {
                const typename Lanes::Bytes nibbles = Lanes::load(planes + v * tile.strip_bytes);
                indices[v] = half ? Lanes::high_nibbles(nibbles) : Lanes::low_nibbles(nibbles);
            }
            ONEBIT_UNROLL
            for (int m = 0; m < Rows; ++m) {
                const typename Lanes::Bytes table = Lanes::repeat16(tables + m * tile.row_bytes);
                ONEBIT_UNROLL
                for (int v = 0; v < Vectors; ++v) Lanes::add_columns(partial[m][v], Lanes::lookup(table, indices[v]));
            }
        }
    }
    ONEBIT_UNROLL
    for (int m = 0; m < Rows; ++m) ONEBIT_UNROLL
    for (int v = 0; v < Vectors; ++v) Lanes::flush_columns(partial[m][v], sums[m] + v * Lanes::kBytes);
}

// sums = (sums << shift) - bias
template <class Lanes, int Rows, int Columns>
ONEBIT_INLINE void begin_pass(std::int32_t (&sums)[Rows][Columns], const TablePass& pass) {
    for (int i = 0; i < Rows * Columns; i += Lanes::kFloats) {
        const typename Lanes::Bytes shifted = Lanes::shift_left32(Lanes::load(sums[0] + i), pass.shift);
        Lanes::store(sums[0] + i, Lanes::sub32(shifted, Lanes::set32(pass.bias)));
    }
}

template <class Lanes>
struct MultiplyTables {
    using Tile = TableTile;

    template <int Rows, int Vectors>
    static ONEBIT_TILE void run(TableTile tile) {
        constexpr int kColumns = Vectors * Lanes::kBytes;
        for (int group = 0; group < tile.groups; ++group, advance(tile, Vectors, Lanes::kBytes)) {
            alignas(64) std::int32_t sums[Rows][kColumns] = {};
            for (const TablePass* pass = tile.passes; pass < tile.passes + tile.pass_count; ++pass) {
                begin_pass<Lanes>(sums, *pass);
                for (int first = 0; first < tile.blocks; first += kBlocksBeforeOverflow) {
                    const int last = first + kBlocksBeforeOverflow;
                    walk<Lanes, Rows, Vectors>(sums, tile, *pass, first, last < tile.blocks ? last : tile.blocks);
                }
            }
            for (int m = 0; m < Rows; ++m)
                for (int n = 0; n < kColumns; n += Lanes::kFloats)
                    store_columns<Lanes>(tile.out, m, n, Lanes::load(sums[m] + n));
        }
    }
};

}  // namespace
}  // namespace onebit::gemm

// 1 and 2 bit with VBMI and VNNI: one byte permute looks 64 sums up in the four tables that fill a register, and one
// dot product with ones adds them, four groups to each column: 256 multiply-adds in two instructions.
#include "../tiles.h"
#include "lanes_avx512.h"
#include "vnni_avx512.h"

namespace onebit::gemm {
namespace {

using Lanes = Avx512Lanes;
constexpr TileShape kShape{.strip_columns = 16, .rows = 6, .vectors = 4};

// Byte n * 4 + j becomes an index into table j: nibble | 16 j. In assembly to keep one constant in memory: the sums of
// the largest tile leave no register for it.
alignas(4) constexpr std::int32_t kTableOfByte = 0x30201000;

ONEBIT_INLINE __m512i table_indices(__m512i nibbles, __m512i low_nibble) {
    __asm__("vpternlogd $0xea, %2%{1to16%}, %1, %0"
            : "+v"(nibbles)
            : "v"(low_nibble), "m"(kTableOfByte));  // (a & b) | c
    return nibbles;
}

template <int Rows, int Vectors>
ONEBIT_INLINE void walk(__m512i (&sums)[Rows][Vectors], const TableTile& tile, const TablePass& pass) {
    const std::uint8_t* tables = tile.tables + pass.table_offset;
    const std::uint8_t* planes = tile.planes + pass.plane_offset;
    const __m512i ones = _mm512_set1_epi8(1), low_nibble = _mm512_set1_epi8(15);
    ONEBIT_LOOP
    for (int b = 0; b < tile.blocks; ++b, planes += 64) {
        ONEBIT_UNROLL
        for (int half = 0; half < 2; ++half, tables += 64) {
            __m512i indices[Vectors];
            ONEBIT_UNROLL
            for (int v = 0; v < Vectors; ++v) {
                const __m512i nibbles = _mm512_load_si512(planes + v * tile.strip_bytes);
                indices[v] = table_indices(half ? _mm512_srli_epi16(nibbles, 4) : nibbles, low_nibble);
            }
            ONEBIT_UNROLL
            for (int m = 0; m < Rows; ++m) {
                const __m512i table = _mm512_load_si512(tables + m * tile.row_bytes);
                ONEBIT_UNROLL
                for (int v = 0; v < Vectors; ++v)
                    sums[m][v] = dot_u8_s8(sums[m][v], _mm512_permutexvar_epi8(indices[v], table), ones);
            }
        }
    }
}

struct Multiply {
    using Tile = TableTile;

    template <int Rows, int Vectors>
    static ONEBIT_TILE void run(TableTile tile) {
        for (int group = 0; group < tile.groups; ++group, advance(tile, Vectors, kShape.strip_columns)) {
            __m512i sums[Rows][Vectors];
            fill<Lanes>(sums, -tile.passes[0].bias);
            ONEBIT_LOOP
            for (int p = 0; p < tile.pass_count; ++p) {
                if (p > 0) shift_left_and_subtract<Lanes>(sums, tile.passes[p].shift, tile.passes[p].bias);
                walk(sums, tile, tile.passes[p]);
            }
            store_product<Lanes>(tile.out, sums);
        }
    }
};

}  // namespace

extern const TableKernels tables_avx512vbmi{"avx512vbmi", kShape, 4, run_tile<Multiply, kShape.rows, kShape.vectors>};

}  // namespace onebit::gemm

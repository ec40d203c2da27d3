// What one instruction set contributes: how its weights lie in memory, and functions on rows and tiles. Included by the
// ISA files, which are compiled with their own flags: plain structs only, nothing from std that has code.
#pragma once

#include <cstddef>
#include <cstdint>

// Kernels keep their sums in registers: loops over rows and vectors of a tile must vanish, loops over K must stay.
#define ONEBIT_UNROLL _Pragma("GCC unroll 16")
#define ONEBIT_LOOP _Pragma("GCC unroll 1")
#define ONEBIT_INLINE inline __attribute__((always_inline))
#define ONEBIT_TILE __attribute__((noinline))

namespace onebit::gemm {

// Rows of X are padded with zeros to a multiple of this, the largest block of any kernel.
inline constexpr int kColumnQuantum = 32;

// Activations four by four: one table holds the 16 sums of a group of four, as bytes. They are stored with 128 added,
// because unsigned bytes are easier to add up; every walk over the tables takes 128 for each group off again.
inline constexpr int kGroup = 4;
inline constexpr int kTableEntries = 16;
inline constexpr int kTableBias = 128;

// The end of every product: y[m * stride + n] = (float(sum) * scales[m]) * units[n] + bias[n], in this order, never
// fused.
struct Epilogue {
    const float* scales;  // of the first row of the tile
    const float* units;   // of the first column of the tile
    const float* bias;
    float* y;
    std::ptrdiff_t stride;
};

// One walk over a plane: sum = (sum << shift) + (lookups in these tables of the nibbles of this plane) - bias, where
// bias is kTableBias for every group that the blocks hold. The offsets are from the tile's first table and plane.
struct TablePass {
    int shift;
    std::int32_t bias;
    std::ptrdiff_t table_offset;
    std::ptrdiff_t plane_offset;
};

// Rows x (groups * vectors * strip_columns) of Y. Row m's tables: tables[m * row_bytes + group * 16 + nibble].
// Strip v's weights: planes + v * strip_bytes, in blocks of strip_columns * interleave bytes; byte n * J + j of
// block b holds
// column n of the strip, J = interleave:   low nibble: k = 8Jb + 4j + bit      high nibble: k = 8Jb + 4J + 4j + bit
struct TableTile {
    const std::uint8_t* tables;
    std::ptrdiff_t row_bytes;
    const std::uint8_t* planes;
    std::ptrdiff_t strip_bytes;
    int blocks;
    const TablePass* passes;
    int pass_count;
    int groups;  // of `vectors` strips, one after the other: a loop here is 2 % faster than one around the call
    Epilogue out;
};

// Rows x (vectors * strip_columns) of Y. Row m's codes: codes[m * row_bytes + k].
// Strip v's weights: weights + v * strip_bytes, in blocks of strip_columns * 4 bytes; byte n * 4 + j of block b holds
//   4 bit: low nibble: k = 8b + j      high nibble: k = 8b + 4 + j          int8: k = 4b + j
struct DotTile {
    const std::int8_t* codes;
    std::ptrdiff_t row_bytes;
    const std::int32_t* sums;
    const std::uint8_t* weights;
    std::ptrdiff_t strip_bytes;
    int blocks;
    Epilogue out;
};

// Preparation of one row of `columns` values (a multiple of kColumnQuantum). generic.cpp states the rules.
struct ActivationKernels {
    const char* name;
    void (*quantise)(const float* x, int columns, std::int8_t* codes, float* scale, std::int32_t* sum);
    void (*tables)(const float* x, int columns, std::uint8_t* tables, float* scale);
    void (*exact_tables)(const std::int8_t* codes, int columns, std::uint8_t* coarse, std::uint8_t* fine);
};

// The tiles that a kernel computes: up to `rows` x exactly `vectors` strips, or up to `rows` x 1 strip.
struct TileShape {
    int strip_columns;
    int rows;
    int vectors;
};

struct TableKernels {
    const char* name;
    TileShape shape;
    int interleave;
    void (*multiply)(const TableTile& tile, int rows, int vectors);
};

struct DotKernels {
    const char* name;
    TileShape shape;
    bool biased_int8;  // int8 weights are stored as w + 128, because the instruction wants them unsigned
    void (*multiply4)(const DotTile& tile, int rows, int vectors);
    void (*multiply8)(const DotTile& tile, int rows, int vectors);
};

}  // namespace onebit::gemm

// The specification: what every instruction set computes, in plain C++. The other files are this one, faster.
#include <cmath>
#include <cstdint>

#include "../kernels.h"

namespace onebit::gemm {
namespace {

constexpr float kLargest = 127.0f;

// 127 / bound. Rows so small that this overflows (below 4e-37: also rows of zeros) count as zero.
float steps_per_unit(float bound) {
    const float steps = kLargest / bound;
    return std::isfinite(steps) ? steps : 0.0f;
}

// Nearest, ties to even. The bounds only matter for input that is not finite.
std::int8_t round_to_int8(float value) {
    const long rounded = std::lrintf(value);
    return static_cast<std::int8_t>(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
}

std::uint8_t biased(int entry) { return static_cast<std::uint8_t>(entry + kTableBias); }

// Form codes: int8 per row, scale = max|x| / 127.
void quantise(const float* x, int columns, std::int8_t* codes, float* scale, std::int32_t* sum) {
    float bound = 0.0f;
    for (int k = 0; k < columns; ++k) bound = std::fmax(bound, std::fabs(x[k]));
    const float steps = steps_per_unit(bound);
    *sum = 0;
    for (int k = 0; k < columns; ++k) {
        codes[k] = round_to_int8(x[k] * steps);
        *sum += codes[k];
    }
    *scale = bound / kLargest;
}

// Form tables: entry `nibble` of a group is the sum of its four values, each with a plus where the nibble has its bit
// and a minus where not: the sum that a byte shuffle looks up for a 1-bit weight row. The order of the additions, (0 +
// 1) + (2 + 3), belongs to the rule. The scale makes the largest such sum of the row 127.
void tables(const float* x, int columns, std::uint8_t* tables, float* scale) {
    float bound = 0.0f;
    for (int k = 0; k < columns; k += kGroup)
        bound = std::fmax(bound, (std::fabs(x[k]) + std::fabs(x[k + 1])) + (std::fabs(x[k + 2]) + std::fabs(x[k + 3])));
    const float steps = steps_per_unit(bound);
    for (int k = 0; k < columns; k += kGroup) {
        for (int nibble = 0; nibble < kTableEntries; ++nibble) {
            float value[kGroup];
            for (int i = 0; i < kGroup; ++i) value[i] = (nibble >> i & 1) ? x[k + i] * steps : -(x[k + i] * steps);
            *tables++ = biased(round_to_int8((value[0] + value[1]) + (value[2] + value[3])));
        }
    }
    *scale = bound / kLargest;
}

// Form exact_tables: the same sums of int8 codes need 10 bits (-508..508). As sum = 4 * coarse + fine, both fit int8,
// and an exact product is two walks with the ordinary kernel. Coarse is sum / 4 rounded to the nearest even
// (-127..127), so that both tables are antisymmetric like every other: entry 15 - i is minus entry i.
void exact_tables(const std::int8_t* codes, int columns, std::uint8_t* coarse, std::uint8_t* fine) {
    for (int k = 0; k < columns; k += kGroup) {
        for (int nibble = 0; nibble < kTableEntries; ++nibble) {
            int sum = 0;
            for (int i = 0; i < kGroup; ++i) sum += (nibble >> i & 1) ? codes[k + i] : -codes[k + i];
            const int quarter = round_to_int8(static_cast<float>(sum) * 0.25f);
            *coarse++ = biased(quarter);
            *fine++ = biased(sum - 4 * quarter);
        }
    }
}

void store(const Epilogue& out, int m, int n, std::int32_t sum) {
    out.y[m * out.stride + n] = (static_cast<float>(sum) * out.scales[m]) * out.units[n] + out.bias[n];
}

// 1 bit:  sum of +-x                       = sum of (2c - 1) x
// 2 bits: 2 * (plane 0) + (plane 1)        = sum of (2c - 3) x      (the passes come from multiply.cpp)
void multiply_tables(const TableTile& tile, int rows, int vectors) {
    for (int m = 0; m < rows; ++m) {
        for (int n = 0; n < tile.groups * vectors; ++n) {
            std::int32_t sum = 0;
            for (const TablePass* pass = tile.passes; pass < tile.passes + tile.pass_count; ++pass) {
                const std::uint8_t* table = tile.tables + m * tile.row_bytes + pass->table_offset;
                const std::uint8_t* nibbles = tile.planes + n * tile.strip_bytes + pass->plane_offset;
                sum = sum * (1 << pass->shift) - pass->bias;
                for (int b = 0; b < tile.blocks; ++b, table += 2 * kTableEntries)
                    sum += table[nibbles[b] & 15] + table[kTableEntries + (nibbles[b] >> 4)];
            }
            store(tile.out, m, n, sum);
        }
    }
}

// 4 bit: sum of (2c - 15) q, since w = s (c - 7.5) = s/2 (2c - 15)
void multiply4(const DotTile& tile, int rows, int vectors) {
    for (int m = 0; m < rows; ++m) {
        for (int n = 0; n < vectors; ++n) {
            const std::int8_t* q = tile.codes + m * tile.row_bytes;
            const std::uint8_t* codes = tile.weights + n * tile.strip_bytes;
            std::int32_t dot = 0;
            for (int b = 0; b < tile.blocks; ++b, q += 8)
                for (int j = 0; j < 4; ++j) dot += (codes[4 * b + j] & 15) * q[j] + (codes[4 * b + j] >> 4) * q[4 + j];
            store(tile.out, m, n, 2 * dot - 15 * tile.sums[m]);
        }
    }
}

// int8: sum of w q
void multiply8(const DotTile& tile, int rows, int vectors) {
    for (int m = 0; m < rows; ++m) {
        for (int n = 0; n < vectors; ++n) {
            const std::int8_t* q = tile.codes + m * tile.row_bytes;
            const std::uint8_t* weights = tile.weights + n * tile.strip_bytes;
            std::int32_t dot = 0;
            for (int k = 0; k < 4 * tile.blocks; ++k) dot += static_cast<std::int8_t>(weights[k]) * q[k];
            store(tile.out, m, n, dot);
        }
    }
}

constexpr TileShape kShape{.strip_columns = 1, .rows = 1, .vectors = 4};

}  // namespace

extern const ActivationKernels activations_generic{"generic", quantise, tables, exact_tables};
extern const TableKernels tables_generic{"generic", kShape, 1, multiply_tables};
extern const DotKernels dot_generic{"generic", kShape, false, multiply4, multiply8};

}  // namespace onebit::gemm

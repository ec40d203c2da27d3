// From the planes of the packed file to the order in which the kernels read them (kernels.h states both formulas).
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "lowbit_gemm.h"
#include "registry.h"
#include "sizes.h"

namespace onebit::gemm {

static_assert(std::endian::native == std::endian::little, "the layouts are written as little-endian words");

namespace {

constexpr std::size_t kAlignment = 64;
constexpr int kMaximumColumns = 1 << 16;  // keeps every integer sum within 32 bits

template <class T>
Aligned<T> allocate_zeroed(std::size_t count, std::size_t& total_bytes) {
    const std::size_t bytes = round_up(std::max<std::size_t>(count, 1) * sizeof(T), kAlignment);
    void* memory = std::aligned_alloc(kAlignment, bytes);
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    total_bytes += bytes;
    return Aligned<T>(static_cast<T*>(memory));
}

const float* scale_of(const LayerPlanes& layer, int bits) {
    return bits == 1 ? layer.scale1 : bits == 2 ? layer.scale2 : layer.scale4;
}

// In integer steps a weight is 2c - 1, 2c - 3 or 2c - 15 (generic.cpp); the step is s at 1 bit, s / 2 else.
float unit_of(float scale, int bits) { return bits == 1 ? scale : 0.5f * scale; }

void check(const LayerPlanes& layer, int columns, std::span<const int> bits) {
    if (layer.rows < 1 || layer.columns != columns)
        throw std::invalid_argument("stacked layers need rows and the same number of columns");
    for (const int b : bits) {
        if (b != 1 && b != 2 && b != 4) throw std::invalid_argument("bits must be 1, 2 or 4");
        if (layer.plane_count < b || !scale_of(layer, b))
            throw std::invalid_argument("layer holds no " + std::to_string(b) + "-bit weights");
    }
}

// Where the nibble of a group of columns stands, from the first byte of a row in its strip of the table layout.
struct NibblePlace {
    std::ptrdiff_t byte;
    int shift;
};

NibblePlace nibble_place(int group, const TableKernels& kernels) {
    const int interleave = kernels.interleave;
    const std::ptrdiff_t block_bytes = static_cast<std::ptrdiff_t>(kernels.shape.strip_columns) * interleave;
    const int block = group / (2 * interleave), place = group % (2 * interleave);
    return {block * block_bytes + place % interleave, place / interleave * 4};
}

// The first byte of row n in a plane of the table layout.
std::uint8_t* table_row(const PackedMatrix& packed, int plane, int n) {
    const TableKernels& kernels = packed.isa->tables;
    const int width = kernels.shape.strip_columns;
    return packed.planes.get() + plane * table_plane_bytes(packed) + n / width * table_strip_bytes(packed) +
           n % width * kernels.interleave;
}

// The first byte of row n in its strip of 4-bit codes.
std::uint8_t* code_row(const PackedMatrix& packed, int n) {
    const int width = packed.isa->dot.shape.strip_columns;
    return packed.codes.get() + n / width * dot_strip_bytes(packed, 4) + n % width * 4;
}

// One row of one plane into its place in a strip of the table layout.
void scatter_plane_row(const std::uint8_t* source, int groups, const TableKernels& kernels, std::uint8_t* row) {
    for (int group = 0; group < groups; ++group) {
        const int nibble = source[group / 2] >> (group % 2 * 4) & 15;
        const NibblePlace place = nibble_place(group, kernels);
        row[place.byte] |= static_cast<std::uint8_t>(nibble << place.shift);
    }
}

// Bit j of a nibble to the lowest bit of byte j.
constexpr std::uint32_t spread(unsigned nibble) {
    return (nibble & 1) | (nibble & 2) << 7 | (nibble & 4) << 14 | (nibble & 8) << 21;
}

// Four planes of one row into its place in a strip of 4-bit codes: 8 codes, k = 8b..8b+7, make one word.
void scatter_code_row(const LayerPlanes& layer, int row, std::ptrdiff_t block_bytes, std::uint8_t* column) {
    const std::ptrdiff_t row_bytes = ceil_div(layer.columns, 8);
    for (std::ptrdiff_t b = 0; b < row_bytes; ++b) {
        std::uint32_t word = 0;
        for (int plane = 0; plane < 4; ++plane) {
            const unsigned bits = layer.planes[(std::ptrdiff_t{plane} * layer.rows + row) * row_bytes + b];
            word |= (spread(bits & 15) | spread(bits >> 4) << 4) << (3 - plane);
        }
        std::memcpy(column + b * block_bytes, &word, sizeof(word));
    }
}

void pack_tables(const LayerPlanes& layer, int first_row, PackedMatrix& packed) {
    const int groups = static_cast<int>(ceil_div(layer.columns, kGroup));
    const std::ptrdiff_t row_bytes = ceil_div(layer.columns, 8);
    for (int plane = 0; plane < packed.plane_count; ++plane)
        for (int row = 0; row < layer.rows; ++row)
            scatter_plane_row(layer.planes + (std::ptrdiff_t{plane} * layer.rows + row) * row_bytes, groups,
                              packed.isa->tables, table_row(packed, plane, first_row + row));
}

void pack_codes(const LayerPlanes& layer, int first_row, PackedMatrix& packed) {
    for (int row = 0; row < layer.rows; ++row)
        scatter_code_row(layer, row, 4 * packed.isa->dot.shape.strip_columns, code_row(packed, first_row + row));
}

// The inverse of scatter_code_row: the low nibbles of a word are columns k = 8b + j, the high ones k = 8b + 4 + j.
void unpack_code_row(const PackedMatrix& packed, int n, float unit, float* weights) {
    const int block_bytes = 4 * packed.isa->dot.shape.strip_columns;
    const std::uint8_t* row = code_row(packed, n);
    for (int k = 0; k < packed.columns; ++k) {
        const std::uint8_t byte = row[k / 8 * block_bytes + k % 4];
        const int code = k % 8 < 4 ? byte & 15 : byte >> 4;
        weights[k] = unit * static_cast<float>(2 * code - 15);
    }
}

// One row of the first `planes` planes, 1 or 2, of the table layout.
void unpack_table_row(const PackedMatrix& packed, int n, int planes, float unit, float* weights) {
    const std::uint8_t *first = table_row(packed, 0, n), *last = table_row(packed, planes - 1, n);
    for (int k = 0; k < packed.columns; ++k) {
        const auto [byte, shift] = nibble_place(k / kGroup, packed.isa->tables);
        const int bit = shift + k % kGroup, high = first[byte] >> bit & 1, low = last[byte] >> bit & 1;
        const int step = planes == 1 ? 2 * high - 1 : 4 * high + 2 * low - 3;
        weights[k] = unit * static_cast<float>(step);
    }
}

PackedMatrix empty_matrix(const Isa& isa, int rows, int columns) {
    if (rows < 1 || columns < 1 || columns > kMaximumColumns)
        throw std::invalid_argument("a matrix needs at least one row and 1 to 65536 columns");
    PackedMatrix packed;
    packed.isa = &isa;
    packed.rows = rows;
    packed.columns = columns;
    packed.bias = allocate_zeroed<float>(padded_rows(rows), packed.resident_bytes);
    return packed;
}

void allocate_planes(PackedMatrix& packed, std::span<const int> bits) {
    for (const int b : bits) {
        packed.units[unit_index(b)] = allocate_zeroed<float>(padded_rows(packed.rows), packed.resident_bytes);
        if (b < 4) packed.plane_count = std::max(packed.plane_count, b);
    }
    if (packed.plane_count)
        packed.planes =
            allocate_zeroed<std::uint8_t>(packed.plane_count * table_plane_bytes(packed), packed.resident_bytes);
    if (packed.holds(4))
        packed.codes = allocate_zeroed<std::uint8_t>(
            ceil_div(packed.rows, packed.isa->dot.shape.strip_columns) * dot_strip_bytes(packed, 4),
            packed.resident_bytes);
}

}  // namespace

void AlignedFree::operator()(void* memory) const { std::free(memory); }

bool PackedMatrix::holds(int bits) const { return units[unit_index(bits)] != nullptr; }

PackedMatrix pack_planes(const Isa& isa, std::span<const LayerPlanes> layers, std::span<const int> bits) {
    int rows = 0;
    for (const LayerPlanes& layer : layers) {
        check(layer, layers.front().columns, bits);
        rows += layer.rows;
    }
    PackedMatrix packed = empty_matrix(isa, rows, layers.empty() ? 0 : layers.front().columns);
    allocate_planes(packed, bits);
    int first_row = 0;
    for (const LayerPlanes& layer : layers) {
        for (const int b : bits)
            std::transform(scale_of(layer, b), scale_of(layer, b) + layer.rows,
                           packed.units[unit_index(b)].get() + first_row,
                           [b](float scale) { return unit_of(scale, b); });
        if (layer.bias) std::copy_n(layer.bias, layer.rows, packed.bias.get() + first_row);
        pack_tables(layer, first_row, packed);
        if (packed.holds(4)) pack_codes(layer, first_row, packed);
        first_row += layer.rows;
    }
    return packed;
}

PackedMatrix pack_int8(const Isa& isa, const LayerInt8& layer) {
    PackedMatrix packed = empty_matrix(isa, layer.rows, layer.columns);
    const int strip_columns = isa.dot.shape.strip_columns;
    const std::ptrdiff_t strip_bytes = dot_strip_bytes(packed, 8);
    packed.codes =
        allocate_zeroed<std::uint8_t>(ceil_div(layer.rows, strip_columns) * strip_bytes, packed.resident_bytes);
    packed.units[unit_index(8)] = allocate_zeroed<float>(padded_rows(layer.rows), packed.resident_bytes);
    std::copy_n(layer.scale, layer.rows, packed.units[unit_index(8)].get());
    if (layer.bias) std::copy_n(layer.bias, layer.rows, packed.bias.get());
    const int offset = isa.dot.biased_int8 ? 128 : 0;
    for (int n = 0; n < layer.rows; ++n) {
        std::uint8_t* column = packed.codes.get() + n / strip_columns * strip_bytes + n % strip_columns * 4;
        for (int k = 0; k < layer.columns; ++k)
            column[k / 4 * 4 * strip_columns + k % 4] =
                static_cast<std::uint8_t>(layer.weights[static_cast<std::ptrdiff_t>(n) * layer.columns + k] + offset);
    }
    return packed;
}

void unpack_row(const PackedMatrix& matrix, int n, int bits, float* weights) {
    const float unit = matrix.units[unit_index(bits)][n];
    if (bits == 4)
        unpack_code_row(matrix, n, unit, weights);
    else
        unpack_table_row(matrix, n, bits, unit, weights);
}

}  // namespace onebit::gemm

// Low-bit matrix products: Y[m,n] = sum over k of X[m,k] * W[n,k], plus bias[n]; float32 in and out.
//
//   const Isa& isa = find_isa("");                                  // the best of this machine
//   PackedMatrix qkv = pack_planes(isa, {query, key, value}, {1, 2, 4});
//   ...
//   Prepared input = prepare(isa, input_form(bits, Mode::fast), x, workspace);
//   multiply(input, qkv, bits, y);
//
// The work has two steps, because products that share an input share its preparation:
//   prepare   quantises the rows of X to int8, or builds lookup tables of their sums, in memory that the caller owns;
//   multiply  walks the packed weights. Neither allocates, locks or touches shared state.
//
// Every instruction set gives bitwise the same Y as `generic` (isa/generic.cpp is the specification), and a row of Y
// depends on its row of X only, never on the other rows or on how many there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace onebit::gemm {

// ---------------------------------------------------------------------------------------------------- instruction sets

struct Isa;  // the kernels of one instruction set; immutable, lives for ever

std::vector<std::string_view> isa_names();   // those this machine can run, best first; "generic" is always the last
const Isa& find_isa(std::string_view name);  // "" is the best; throws std::invalid_argument naming those available
std::string_view name_of(const Isa& isa);

// --------------------------------------------------------------------------------------------------------------- views

// Row m starts at data + m * stride (in floats). Rows may overlap: a convolution of kernel 3 over frames [time,
// channels] is a product with `columns = 3 * channels, stride = channels` (twice that for stride 2); no im2col copy is
// needed.
struct ConstRows {
    const float* data;
    int rows;
    int columns;
    std::ptrdiff_t stride;
};

struct Rows {
    float* data;
    std::ptrdiff_t stride;
};

// ------------------------------------------------------------------------------------------------------------- weights

// One layer as the packed file holds it. The code c of weight (n,k) has its most significant bit in plane 0:
//   bit(p,n,k) = planes[(p * rows + n) * ceil(columns / 8) + k / 8] >> (k % 8) & 1
//   1 bit: w = scale1[n] * (2c - 1)      2 bits: w = scale2[n] * (c - 1.5)      4 bits: w = scale4[n] * (c - 7.5)
struct LayerPlanes {
    const std::uint8_t* planes;
    int plane_count;  // 1, 2 or 4
    int rows;
    int columns;
    const float* scale1 = nullptr;  // [rows]; needed for the precisions that are asked for
    const float* scale2 = nullptr;
    const float* scale4 = nullptr;
    const float* bias = nullptr;  // [rows]; nullptr is no bias
};

// w = scale[n] * weights[n * columns + k]
struct LayerInt8 {
    const std::int8_t* weights;
    int rows;
    int columns;
    const float* scale;           // [rows]
    const float* bias = nullptr;  // [rows]
};

struct AlignedFree {
    void operator()(void* memory) const;
};
template <class T>
using Aligned = std::unique_ptr<T[], AlignedFree>;  // 64-byte aligned

// Weights in the order in which the kernels of one instruction set read them (kernels.h). The precisions of a matrix
// share memory: 1 and 2 bit read the same planes; 4 bit has its own copy, so that all three cost 1.5 x the 4-bit
// planes.
struct PackedMatrix {
    const Isa* isa = nullptr;
    int rows = 0;                  // N: of all stacked layers together
    int columns = 0;               // K
    int plane_count = 0;           // planes held for the table kernels: 0, 1 or 2
    Aligned<std::uint8_t> planes;  // for 1 and 2 bit
    Aligned<std::uint8_t> codes;   // for 4 bit, or int8
    Aligned<float> units[4];       // [rows, padded] weight of one integer step at 1, 2, 4 and 8 bit; null: not held
    Aligned<float> bias;           // [rows, padded]
    std::size_t resident_bytes = 0;

    bool holds(int bits) const;  // bits: 1, 2, 4; 8 is int8
};

// Stacks layers that share an input: rows of the first, then of the second, and so on.
// Throws std::invalid_argument when columns differ, or when a plane or a scale of an asked precision is missing.
PackedMatrix pack_planes(const Isa& isa, std::span<const LayerPlanes> layers, std::span<const int> bits);
PackedMatrix pack_int8(const Isa& isa, const LayerInt8& layer);

// Row n at 1, 2 or 4 bits, which the matrix must hold, dequantised: (columns); weights without the bias.
void unpack_row(const PackedMatrix& matrix, int n, int bits, float* weights);

// ------------------------------------------------------------------------------------------------------------ products

// fast:  1 and 2 bit through tables of rounded sums (about the error of int8 activations); 4 bit and int8 as exact.
// exact: activations rounded to int8 per row, integer arithmetic from there on, at every precision.
enum class Mode { fast, exact };

// What a product reads as its input. One prepared input serves every matrix whose product wants the same form.
enum class Form { tables, exact_tables, codes };
Form input_form(int bits, Mode mode);

// The rows of X, ready to multiply; a view into the caller's workspace.
struct Prepared {
    Form form;
    int rows;
    int columns;
    const std::int8_t* data;  // row m at data + m * stride; see generic.cpp for the forms
    std::ptrdiff_t stride;
    const float* scales;       // [rows] value of one integer step
    const std::int32_t* sums;  // [rows] sum of the int8 codes (form codes)
};

// Bytes that `prepare` needs for an input of this size; monotonic in rows and columns. Tables are 4 (exact: 8) bytes a
// value, so split long inputs into blocks of rows: about 24 rows keep the tables of 512 columns in a second-level
// cache.
std::size_t workspace_bytes(Form form, int rows, int columns);

// `workspace` is 64-byte aligned. Values must be finite and below FLT_MAX / 4.
Prepared prepare(const Isa& isa, Form form, const ConstRows& x, std::byte* workspace);

// Writes y[m, n] for m < input.rows, n < weights.rows. `input` may come from any Isa; weights.holds(bits) must be true.
void multiply(const Prepared& input, const PackedMatrix& weights, int bits, const Rows& y);

// Both steps, over blocks of rows: one product whose input nobody else needs.
std::size_t linear_workspace_bytes(int columns);
void linear(const ConstRows& x, const PackedMatrix& weights, int bits, Mode mode, const Rows& y, std::byte* workspace);

}  // namespace onebit::gemm

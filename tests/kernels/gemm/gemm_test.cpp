// Every instruction set of this machine against the portable reference, bit by
// bit, where Python is not at hand: under an emulator of another processor. The
// reference itself is held to the rule by tests/kernels/test_gemm.py.
//
//   gemm_test [name ...]     instruction sets that must be available, so that
//   nothing is skipped in silence
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gemm/lowbit_gemm.h"

using namespace onebit::gemm;

namespace {

struct Shape {
    int rows, outputs, columns;
};

constexpr Shape kShapes[] = {{1, 1, 1},      {1, 17, 4},     {3, 63, 7},    {7, 65, 33},   {6, 64, 32},
                             {13, 100, 129}, {25, 130, 257}, {50, 48, 512}, {2, 70, 4800}, {26, 257, 240}};

struct Case {
    Shape shape;
    std::vector<std::uint8_t> planes;
    std::vector<std::int8_t> weights;
    std::vector<float> scale, bias, x;
};

// Rows of zeros, of one huge value, of denormals and of equal values are among
// the random ones.
void make_hard(std::vector<float>& x, const Shape& shape) {
    for (int m = 0; m < shape.rows; ++m) {
        float* row = x.data() + static_cast<std::ptrdiff_t>(m) * shape.columns;
        for (int k = 0; k < shape.columns; ++k) {
            if (m % 7 == 1) row[k] = 0.0f;
            if (m % 7 == 2) row[k] *= 1e-39f;
            if (m % 7 == 3) row[k] = k % 2 ? -3.0f : 3.0f;
            if (m % 7 == 4) row[k] = std::nearbyint(50 * row[k]) + 0.5f;
        }
        if (m % 7 == 5) row[shape.columns / 2] = 1e30f;
    }
}

Case make_case(const Shape& shape) {
    std::mt19937 random(static_cast<unsigned>(shape.columns));
    std::normal_distribution<float> normal;
    const std::size_t row_bytes = static_cast<std::size_t>(shape.columns + 7) / 8;
    Case c{shape,
           std::vector<std::uint8_t>(4 * static_cast<std::size_t>(shape.outputs) * row_bytes),
           std::vector<std::int8_t>(static_cast<std::size_t>(shape.outputs) * shape.columns),
           std::vector<float>(shape.outputs),
           std::vector<float>(shape.outputs),
           std::vector<float>(static_cast<std::size_t>(shape.rows) * shape.columns)};
    for (auto& v : c.planes) v = static_cast<std::uint8_t>(random());
    if (shape.columns % 8)
        for (std::size_t i = row_bytes - 1; i < c.planes.size(); i += row_bytes)
            c.planes[i] &= static_cast<std::uint8_t>((1 << shape.columns % 8) - 1);
    for (auto& v : c.weights) v = static_cast<std::int8_t>(random());
    for (auto& v : c.scale) v = std::fabs(normal(random)) + 0.01f;
    for (auto& v : c.bias) v = normal(random);
    for (auto& v : c.x) v = normal(random);
    make_hard(c.x, shape);
    return c;
}

PackedMatrix pack(const Case& c, const Isa& isa, int bits) {
    const auto& [rows, outputs, columns] = c.shape;
    if (bits == 8) return pack_int8(isa, {c.weights.data(), outputs, columns, c.scale.data(), c.bias.data()});
    const LayerPlanes layer{c.planes.data(), 4, outputs, columns, c.scale.data(), c.scale.data(), c.scale.data(),
                            c.bias.data()};
    return pack_planes(isa, {&layer, 1}, {{bits}});
}

std::vector<float> product(const Case& c, const Isa& isa, int bits, Mode mode) {
    const PackedMatrix matrix = pack(c, isa, bits);
    std::vector<float> y(static_cast<std::size_t>(c.shape.rows) * c.shape.outputs);
    std::vector<std::byte> memory(linear_workspace_bytes(c.shape.columns) + 64);
    std::byte* workspace = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64);
    linear({c.x.data(), c.shape.rows, c.shape.columns, c.shape.columns}, matrix, bits, mode,
           {y.data(), c.shape.outputs}, workspace);
    return y;
}

int count_failures(const Isa& isa) {
    int failures = 0;
    for (const Shape& shape : kShapes) {
        const Case c = make_case(shape);
        for (const int bits : {1, 2, 4, 8}) {
            for (const Mode mode : {Mode::fast, Mode::exact}) {
                const std::vector<float> want = product(c, find_isa("generic"), bits, mode),
                                         got = product(c, isa, bits, mode);
                if (std::memcmp(want.data(), got.data(), want.size() * sizeof(float)) == 0) continue;
                std::printf("FAILED: %s, %d bit, %s, %d x %d x %d\n", std::string(name_of(isa)).c_str(), bits,
                            mode == Mode::exact ? "exact" : "fast", shape.rows, shape.outputs, shape.columns);
                ++failures;
            }
        }
    }
    return failures;
}

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) find_isa(argv[i]);  // ends the program with the message when it is missing
    int failures = 0;
    for (const std::string_view name : isa_names()) {
        const int failed = count_failures(find_isa(name));
        std::printf("%s: %s\n", std::string(name).c_str(), failed ? "FAILED" : "ok");
        failures += failed;
    }
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

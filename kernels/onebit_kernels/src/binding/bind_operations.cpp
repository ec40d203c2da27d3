// Instruction sets, the front end by itself, and the elementary functions for the tests of their bounds.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "../engine/buffer.h"
#include "../gemm/lowbit_gemm.h"
#include "../operations/log_mel_tables.h"
#include "../operations/operations.h"
#include "arrays.h"
#include "bindings.h"

namespace nb = nanobind;

namespace onebit {
namespace {

constexpr int kMelBins = 80;
constexpr std::size_t kFrameSamples = 640;

const Operations& operations_of(const std::string& isa) { return operations_for(gemm::name_of(gemm::find_isa(isa))); }

nb::object log_mel(const Samples& array, const std::string& isa) {
    const FloatVector samples(array);
    const LogMelTables tables(kMelBins);
    const std::size_t padded = (samples.size() + kFrameSamples - 1) / kFrameSamples * kFrameSamples,
                      half = kWindowSamples / 2;
    std::vector<float> segment(padded + kWindowSamples);
    std::copy_n(samples.data(), samples.size(), segment.data() + half);
    const std::size_t frames = padded / kHopSamples;
    std::vector<float> mel(frames * kMelBins);
    Buffer<float> scratch;
    scratch.ensure(kLogMelScratch);
    operations_of(isa).log_mel(tables.view(), segment.data(), static_cast<int>(frames), mel.data(), scratch.data());
    return matrix_array(std::move(mel), kMelBins);
}

using RowFunction = void (*)(const float* x, float* y, std::size_t count);

RowFunction elementary_function(const Operations& operations, const std::string& name) {
    if (name == "exp") return operations.exponential;
    if (name == "log") return operations.logarithm;
    if (name == "erf") return operations.error_function;
    throw std::invalid_argument("no elementary function '" + name + "'");
}

nb::object elementary(const std::string& name, const Samples& array, const std::string& isa) {
    constexpr std::size_t kQuantum = 16;
    const FloatVector x(array);
    std::vector<float> padded((x.size() + kQuantum - 1) / kQuantum * kQuantum, 1.0f), y(padded.size());
    std::copy_n(x.data(), x.size(), padded.data());
    elementary_function(operations_of(isa), name)(padded.data(), y.data(), padded.size());
    y.resize(x.size());
    return matrix_array(std::move(y), 1);
}

// Rows of one head or of several, (rows, heads * head_dim).
struct Matrix {
    explicit Matrix(const Samples& array) {
        if (array.ndim() != 2 || array.dtype() != nb::dtype<float>() || array.stride(1) != 1 ||
            array.stride(0) != static_cast<std::int64_t>(array.shape(1)))
            throw nb::type_error("a matrix must be a contiguous 2-D float32 array");
        data = static_cast<const float*>(array.data());
        rows = static_cast<int>(array.shape(0));
        columns = static_cast<int>(array.shape(1));
    }

    const float* data;
    int rows;
    int columns;
};

// Key blocks of up to `capacity` frames each, as the encoder cuts a segment.
class KeyBlocks {
public:
    KeyBlocks(const CacheOperations& cache, const Matrix& keys, const Matrix& values, HeadShape shape, int capacity) {
        const int count = (keys.rows + capacity - 1) / capacity;
        const std::size_t bytes = static_cast<std::size_t>(capacity) * shape.dim() * cache.element_bytes;
        memory_.ensure(2 * count * bytes);
        scales_.ensure(static_cast<std::size_t>(count) * 2 * shape.heads);
        for (int b = 0; b < count; ++b) {
            std::byte* place = memory_.data() + 2 * b * bytes;
            const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(b) * capacity;
            const int frames = std::min(capacity, keys.rows - b * capacity);
            blocks.push_back({place, place + bytes, scales_.data() + static_cast<std::ptrdiff_t>(b) * 2 * shape.heads,
                              frames, capacity, static_cast<std::ptrdiff_t>(capacity) * shape.head_dim});
            cache.pack(keys.data + first * shape.dim(), values.data + first * shape.dim(), shape.dim(), shape,
                       blocks.back());
        }
    }

    std::vector<KeyBlock> blocks;

private:
    Buffer<std::byte> memory_;
    Buffer<float> scales_;
};

nb::object attention(const Samples& queries_array, const Samples& keys_array, const Samples& values_array, int heads,
                     bool exact, const std::string& isa, bool frames) {
    constexpr int kCapacity = 48;
    const Matrix queries(queries_array), keys(keys_array), values(values_array);
    const HeadShape shape{heads, queries.columns / std::max(heads, 1)};
    if (heads < 1 || shape.head_dim % 16 || shape.head_dim > 128 || keys.rows < 1 || values.rows != keys.rows ||
        shape.dim() != queries.columns || keys.columns != shape.dim() || values.columns != shape.dim())
        throw std::invalid_argument(
            "shapes must be (rows, dim), (frames, dim), (frames, dim) with heads of a multiple of 16");
    const Operations& operations = operations_of(isa);
    const CacheOperations& fast = frames ? operations.frames_cache : operations.fast_cache;
    const CacheOperations& cache = exact ? operations.exact_cache : fast;
    const KeyBlocks packed(cache, keys, values, shape, kCapacity);
    Buffer<float> scratch;
    scratch.ensure(attention_scratch(shape.head_dim, static_cast<int>(packed.blocks.size()) * kCapacity));
    std::vector<float> out(static_cast<std::size_t>(queries.rows) * shape.dim());
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    for (int head = 0; head < heads; ++head)
        cache.attend({queries.data, shape.dim(), queries.rows, scale, shape, head, packed.blocks.data(),
                      static_cast<int>(packed.blocks.size()), out.data(), scratch.data()});
    return matrix_array(std::move(out), static_cast<std::size_t>(shape.dim()));
}

}  // namespace

void bind_operations(nb::module_& module) {
    module.def("isa_names", &gemm::isa_names);
    module.def("log_mel", &log_mel, nb::arg("samples"), nb::arg("isa") = "");
    module.def("elementary", &elementary, nb::arg("name"), nb::arg("x"), nb::arg("isa") = "");
    module.def("attention", &attention, nb::arg("queries"), nb::arg("keys"), nb::arg("values"), nb::arg("heads"),
               nb::arg("exact") = false, nb::arg("isa") = "", nb::arg("frames") = false);
}

}  // namespace onebit

// Instruction sets, the front end by itself, and the elementary functions for the tests of their bounds.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>

#include "../engine/buffer.h"
#include "../frontend/log_mel_tables.h"
#include "../gemm/lowbit_gemm.h"
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
    const std::size_t padded = (samples.size() + kFrameSamples - 1) / kFrameSamples * kFrameSamples, half = kWindowSamples / 2;
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

}  // namespace

void bind_operations(nb::module_& module) {
    module.def("isa_names", &gemm::isa_names);
    module.def("log_mel", &log_mel, nb::arg("samples"), nb::arg("isa") = "");
    module.def("elementary", &elementary, nb::arg("name"), nb::arg("x"), nb::arg("isa") = "");
}

}  // namespace onebit
